"""Models that a library keeps, with their state as arrays."""
