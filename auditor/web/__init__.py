"""The daemon's own endpoint: health, readiness and metrics."""
