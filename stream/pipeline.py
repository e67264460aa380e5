"""The flow of data, top to bottom: decode (before this) -> clock -> key -> observe -> score -> fuse -> correlate ->
alert.

Blocks of events come in, alerts go out. A block is cut where the stream clock passes a tick; between two ticks only the
detectors' kernels run, in the order of the events, and everything that looks across entities happens at the tick. So
the alerts are a function of the log and not of how it was batched.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import pairwise
from typing import Any, Final

import msgspec
import numpy as np
import numpy.typing as npt

from detectors import catalog
from detectors.base import AT_ONCE, CLASSES, HOUR_MS, KINDS, NEAR_MISS_BITS, Array, Columns, Detector, Frame
from detectors.fusion import Evidence, Fusion, score_of
from stream import upgrade
from stream.alerts import Alert, alert_of
from stream.blocks import PackedBlock, packed
from stream.budget import OPEN_SHARE
from stream.clock import LATE_MS, StreamClock
from stream.config import Config, fingerprint
from stream.correlate import Correlator
from stream.events import ACTIONS, OUTCOMES, EventBlock
from stream.origins import feed_of
from stream.recent import RecentIds
from stream.selftest import NAME, Marks
from stream.sensitivity import level_of
from stream.signals import Signal
from stream.siphash import I64, U64, hash_column, hash_key
from stream.state import Table, touch
from stream.texts import Packed, last_numbers
from stream.trace import TRACED, Trace
from stream.veil import veil_of

READS: Final = np.array([a in ("read", "list", "export", "share") for a in ACTIONS])
SUCCESS: Final = OUTCOMES.index("success")
FIELDS: Final = {  # by kind of entity: those that have a table come first, in its order
    "account": "account", "credential": "credential", "issuer": "issuer", "source": "source_ip", "network": "network",
    "client": "user_agent", "resource": "resource", "subject": "subject", "country": "country", "object": "object",
    "group": "group",
}  # fmt: skip
TABLED: Final = len(TRACED) - 1  # the fleet has one without names


def _parts(detector: Detector) -> float:
    """Of what chance may spend: those of each measure of a kind of entity, by the kind of account that has most."""
    most = {kind: max(detector.parts(kind, klass) for klass in range(CLASSES)) for kind in detector.kinds}
    return sum(parts * detector.measures(kind) for kind, parts in most.items())


class Pipeline:
    """Events in, signals and alerts out; `save` and `load` carry everything over, exactly.

    partition: None where the stream is whole; otherwise which part of a stream that is split by account.
    """

    def __init__(
        self, config: Config, emit: Callable[[Alert], None], on_tick: Callable[[int], None] = lambda _: None, *,
        on_signal: Callable[[Signal], None] = lambda _: None, partition: int | None = None,
    ) -> None:  # fmt: skip
        self.config = config
        self.events = 0
        self.duplicates = 0
        self.tick_ms = 0  # stream time of the latest tick: when the alerts that it emits are told
        self.stage_s: dict[str, float] = {}
        self.resumed = False  # its counts began before this process
        self.near: dict[str, float] = {}  # entities with evidence, by how far below the threshold at most
        self._emit_alert = emit
        self._veil = veil_of(config)
        self._on_signal = on_signal
        self._on_tick = on_tick
        self._key = hash_key(config.hash_key)
        self._tick_ms = config.tick_s * 1000
        self._warmup_ms = int(config.warmup_h * HOUR_MS)
        self._since: dict[str, int] = {}  # detectors that began after the stream, with when: ms
        self.anew: list[str] = []  # detectors that could not use what the loaded state has of them
        self._tick = -1
        self.began_ms = 0
        self._clock = StreamClock(config.clock_jump_max_s)
        self._ids = RecentIds()
        self._origins: dict[str, int] = {}
        self._feeds: dict[str, int] = {}  # hash by origin
        enabled = [d for d in catalog.detector_ids() if config.detectors.get(d, True)]
        self.detectors: list[Detector] = self._made(enabled, 0.0)
        # Who never opens an alert takes no part of what chance may spend.
        self._families = sum(_parts(d) for d in self.detectors if d.weight >= 0) or 1.0
        offset = math.log2(OPEN_SHARE / config.alerts_per_day_max) + math.log2(self._families) - NEAR_MISS_BITS
        self.detectors = self._made(enabled, offset)
        self.tables = {kind: self._table(kind) for kind in TRACED}
        self._current: list[Columns] = []  # of the tables, when `_owned` was told from them
        self._owned: dict[str, Columns] = {}
        self._by_id = {d.id: d for d in self.detectors}
        self.fusion = Fusion(self.detectors)
        self.trace = Trace()
        scope = config.hash_key + fingerprint(config)  # a secret is in it: nobody guesses names by the ids of alerts
        scope += "" if partition is None else f"/{partition}"
        self.correlator = Correlator(
            self.detectors, self.tables, self.trace, scope, partition or 0, config.alerts_per_day_max, config.warmup_h,
            config.close_after_s, config.update_after_s,
        )  # fmt: skip
        self.correlator.sensitivity = partial(level_of, config.sensitivity)
        if config.selftest.topic:
            self.correlator.free = Marks(config.hash_key).known

    @property
    def now_ms(self) -> int:
        """Stream time."""
        return self._clock.now_ms

    @property
    def late(self) -> int:
        """Records that came more than five minutes behind the stream."""
        return self._clock.late

    def process(self, block: EventBlock) -> npt.NDArray[np.bool_]:
        """Take decoded events in; True for each that was a repeat of an id and was left out."""
        began = time.perf_counter()
        ready = packed(block)
        self._spent("key", began)
        return self.take(ready)

    def take(self, block: PackedBlock) -> npt.NDArray[np.bool_]:
        """Take packed events in; True for each that was a repeat of an id and was left out."""
        began = time.perf_counter()
        block = block.columns()
        hashes = block.hashes(("id", *FIELDS.values()), self._key)
        repeated = self._ids.repeated(hashes[0])
        if repeated.any():
            block, hashes = block.take(np.flatnonzero(~repeated)), hashes[:, ~repeated]
            self.duplicates += int(repeated.sum())
        n = len(block)
        if n == 0:
            return repeated
        stream_time, learn = self._clock.advance(block.time)
        learn &= block.trusted
        if self.began_ms == 0:
            self.began_ms = int(stream_time[0])
        events = self._events(block, hashes[1:], stream_time, learn)
        names = [block.text[name] for name in list(FIELDS.values())[:TABLED]]
        origins = np.array([self._origin(name) for name in block.origins], np.uint32)[block.origin]
        self._spent("key", began)
        for start, stop in self._cuts(stream_time):
            self._tick_until(int(stream_time[start]))
            frame = self._observe(events, hashes[1:], names, start, stop)
            began = time.perf_counter()
            self.trace.add(frame, origins[start:stop], block.line[start:stop])
            self._spent("trace", began)
        self.events += n
        return repeated

    def finish(self) -> None:
        """End of input: let the grace pass and judge what is left. The state saved before this stays what it was."""
        if self.now_ms:
            self._run_tick(self.now_ms + int(self.config.join_grace_s * 1000) + self._tick_ms)

    def _events(self, block: PackedBlock, hashes: U64, stream_time: I64, learn: npt.NDArray[np.int8]) -> Frame:
        """The events of a block as one frame, of entities of which nothing is known yet."""
        n = len(block)
        number = last_numbers(block.text["object"])
        succeeded = block.outcome == SUCCESS
        return Frame(
            start=self.events, time=stream_time, action=block.action, klass=block.account_kind, succeeded=succeeded,
            reads=succeeded & READS[block.action], records=block.records, bytes=block.bytes, learn=learn, touch={},
            hashes=dict(zip(FIELDS, hashes, strict=True)),
            number=np.where(number >= 0, number, last_numbers(block.text["subject"])), marks=np.zeros(n, np.uint16),
            late=block.time < stream_time - LATE_MS,
            feed=np.array([self._feed(name) for name in block.origins], np.uint64)[block.origin],
        )  # fmt: skip

    def _observe(self, events: Frame, hashes: U64, names: Sequence[Packed], start: int, stop: int) -> Frame:
        """Score the events from one place to another, which lie between two ticks."""
        began = time.perf_counter()
        cut = slice(start, stop)
        touched = touch(self.tables, hashes[:TABLED, cut], names, events.time[cut], start)
        frame = events.part(start, stop, touched)
        owned = self._columns()
        began = self._spent("resolve", began)
        for bit, detector in enumerate(self.detectors):
            for findings in detector.observe(frame, owned[detector.id], bit):
                if len(findings):
                    self._gather(detector, findings)
            began = self._spent(detector.id, began)
        return frame

    def _emit(self, signal: Signal) -> None:
        self._on_signal(signal)
        self._emit_alert(alert_of(self._veil(signal), self._by_id, self.config.runbook_url))

    def _gather(self, detector: Detector, findings: Array) -> None:
        """Calibrate findings and hold them as evidence on their entities."""
        learned_ms = self._since.get(detector.id, -self._warmup_ms) + self._warmup_ms
        for finding in findings:
            if int(finding["time"]) < learned_ms and int(finding["horizon"]) != AT_ONCE:
                continue  # it began anew, when everybody else had learned
            bits, per_day = detector.bits(finding)
            kind = KINDS[int(finding["kind"])]
            parts = detector.parts(kind, int(finding["klass"]))
            self.fusion.add(
                Evidence(
                    detector=detector.id, kind=kind, value=self.tables[kind].name(int(finding["slot"])),
                    feature=int(finding["feature"]), horizon=int(finding["horizon"]), time=int(finding["time"]),
                    bits=bits, score=score_of(bits, per_day, self._families / parts),
                    observed=float(finding["observed"]), expected=float(finding["expected"]), tests=per_day,
                )
            )  # fmt: skip

    def _tick_until(self, now_ms: int) -> None:
        """Run the tick that has passed, and where time has jumped, the one it has come to."""
        tick = now_ms // self._tick_ms
        if self._tick >= 0 and tick > self._tick:
            self._run_tick((self._tick + 1) * self._tick_ms)
            if tick > self._tick + 1:
                self._run_tick(tick * self._tick_ms)
        self._tick = tick

    def _run_tick(self, now_ms: int) -> None:
        began = time.perf_counter()
        self.tick_ms = now_ms
        owned = self._columns()
        for detector in self.detectors:
            for findings in detector.tick(now_ms, owned[detector.id]):
                if len(findings):
                    self._gather(detector, findings)
        self.fusion.expire(now_ms)
        self.correlator.tick(now_ms, self.began_ms, self.fusion, self._emit)
        self.near = self.fusion.near(self.correlator.budget.threshold())
        for kind, table in self.tables.items():
            self.trace.forget(kind, table.evict(now_ms))
        self._on_tick(now_ms)
        self._spent("tick", began)

    def _cuts(self, stream_time: I64) -> list[tuple[int, int]]:
        """Where the block passes ticks: [start, stop) of each run of events between two.

        And hours: an account's baseline moves with its first event of one, and its sessions are judged by it.
        """
        passes = np.diff(stream_time // self._tick_ms) | np.diff(stream_time // HOUR_MS)
        edges = np.flatnonzero(passes) + 1
        bounds = [0, *edges.tolist(), len(stream_time)]
        return list(pairwise(bounds))

    def _columns(self) -> dict[str, Columns]:
        """By detector the columns that it owns, by kind of entity: a table that grows has others from then on."""
        current = [table.columns for table in self.tables.values()]
        if any(now is not before for now, before in zip(current, self._current, strict=False)) or not self._current:
            self._current = current
            self._owned = {d.id: {kind: self.tables[kind].columns[d.id] for kind in d.columns} for d in self.detectors}
        return self._owned

    def _origin(self, origin: str) -> int:
        number = self._origins.setdefault(origin, len(self._origins))
        self.correlator.origins[str(number)] = origin
        return number

    def _feed(self, origin: str) -> int:
        if origin not in self._feeds:
            self._feeds[origin] = int(hash_column([feed_of(origin)], self._key)[0])
        return self._feeds[origin]

    def _made(self, enabled: list[str], offset_bits: float) -> list[Detector]:
        config = self.config
        canary = config.canary
        tested = (NAME,) if config.selftest.topic else ()
        names = {"object": (*canary.objects, *tested), "subject": canary.subjects, "resource": canary.resources}
        planted = {kind: hash_column(list(given), self._key) for kind, given in names.items()}
        return [
            catalog.make(
                d,
                offset_bits=offset_bits,
                join_grace_s=config.join_grace_s,
                session_lifetime_h=config.session_lifetime_h,
                opening_bits=offset_bits + NEAR_MISS_BITS,
                planted=planted,
                exempt=hash_column(list(canary.exempt_accounts), self._key),
            )
            for d in enabled
        ]

    def _table(self, kind: str) -> Table:
        limit = 0 if kind == "fleet" else getattr(self.config.entities_max, kind)
        return Table(kind, limit, self._key, {d.id: d.columns[kind] for d in self.detectors if kind in d.columns})

    def _spent(self, stage: str, began: float) -> float:
        now = time.perf_counter()
        self.stage_s[stage] = self.stage_s.get(stage, 0.0) + now - began
        return now

    def nbytes(self) -> int:
        """Bytes of keyed state in use."""
        return sum(table.nbytes() for table in self.tables.values())

    def save(self) -> tuple[dict[str, Any], Columns]:
        """Everything that the next event depends on: JSON-able values, and arrays."""
        arrays: Columns = {"clock": self._clock.state}
        parts = {"ids": self._ids.save(), "trace": self.trace.save()}
        parts |= {f"table.{kind}": table.save() for kind, table in self.tables.items()}
        parts |= {f"detector.{d.id}": d.save() for d in self.detectors}
        for part, columns in parts.items():
            arrays.update({f"{part}/{name}": array for name, array in columns.items()})
        meta = {
            "events": self.events, "duplicates": self.duplicates, "tick": self._tick, "began_ms": self.began_ms,
            "origins": self._origins, "evidence": msgspec.to_builtins(self.fusion.save()),
            "correlator": msgspec.to_builtins(self.correlator.save()),
            "detectors": [d.id for d in self.detectors], "since": self._since,
        }  # fmt: skip
        return meta, arrays

    def load(self, meta: Mapping[str, Any], arrays: Columns) -> None:
        """Continue from what `save` gave, in arrays that nobody else uses from now on; TriplineError where it gave
        something else, which leaves this unusable."""  # fmt: skip
        with upgrade.refusing():
            self._load(meta, arrays)

    def _load(self, meta: Mapping[str, Any], arrays: Columns) -> None:
        self.resumed = True
        values, parts, self.anew = upgrade.kept(meta, arrays, self.detectors, lambda name: self._made([name], 0.0)[0])
        self._clock.state[...] = arrays["clock"]
        self._ids.load(parts["ids"])
        self.trace.load(parts["trace"])
        for kind, table in self.tables.items():
            table.load(parts[f"table.{kind}"], self.anew)
        for detector in self.detectors:
            if detector.id not in self.anew:
                detector.load(parts[f"detector.{detector.id}"])
        self.events, self.duplicates, self._tick = values.events, values.duplicates, values.tick
        self.began_ms = values.began_ms
        self._origins = values.origins
        self.correlator.origins.update({str(number): origin for origin, number in self._origins.items()})
        self._since = values.since | dict.fromkeys(self.anew, self.now_ms)
        self.fusion.load(values.evidence)
        self.correlator.load(values.correlator)
