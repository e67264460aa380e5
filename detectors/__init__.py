"""Baselines and detectors over columns. No input or output, no clock, no log: state is a function of the events."""
