"""Alert formats: what other products read."""
