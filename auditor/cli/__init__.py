"""The command line: thin; each command's module is imported when the command runs."""
