"""Documents about findings and about the sweeps that prove them: one model of a report, one file a format."""
