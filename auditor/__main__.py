"""``python -m auditor``."""

from auditor.cli.main import start

start()
