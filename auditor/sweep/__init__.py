"""The one place where the stages meet: source → lookup → policy → store."""
