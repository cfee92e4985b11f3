"""Rules that users write in policy files: a condition in CEL, a message, and tests beside it."""
