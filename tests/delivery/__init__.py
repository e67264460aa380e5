"""Delivery: alerts arrive, whatever the other side does."""
