"""Places where tokens are stored, each read as a stream of stored tokens."""
