"""Evidence that leaves the database: a signed package of chain and records, and the proof that it is unaltered."""
