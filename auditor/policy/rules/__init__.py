"""One file a rule, named after its id; the registry lists them."""
