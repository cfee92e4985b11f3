"""Frozen types that all layers speak; no I/O and no behaviour beyond their own values."""
