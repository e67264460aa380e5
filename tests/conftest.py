"""How the suite runs: no test is judged by how long an example takes."""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("tripline", deadline=None)
settings.load_profile("tripline")
