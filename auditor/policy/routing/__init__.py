"""Which alert goes to which hook, when, and to whom: pure, so that it can be tried with plain values."""
