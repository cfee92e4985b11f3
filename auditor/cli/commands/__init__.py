"""The groups of commands, a module each, with what all commands share in ``invocation``."""
