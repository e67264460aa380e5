"""Snapshots: files whose checksums hold whatever they say, and a pipeline that is given what a snapshot may hold."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import msgspec
import numpy as np
import orjson

from detectors.base import Array, Columns
from stream.changes import Changes
from stream.checkpoint import StateDirectory
from stream.config import Config, EntitiesMax
from stream.errors import TriplineError
from stream.pipeline import Pipeline
from stream.snapshot import Snapshot, encoded
from tests.fuzz.target import PART, Target, parts
from tests.streams import DAY_MS, HOUR_MS, START_MS, block, event, regulars
from tests.test_checkpoint import SMALL, entry, forged, header, same, saved

SMALL_TABLES: Final = EntitiesMax(*[40] * len(EntitiesMax.__struct_fields__))
CONFIG: Final = Config(warmup_h=2.0, session_lifetime_h=2.0, tick_s=600, entities_max=SMALL_TABLES)
BASE: Final = Snapshot({}, {"t/a": np.zeros((5, 8)), "one": np.array(3.5)})
BASE_CHECKSUM: Final = encoded(BASE, "ours")[0]


def stored(data: bytes) -> None:
    """A file is a snapshot that is saved as it was loaded, or is refused. The checksums of arrays are made right."""
    head, body = parts(data, 2)
    with TemporaryDirectory() as folder:
        path = Path(folder) / "state"
        forged(path, _checked(head, body), body)
        with StateDirectory(path, "ours") as state:
            try:
                snapshot, _ = state.load()
            except TriplineError:
                return
            assert snapshot is not None
            try:
                state.save(snapshot)
            except (TypeError, ValueError):  # an integer that other JSON libraries have written
                return
            assert same(state.load()[0], snapshot)


def rested(data: bytes) -> None:
    """A delta is read onto what it rests on, or that is used and the delta refused. Checksums are made right."""
    head, body = parts(data, 2)
    with TemporaryDirectory() as folder:
        path = Path(folder) / "state"
        saved(path, BASE)
        forged(Path(folder), _checked(head, body), body, version=2)
        Path(folder, f"snapshot-{1:020}.tripline").rename(path / f"snapshot-{2:020}.tripline")
        with StateDirectory(path, "ours") as state:
            snapshot, refused = state.load()
            assert snapshot is not None
            assert same(snapshot, BASE) if refused else all(a.flags.c_contiguous for a in snapshot.arrays.values())


def deltas() -> list[bytes]:
    """Rows that changed, that are new, and that are gone; an array of which all is there, and one that is new."""
    found = []
    for rows, pieces in ((5, [0, 3]), (7, [1, 5, 6]), (2, [])):
        table = np.ones((rows, 8))
        index = Changes(("t/a",), 1, np.array(pieces, np.int64))
        arrays = {"t/a": table, "one": np.array(4.5), "new": np.arange(3)}
        _, sent = encoded(Snapshot({}, arrays), "ours", BASE_CHECKSUM, [index])
        whole = b"".join(sent)
        length = int.from_bytes(whole[12:20], "little")
        found.append(whole[20 : 20 + length] + PART + whole[-(-(20 + length + 4) // 64) * 64 :])
    return found


def _checked(head: bytes, body: bytes) -> bytes:
    """The header with the checksums that the body has."""
    try:
        told = orjson.loads(head)
        for each in [*told["arrays"], *(index["array"] for index in told.get("indexes", []))]:
            start, count = each["offset"], each["nbytes"]
            each["crc32"] = zlib.crc32(body[start : start + count])
        return orjson.dumps(told)
    except (orjson.JSONDecodeError, orjson.JSONEncodeError, AttributeError, KeyError, TypeError):
        return head


def files() -> list[bytes]:
    """One array, none, and those of a snapshot with a bit of everything."""
    with TemporaryDirectory() as folder:
        whole = saved(Path(folder) / "state", SMALL)[0].read_bytes()
    length = int.from_bytes(whole[12:20], "little")
    behind = -(-(20 + length + 4) // 64) * 64
    return [header(entry()) + PART + bytes(64), header() + PART, whole[20 : 20 + length] + PART + whole[behind:]]


@cache
def learned() -> tuple[bytes, Columns]:
    """What a pipeline has on the disk in the middle of a theft: meta as JSON, and arrays."""
    rng = np.random.default_rng(7)
    events = regulars(1.0, 30, rng)
    events += [
        event(
            START_MS + 14 * HOUR_MS + 1000 * n, f"user-{n % 30}", credential=f"forged-{n}", subject=f"s-{n}",
            object=f"o-{n}",
        )
        for n in range(120)
    ]  # fmt: skip
    pipeline = Pipeline(CONFIG, lambda _alert: None)
    pipeline.process(block(events))
    meta, arrays = pipeline.save()
    return msgspec.json.encode(meta), {name: array.copy() for name, array in arrays.items()}


@cache
def after() -> Any:
    """What comes next: those that are known, and more than there is room for."""
    events = [
        event(
            START_MS + DAY_MS + 60_000 * n, f"user-{n % 60}", credential=f"t-{n}", source_ip=f"192.0.2.{n}",
            object=f"o-{n}",
        )
        for n in range(90)
    ]  # fmt: skip
    return block(events, first=10_000)


def loaded(data: bytes) -> None:
    """What does not fit is refused; what is taken is gone on with. Meta as JSON, and changes of arrays."""
    given, changes = parts(data, 2)
    arrays = dict(learned()[1])
    for at in range(0, min(len(changes), 8 * 6), 6):
        _change(arrays, changes[at : at + 6].ljust(6, b"\0"))
    try:
        meta = orjson.loads(given)
    except orjson.JSONDecodeError:
        return
    if not isinstance(meta, dict):  # the reader of the file has looked at that
        return
    pipeline = Pipeline(CONFIG, lambda _alert: None)
    try:
        pipeline.load(meta, arrays)
    except TriplineError:
        return
    # What figures say is believed: whoever may write there decides what is usual, and can spoil an arithmetic. What
    # must not be is a loop that leaves its arrays, an IndexError in the form "checked", or a name that is not there.
    with suppress(ArithmeticError, ValueError):
        pipeline.process(after())
        pipeline.finish()
        pipeline.save()


def _change(arrays: Columns, how: bytes) -> None:
    """Change one array: what is in it, how long it is, its form, or whether it is there. how: six bytes."""
    names = sorted(arrays)
    if not names:
        return
    name = names[how[0] % len(names)]
    array = arrays[name]
    number = int.from_bytes(how[2:4])
    match how[1] % 8:
        case 0:
            del arrays[name]
        case 1:
            arrays[name] = array[: len(array) - 1 - number % max(len(array), 1)] if array.ndim else array[None]
        case 2 if array.ndim and array.nbytes < 1 << 20:
            arrays[name] = np.concatenate([array] * (2 + number % 3))
        case 3:
            arrays[name] = array.reshape((-1, 1) if array.ndim else (1, 1))
        case 4:
            dtypes: Sequence[Any] = ("<i8", "<f8", "|u1", ">u4", "<M8[s]", "<c16", "|S3", "<U2", "|b1", array.dtype)
            arrays[name] = np.zeros(array.shape, dtypes[number % len(dtypes)])
        case 5:
            arrays[name] = np.zeros(() if number % 2 else (0, *array.shape[1:]), array.dtype)
        case 6:
            arrays[name] = _poked(array, number, how[4:6])
        case _:
            arrays[name] = _filled(array, number, how[4])


def _filled(array: Array, which: int, value: int) -> Array:
    """The array with the least or the greatest that there is, or no number, all through one of its fields."""
    made = array.copy()
    names = array.dtype.names
    field = made[names[which % len(names)]] if names else made
    if field.dtype.kind in "iu":
        limits = np.iinfo(field.dtype)
        field[...] = limits.max if value % 2 else limits.min
    elif field.dtype.kind == "f":
        field[...] = (np.nan, np.inf, -np.inf, 3e38)[value % 4]
    return made


def _poked(array: Array, place: int, value: bytes) -> Array:
    """The array with two of its bytes, or a run of eight, changed."""
    raw = bytearray(np.ascontiguousarray(array).tobytes())
    if raw:
        at = place * 8 % len(raw)
        long = value * 4 if place & 1 else value
        raw[at : at + len(long)] = long[: len(raw) - at]
    return np.frombuffer(bytes(raw), array.dtype).reshape(array.shape).copy()


def states() -> list[bytes]:
    """As it was saved, and with a change of each kind that a pipeline refuses or takes."""
    meta = learned()[0]
    return [meta, meta + PART + bytes([3, 6, 0, 0, 0, 0]), meta + PART + bytes([255, 7, 0, 2, 1, 0])]


TARGETS: Final = [
    Target("snapshot.file", stored, files), Target("snapshot.delta", rested, deltas),
    Target("snapshot.state", loaded, states, compiled=True),
]  # fmt: skip
