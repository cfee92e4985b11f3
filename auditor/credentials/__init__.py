"""How the auditor obtains its own secrets: references in the configuration, and where each kind is read from."""
