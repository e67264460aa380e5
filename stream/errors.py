"""Failures that a person reads: each names the value, the limit and what to do."""

from __future__ import annotations


class TriplineError(Exception):
    """A run that cannot go on; the message is printed as it is, exit status 1."""

    exit_status = 1


class UsageError(TriplineError):
    """A command line or configuration that is wrong; exit status 2."""

    exit_status = 2
