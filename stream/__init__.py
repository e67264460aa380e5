"""Reads access events, runs the detectors over them, and tells people what they found."""
