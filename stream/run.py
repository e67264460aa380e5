"""`tripline run`: files in, alerts out, resumed exactly.

The order of what is made durable is the whole of it. A snapshot names a position of the source and of each output:

    1. a chunk is read and decoded; what cannot be decoded goes to the dead letters
    2. the pipeline takes the block; alerts go to their sink
    3. when a snapshot is due, the sinks are forced to disk, and only then
    4. the snapshot is saved, with the source's position, the sinks' positions and the pipeline's state

A run that is cut anywhere starts again at its last snapshot: it cuts the outputs back to where they were then and goes
on from there, so that every alert is in the output once. At the end of the input the snapshot is taken before what is
left is judged, because more input may follow.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import msgspec
import numpy as np

from stream import metrics
from stream.alerts import Alert, encode
from stream.blocks import PackedBlock
from stream.checkpoint import StateDirectory
from stream.config import Config, fingerprint
from stream.deadletters import RAW_BYTES_MAX, DeadLetter, DeadLetters, letters
from stream.decode import decode_packed
from stream.delivery.embedded import Deliveries
from stream.desk import Desk
from stream.desk import Saved as SavedDesk
from stream.encode import alert_format
from stream.enrich.enricher import enricher_of
from stream.pipeline import Pipeline
from stream.sink import LineSink
from stream.snapshot import Snapshot
from stream.source import Chunk, Position, inputs, open_source
from stream.stop import Stop

INTERRUPTED: Final = 130


class Outputs(msgspec.Struct, frozen=True):
    """What a snapshot says of the outputs: their names and how many bytes of them it stands for."""

    alerts: str
    alerts_bytes: int
    dead_letters: str
    dead_letters_bytes: int
    dead_letter_counts: dict[str, int]
    alert_counts: dict[str, int]
    muted: str = ""
    muted_bytes: int = 0
    outbox_bytes: int = 0


@dataclass(slots=True)
class Options:
    """What `tripline run` was asked for."""

    paths: Sequence[str]
    format: str = "auto"
    follow: bool = False
    alerts: str = "-"
    alert_format: str = "native"
    dead_letters: str | None = None
    state: Path | None = None
    metrics_file: Path | None = None
    metrics_port: int | None = None
    feedback: Path | None = None  # the log of what people said
    muted: str | None = None  # where alerts go that nobody is told of because they are muted


@dataclass(slots=True)
class Counts:
    """What the runner counts beside the pipeline."""

    dead_letters: Counter[str] = field(default_factory=Counter)
    alerts: Counter[tuple[str, str]] = field(default_factory=Counter)
    source_bytes: int = 0
    detected: Counter[tuple[str, str]] = field(default_factory=Counter)
    stage_s: dict[str, float] = field(default_factory=dict)


class Run:
    """One run from the inputs to the end or to Ctrl-C."""

    def __init__(
        self, config: Config, options: Options, *, on_alert: Callable[[Alert], None] = lambda _alert: None,
        on_tick: Callable[[int], None] = lambda _now_ms: None, say: Callable[[str], None] = lambda _message: None,
    ) -> None:  # fmt: skip
        self.config = config
        self.options = options
        self.counts = Counts()
        self.stop = Stop()
        self.desk = Desk(options.feedback)
        self.pipeline = Pipeline(config, self._emit, self._tick)
        self.pipeline.correlator.rank = self.desk.ranking.bits
        self._on_tick = on_tick
        self._encode = alert_format(options.alert_format).encode
        self.deliveries = Deliveries(config, say)
        self._on_alert = on_alert
        self._say = say
        self._enricher = enricher_of(config, say)
        self._sink: LineSink | None = None
        self._muted: LineSink | None = None
        self._saved_at = time.monotonic()
        self._metrics = metrics.registry_of(self.pipeline, self.counts, self.deliveries, self._enricher)

    def go(self, on_progress: Callable[[], None] = lambda: None) -> bool:
        """Read everything; True at the end of the input, False where it was stopped. Raises TriplineError."""
        options, config = self.options, self.config
        files = inputs(options.paths)
        with ExitStack() as stack:
            state = snapshot = None
            if options.state is not None:
                state = stack.enter_context(StateDirectory(options.state, fingerprint(config)))
                snapshot, refused = state.load()
                for sentence in refused:
                    self._say(sentence)
            resume, outputs = self._resumed(snapshot)
            alerts_at, dead_at, muted_at = _positions(outputs, options)
            source = open_source(
                files, options.format, options.follow, resume=resume, record_bytes_max=config.record_bytes_max,
                say=self._say, wait=self._wait,
            )  # fmt: skip
            self._sink = stack.enter_context(LineSink(options.alerts, "alerts", alerts_at))
            if options.muted is not None:
                self._muted = stack.enter_context(LineSink(options.muted, "muted alerts", muted_at))
            stack.enter_context(self.deliveries.started(options.state, outputs.outbox_bytes if outputs else None))
            dead = stack.enter_context(DeadLetters(options.dead_letters, dead_at))
            dead.counts.update(self.counts.dead_letters)
            self.counts.dead_letters = dead.counts
            if options.metrics_port is not None:
                stack.callback(metrics.serve(self._metrics, options.metrics_port))
            stack.enter_context(self.stop.caught())
            position = resume
            ended = False
            for chunk in self._chunks(source):
                self._take(chunk, dead)
                position = chunk.position
                if self._due():
                    self._save(state, position, dead)
                on_progress()
                if self.stop.asked:
                    break
            else:
                ended = not self.stop.asked
            self._save(state, position, dead)
            if ended:
                self.pipeline.finish()
                self._sink.flush()
                self._write_metrics()
            self.deliveries.patient = ended
            return ended

    def _chunks(self, source: Iterator[Chunk]) -> Iterator[Chunk]:
        while True:
            began = time.perf_counter()
            try:
                with self.stop.waiting():
                    chunk = next(source, None)
            except KeyboardInterrupt:
                self.stop.asked = True
                return
            self._spent("source", began)
            if chunk is None:
                return
            yield chunk

    def _take(self, chunk: Chunk, dead: DeadLetters) -> None:
        self.counts.source_bytes += chunk.read_bytes
        dead.add(chunk.dead)
        if chunk.format is None or not chunk.records:
            return
        began = time.perf_counter()
        time_ms_max = int((time.time() + self.config.future_max_s) * 1000)
        block, rejected = decode_packed(
            chunk.format, chunk.records, chunk.origin, chunk.lines, time_ms_max, mixed=self.options.format == "auto"
        )
        self._spent("decode", began)
        if self._enricher is not None:
            block = self._enricher.fill(block)
        if rejected:
            dead.add(letters(rejected, chunk.records, chunk.origin))
        repeated = self.pipeline.take(block)
        if repeated.any():
            dead.add(_repeats(chunk, block.take(np.flatnonzero(repeated))))

    def _tick(self, now_ms: int) -> None:
        self.desk.tick(now_ms)
        self._on_tick(now_ms)

    def _emit(self, alert: Alert) -> None:
        told, first = self.desk.decide(alert, self.pipeline.tick_ms)
        if first:
            self.pipeline.correlator.budget.refund((alert.entity.kind, alert.entity.value))
        if told is not None:
            self._tell(told)
        elif self._muted is not None:
            self._muted.write(encode(alert))
            self._muted.flush()

    def _tell(self, alert: Alert) -> None:
        self.counts.alerts[alert.status, alert.severity] += 1
        if alert.status == "open":
            self.counts.detected.update((detector, alert.severity) for detector in alert.detectors)
        if self._sink is not None:
            self._sink.write(self._encode(alert) + b"\n")
            self._sink.flush()  # few, and somebody waits for them
            self.deliveries.put(alert)
        self._on_alert(alert)

    def _due(self) -> bool:
        return time.monotonic() - self._saved_at >= self.config.snapshot_every_s

    def _save(self, state: StateDirectory | None, position: Position | None, dead: DeadLetters) -> None:
        self._saved_at = time.monotonic()
        self._write_metrics()
        if state is None or position is None:
            return
        began = time.perf_counter()
        assert self._sink is not None  # noqa: S101 - opened before anything is read
        self._sink.sync()
        if self._muted is not None:
            self._muted.sync()
        dead.sync()
        outputs = Outputs(
            alerts=self.options.alerts, alerts_bytes=self._sink.position(),
            dead_letters=self.options.dead_letters or "", dead_letters_bytes=dead.position(),
            dead_letter_counts=dict(dead.counts),
            alert_counts={" ".join(key): count for key, count in self.counts.alerts.items()},
            muted=self.options.muted or "", muted_bytes=self._muted.position() if self._muted is not None else 0,
            outbox_bytes=self.deliveries.sync(),
        )  # fmt: skip
        meta, arrays = self.pipeline.save()
        names = {
            "source": msgspec.to_builtins(position), "outputs": msgspec.to_builtins(outputs), "pipeline": meta,
            "desk": msgspec.to_builtins(self.desk.saved, str_keys=True),
        }  # fmt: skip
        state.save(Snapshot(names, arrays))
        self._spent("snapshot", began)

    def _resumed(self, snapshot: Snapshot | None) -> tuple[Position | None, Outputs | None]:
        if snapshot is None:
            return None, None
        outputs = msgspec.convert(snapshot.meta["outputs"], Outputs)
        self.pipeline.load(snapshot.meta["pipeline"], snapshot.arrays)
        self.desk.saved = msgspec.convert(snapshot.meta.get("desk", {}), SavedDesk, strict=False)
        tick_ms = self.config.tick_s * 1000
        self.desk.tick(self.pipeline.now_ms // tick_ms * tick_ms)  # what had been taught when it was cut
        self.counts.dead_letters.update(outputs.dead_letter_counts)
        for key, count in outputs.alert_counts.items():
            status, severity = key.split(" ")
            self.counts.alerts[status, severity] = count
        position = msgspec.convert(snapshot.meta["source"], Position)
        if self.pipeline.anew:
            self._say(f"another version wrote the state: {', '.join(self.pipeline.anew)} begins to learn anew")
        self._say(f"resuming after {self.pipeline.events:,} events, at {position.path} line {position.line}")
        return position, outputs

    def _wait(self, seconds: float) -> bool:
        if self._due():
            self._write_metrics()
        time.sleep(seconds)
        return True

    def _write_metrics(self) -> None:
        if self.options.metrics_file is not None:
            metrics.write(self._metrics, self.options.metrics_file)

    def _spent(self, stage: str, began: float) -> None:
        self.counts.stage_s[stage] = self.counts.stage_s.get(stage, 0.0) + time.perf_counter() - began


def _positions(outputs: Outputs | None, options: Options) -> tuple[int | None, int | None, int | None]:
    """Where alerts, dead letters and muted alerts go on; what has another name now begins anew."""
    if outputs is None:
        return None, None, None
    return (
        outputs.alerts_bytes if outputs.alerts == options.alerts else None,
        outputs.dead_letters_bytes if outputs.dead_letters == options.dead_letters else None,
        outputs.muted_bytes if outputs.muted == options.muted else None,
    )


def _repeats(chunk: Chunk, block: PackedBlock) -> list[DeadLetter]:
    """Dead letters for the events that were left out because their id came before."""
    places = np.searchsorted(chunk.lines, block.line).tolist()
    return [
        DeadLetter(
            chunk.records[at][:RAW_BYTES_MAX], len(chunk.records[at]), chunk.origin, int(line), "duplicate_id",
            f"id {name!r} came before",
        )
        for at, line, name in zip(places, block.line.tolist(), block.text["id"].texts(), strict=True)
    ]  # fmt: skip
