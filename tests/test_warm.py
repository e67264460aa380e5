"""What a worker does before it joins its groups leaves nothing to compile within a batch."""

from __future__ import annotations

import subprocess
import sys

RUN = """
import gc
from pathlib import Path
import msgspec
from numba.core.registry import CPUDispatcher
from stream.config import Config
from stream.incidents import generate, load_incident
from stream.incidents.jsonl import lines_of
from stream.ingest import Ingest
from stream import wire
from stream.batch import Record
from stream.warm import warm, _Counts, _pipeline, _sent

config = Config()
warm(config)
def compiled():
    return {(d.py_func.__qualname__, d.py_func.__module__, str(s))
            for d in gc.get_objects() if isinstance(d, CPUDispatcher) for s in d.signatures}
before = compiled()
incident = load_incident("forged-token")
lines = [l for b in generate(incident, accounts=60, days=1.5, seed=4) for l in lines_of(b)]
lines[::50] = [b"poison"] * len(lines[::50])
ingest, pipeline = Ingest(config, "t", 0, _Counts()), _pipeline(config)
half = len(lines) // 2
for part in (0, half):
    records = [Record(n, 1_750_000_000_000, l) for n, l in enumerate(lines[part:part + half], part)]
    for message in ingest.take(_sent(records), False, False):
        if message.partition is not None:
            pipeline.take(wire.decode(message.value).block)
    again = _pipeline(config)
    meta, arrays = pipeline.save()
    again.load(msgspec.json.decode(msgspec.json.encode(meta)), arrays)
    pipeline = again
assert pipeline.events > 500, pipeline.events
print(sorted(compiled() - before))
"""


def test_no_kernel_is_left_to_compile() -> None:
    done = subprocess.run([sys.executable, "-c", RUN], capture_output=True, text=True, check=False)
    assert done.stdout == "[]\n", done.stdout + done.stderr[-2000:]
