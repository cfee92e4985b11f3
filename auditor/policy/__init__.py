"""What is allowed: pure rules over observations. No I/O, no clock (``now`` is an argument), no database."""
