"""``auditor run``: schedules, workers, the endpoint, and what systemd wants to know."""
