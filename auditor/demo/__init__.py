"""A simulated organisation to try auditor on: worlds, places where tokens are stored, and what changes."""
