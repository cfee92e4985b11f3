"""The outside world that is looked at: the token lookup of a Dynatrace environment, API v2 and v1."""
