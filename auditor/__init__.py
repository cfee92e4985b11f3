"""Audits stored Dynatrace API tokens against policy: sources → lookups → policy → findings → alerts and reports."""

__version__ = "0.1.0"
