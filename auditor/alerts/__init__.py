"""Where alerts go: hooks, each one way out of the program, and the worker that empties the outbox into them."""
