"""Detect: one partition of the observations goes through a pipeline of its own, which is kept in snapshots.

The state is a function of the partition's log, and stands at some offset of it, which a snapshot names. What lies
between a snapshot and what was committed is taken in again without a word.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import numpy as np

from stream import signals, wire
from stream.alerts import severity_of
from stream.align import Aligner
from stream.batch import Batch
from stream.blocks import PackedBlock, joined
from stream.checkpoint import StateDirectory
from stream.config import Config, fingerprint
from stream.errors import TriplineError
from stream.ingest import Counts, letter
from stream.origins import unstamped
from stream.pipeline import Pipeline
from stream.signals import Signal
from stream.snapshot import Snapshot
from stream.store import Copy, Sent, Store, StoreError, chain
from stream.transact import Message
from stream.wire import BadBlock, NewerBlock

COPY_S: Final = 3.0  # that a copy which is on its way is waited for when the partition goes away
LEFT_S: Final = 3_600.0  # after which an unfinished file is nobody's
TAKEN_EVENTS: Final = 32_768  # at once: what a pass over them needs of memory for a moment is some hundred bytes each
RETRY_S: Final = 10.0  # after a snapshot that the disk refused
_HELD: Final = "held/"  # of the names of a snapshot's arrays: blocks that wait for their turn


class Detect:
    """The stage of one partition of the observations."""

    stateless = False

    def __init__(self, config: Config, partition: int, counts: Counts, say: Callable[[str], None]) -> None:
        self._config = config
        self.partition = partition
        self._counts = counts
        self._say = say
        self._signals: list[Signal] = []
        self._offset = -1  # where the state stands; -1: there is none yet
        self._saved_offset = -1
        self._saved_at = time.monotonic()
        self._not_before = 0.0  # monotonic: when a snapshot may be tried again
        self._directory: StateDirectory | None = None
        self._store = Store(config.worker.store, partition) if config.worker.store else None
        self._copied_at = -config.worker.store_every_s
        self._chain: list[Sent] = []  # the latest snapshot, behind all that it rests on
        self.snapshot_bytes = 0
        self.snapshot_chain_bytes = 0
        self.snapshot_s = 0.0
        self._renew()

    @property
    def snapshot_age_s(self) -> float:
        """Seconds since the latest snapshot, or since the stage began."""
        return time.monotonic() - self._saved_at

    def recover(self, committed: int | None, beginning: int, end: int) -> int:  # noqa: ARG002 - the contract
        """The freshest state that is not ahead of what was committed: the one in memory, else a snapshot."""
        wanted = beginning if committed is None else committed
        if not 0 <= self._offset <= wanted or (committed is None and self._offset > beginning):
            self._load(wanted, committed)
        if self._offset < 0:
            self._begin(committed, beginning)
        if self._offset < beginning:
            raise TriplineError(
                f"{self._topic}: the state stands at offset {self._offset}, but the broker has nothing before "
                f"{beginning} any more: retention has overtaken it. Raise kafka.observations_retention_h; to learn "
                f"anew from what is left, remove {self._path}"
            )
        return self._offset

    def announced(self, more: bool) -> list[Message]:  # noqa: ARG002 - the contract
        """Nothing: signals come of observations only."""
        return []

    def take(self, records: Batch, silent: bool, more: bool) -> list[Message]:  # noqa: ARG002 - the contract
        """Score the records; signals and dead letters."""
        self._offset = -1  # where this ends in the middle the state stands nowhere, and is not kept
        self._signals.clear()
        letters: list[Message] = []
        ready: list[PackedBlock] = []
        values = records.values
        data = np.frombuffer(values.data, np.uint8)
        for number, (start, stop) in enumerate(zip(values.starts.tolist(), values.stops.tolist(), strict=True)):
            try:
                sent = wire.decode_at(data, start, stop)
            except NewerBlock as why:  # as a dead letter its events would be lost
                raise TriplineError(
                    f"{self._topic}: offset {int(records.offsets[number])}: {why}: a newer version wrote it. "
                    "Nothing is skipped: upgrade this worker, and it goes on from there"
                ) from why
            except BadBlock as why:
                letters.append(self._letter(int(records.offsets[number]), "bad_block", str(why), values[number]))
                continue
            ready += self.aligner.add(sent.block, sent.origin, sent.watermark_ms, sent.more)
            if sum(map(len, ready)) >= TAKEN_EVENTS:
                letters += self._scored(ready)
                ready = []
        letters += self._scored(ready)
        self.aligner.settle()
        self._offset = records[-1].offset + 1
        if silent:
            return []
        self._counts.dead_letters.update(each.reason for each in letters)
        self._counts.alerts.update((s.status, severity_of(s.score)) for s in self._signals)
        topic = self._config.kafka.signals
        return [Message(topic, signals.encode(s), key=s.id.encode()) for s in self._signals] + letters

    def committed(self, offset: int) -> None:
        """Keep a snapshot when one is due.

        A disk that refuses it is told about, and does not stop the scoring: what would be taken in again grows, and
        nothing else is lost.
        """
        now = time.monotonic()
        if now - self._saved_at >= self._config.snapshot_every_s and now >= self._not_before:
            try:
                self.save(offset)
            except TriplineError as why:
                self._say(f"{self._topic}: no snapshot: {why}")
                self._not_before = time.monotonic() + RETRY_S

    def save(self, offset: int) -> None:
        """Keep a snapshot, if there is anything new; `offset` is what the state stands at, and is committed."""
        if offset != self._offset or offset == self._saved_offset:
            return
        began = time.monotonic()
        meta, arrays = self.pipeline.save()
        watermarks, held = self.aligner.save()
        arrays |= {_HELD + name: array for name, array in held.items()}
        named = {"offset": offset, "watermarks": watermarks, "pipeline": meta}
        saved = self._opened().save(Snapshot(named, arrays))
        self.snapshot_bytes, self.snapshot_chain_bytes = saved.nbytes, saved.chain_nbytes
        self._chain = [*([] if saved.whole else self._chain), Sent(saved.path, offset)]
        self._saved_offset, self._saved_at = offset, time.monotonic()
        self.snapshot_s = self._saved_at - began
        self._copy()

    def _copy(self) -> None:
        """Begin to copy the snapshot to the store, when that is due."""
        store = self._store
        if store is None or time.monotonic() - self._copied_at < self._config.worker.store_every_s:
            return
        if store.failed:
            self._say(f"{self._topic}: no copy of a snapshot: {store.failed}")
        try:
            if store.begin(self._chain):
                self._copied_at = time.monotonic()
        except OSError as why:  # the disk has no room for another name
            self._say(f"{self._topic}: no copy of a snapshot: {why.strerror}")

    def forget(self) -> None:
        """The state is ahead of what was committed, or nobody knows: recover from a snapshot."""
        self._offset = -1

    def close(self) -> None:
        """Let go of the state directory; a copy that is on its way may take a moment."""
        if self._store is not None:
            self._store.finish(COPY_S)
        if self._directory is not None:
            self._directory.close()
            self._directory = None

    def _load(self, wanted: int, committed: int | None) -> None:
        """The newest snapshot that is not ahead of `wanted`."""
        self._offset = -1
        snapshot = self._newest(wanted, committed)
        if snapshot is None:
            return
        self._renew()
        held = {n.removeprefix(_HELD): a for n, a in snapshot.arrays.items() if n.startswith(_HELD)}
        self.aligner.load(snapshot.meta["watermarks"], held)
        arrays = {n: a for n, a in snapshot.arrays.items() if not n.startswith(_HELD)}
        self.pipeline.load(snapshot.meta["pipeline"], arrays)
        if self.pipeline.anew:
            begins = ", ".join(self.pipeline.anew)
            self._say(f"{self._topic}: another version wrote the state: {begins} begins to learn anew")
        self._offset = self._saved_offset = int(snapshot.meta["offset"])

    def _newest(self, wanted: int, committed: int | None) -> Snapshot | None:
        """The newest snapshot that can be used, of the directory or, where that has none as new, of the store.

        Raises TriplineError where there are snapshots and none can be used, StoreError where that cannot be told.
        """
        error: TriplineError | None = None
        snapshot: Snapshot | None = None
        try:
            snapshot = self._loaded(wanted, committed)
        except TriplineError as why:
            error = why
        if self._store is not None and committed is not None:
            try:
                copies = self._store.copies()
                for copy in sorted(copies, key=lambda copy: -copy.offset):
                    if copy.offset > wanted or (snapshot and copy.offset <= snapshot.meta["offset"]):
                        continue
                    try:
                        snapshot = self._fetched(chain(copy, copies), wanted, committed) or snapshot
                    except TriplineError as why:  # it is damaged, and there is nothing else yet
                        self._say(f"{self._topic}: a copy from the store is refused: {why}")
                        error = why
            except StoreError as why:
                if snapshot is None:
                    raise
                self._say(f"{self._topic}: going on from the state directory: {why}")
        if snapshot is None and error is not None:
            raise error
        return snapshot

    def _fetched(self, copies: Sequence[Copy], wanted: int, committed: int | None) -> Snapshot | None:
        """A copy of the store behind what it rests on, taken into the directory and loaded, or what is best there."""
        assert self._store is not None  # noqa: S101 - it gave the copies
        if not copies[0].whole:
            raise TriplineError(f"{copies[0].name}: what it rests on is missing (restore the file from a backup)")
        self._opened().adopt(self._store.fetch(copies, self._opened().path))
        return self._loaded(wanted, committed)

    def _loaded(self, wanted: int, committed: int | None) -> Snapshot | None:
        snapshot, refused = self._opened().load(lambda meta: _ahead(meta, wanted, committed))
        for sentence in refused:
            self._say(sentence)
        return snapshot

    def _begin(self, committed: int | None, beginning: int) -> None:
        """Without any state: from the beginning of the log, if the broker still has all of it."""
        if committed is not None and beginning > 0:
            raise TriplineError(
                f"{self._topic}: offset {committed} is committed, but there is no snapshot in {self._path}, and the "
                f"broker has nothing before {beginning}: what was learned is lost. Put the snapshots back, or reset "
                f"the offsets of group {self._config.kafka.group}-detect to learn anew"
            )
        self._renew()
        self._offset = beginning

    def _renew(self) -> None:
        self.aligner = Aligner()
        self.pipeline = Pipeline(
            self._config, lambda _alert: None, on_signal=self._signals.append, partition=self.partition
        )

    def _opened(self) -> StateDirectory:
        if self._directory is None:
            Path(self._config.worker.state).mkdir(0o700, parents=True, exist_ok=True)
            self._directory = StateDirectory(self._path, fingerprint(self._config), exclusive=False)
            for left in self._path.glob("*.tmp"):  # by a worker that was killed; one of another's that lives is young
                with suppress(FileNotFoundError):
                    if time.time() - left.stat().st_mtime > LEFT_S:
                        left.unlink()
        return self._directory

    @property
    def _path(self) -> Path:
        return Path(self._config.worker.state) / f"partition-{self.partition}"

    @property
    def _topic(self) -> str:
        return f"{self._config.kafka.observations}/{self.partition}"

    def _scored(self, ready: Sequence[PackedBlock]) -> list[Message]:
        """Score blocks as one, for a pass over the detectors costs the same for few events as for many."""
        if not ready:
            return []
        block = joined(ready)
        repeated = self.pipeline.take(block)
        return self._repeats(block, repeated) if repeated.any() else []

    def _repeats(self, block: PackedBlock, repeated: Any) -> list[Message]:
        ids = block.text["id"]
        return [
            self._letter(
                int(block.line[i]), "duplicate_id", f"id {ids[i]!r} came before", b"",
                unstamped(block.origins[block.origin[i]])[0],
            )
            for i in np.flatnonzero(repeated).tolist()
        ]  # fmt: skip

    def _letter(self, offset: int, reason: str, detail: str, raw: bytes, origin: str = "") -> Message:
        return letter(self._config.kafka.dead_letters, origin or f"kafka:{self._topic}", offset, reason, detail, raw)


def _ahead(meta: Mapping[str, Any], wanted: int, committed: int | None) -> str | None:
    """Why a snapshot is not used, or None."""
    offset = meta.get("offset")
    if not isinstance(offset, int):
        return "names no offset"
    if offset > wanted:
        reached = "nothing is committed" if committed is None else f"the group's offset is {committed}"
        return f"stands at offset {offset}, but {reached}: the offsets were reset, or the topic made anew"
    return None
