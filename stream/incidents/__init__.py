"""Incidents as data: figures in TOML, and a generator of the world that they happen in, a source like any other.

>>> from stream.incidents import generate, list_incidents, load_incident, truth
>>> "forged-token" in list_incidents()
True
>>> incident = load_incident("forged-token")
>>> block = next(generate(incident, accounts=1_000, days=1, seed=7))
>>> len(block), bool(truth(incident, 1_000, 1, 7).event_is_attack(block).all())
(16384, False)
"""

from stream.incidents.figures import Attack, Incident, World, checked, list_incidents, load_incident
from stream.incidents.jsonl import write_jsonl
from stream.incidents.world import BLOCK_EVENTS, Truth, generate, generate_labelled, truth

__all__ = [
    "BLOCK_EVENTS",
    "Attack",
    "Incident",
    "Truth",
    "World",
    "checked",
    "generate",
    "generate_labelled",
    "list_incidents",
    "load_incident",
    "truth",
    "write_jsonl",
]
