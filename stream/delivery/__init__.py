"""Delivery: every subscriber is told of every alert that is for it, at least once, and none waits for another.

The alerts are a log: the alerts' topic of a cluster, a file of a run. Each subscriber has a place of its own in it,
which moves on once an alert is accepted. So nothing is queued in memory and nothing can overflow: a subscriber that is
down for a week finds its alerts where it left off, and nobody else notices. A subscriber that is new begins with what
comes after it was configured. A repeat, after a crash between acceptance and the keeping of the place, has the same id
and revision.
"""
