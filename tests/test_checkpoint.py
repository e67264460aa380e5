"""A snapshot comes back exactly or is refused with a reason, and no crash leaves a directory without one."""

from __future__ import annotations

import errno
import os
import shutil
import struct
import subprocess
import sys
import tracemalloc
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from stream.checkpoint import StateDirectory
from stream.errors import TriplineError
from stream.snapshot import HEADER_BYTES_MAX, Snapshot

Array = npt.NDArray[Any]
Fault = Callable[[int], BaseException | None]

ROW = np.dtype([("seen", "<i8"), ("rates", "<f4", (2, 3)), ("inner", [("a", "u1"), ("b", ">u2")], (2,)), ("id", "S5")])
PADDED = np.dtype([("a", "u1"), ("b", "<f8"), ("c", "?")], align=True)
DTYPES = (
    hnp.scalar_dtypes()
    | hnp.byte_string_dtypes(max_len=9)
    | hnp.unicode_string_dtypes(max_len=9)
    | hnp.array_dtypes()
    | hnp.nested_dtypes()
    | st.sampled_from([ROW, PADDED, np.dtype("V7"), np.dtype("c32"), np.dtype("?")])
).filter(lambda dtype: dtype.subdtype is None and dtype.itemsize > 0 and "((" not in str(dtype.descr))  # no titles
SHAPES = hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=5)
META = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=9,
)  # fmt: skip
SMALL = Snapshot(
    {"events": 7, "position": ["a.log", 12]},
    {"rows": np.zeros(2, ROW), "none": np.zeros((0, 3)), "one": np.array(3.5), "end": np.arange(3, dtype=np.uint8)},
)


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A new directory at each turn: Hypothesis runs many examples in one test."""
    yield tmp_path_factory.mktemp("checkpoint")


FRESH = count()


def fresh(scratch: Path) -> Path:
    return scratch / str(next(FRESH))


def filled(dtype: np.dtype[Any], shape: tuple[int, ...], seed: int) -> Array:
    """Any bytes will do: what is compared is bytes."""
    empty = np.zeros(shape, dtype)
    raw = np.random.default_rng(seed).integers(0, 256, empty.nbytes, np.uint8)
    return raw.view(dtype).reshape(shape) if empty.size else empty


def same(left: Snapshot | None, right: Snapshot) -> bool:
    return (
        left is not None
        and left.meta == right.meta
        and left.arrays.keys() == right.arrays.keys()
        and all(
            (a.dtype, a.shape, a.tobytes()) == (b.dtype, b.shape, b.tobytes())
            for a, b in zip(left.arrays.values(), right.arrays.values(), strict=True)
        )
    )


def saved(path: Path, *snapshots: Snapshot, fingerprint: str = "ours") -> list[Path]:
    """The files of these snapshots, oldest first."""
    with StateDirectory(path, fingerprint) as state:
        for snapshot in snapshots:
            state.save(snapshot)
    return sorted(path.glob("snapshot-*"))


def loaded(path: Path, fingerprint: str = "ours") -> tuple[Snapshot | None, list[str]]:
    with StateDirectory(path, fingerprint) as state:
        return state.load()


def numbered(number: int) -> Snapshot:
    return Snapshot({"number": number}, {"column": np.full(3, number)})


@settings(max_examples=200)
@given(
    arrays=st.dictionaries(st.text(max_size=9), st.builds(filled, DTYPES, SHAPES, st.integers(0, 9)), max_size=4),
    meta=st.dictionaries(st.text(max_size=5), META, max_size=4),
    fingerprint=st.text(max_size=9),
)
def test_what_is_saved_comes_back_exactly(
    scratch: Path, arrays: dict[str, Array], meta: dict[str, Any], fingerprint: str
) -> None:
    snapshot = Snapshot(meta, arrays)
    with StateDirectory(fresh(scratch), fingerprint) as state:
        assert state.load() == (None, [])
        written = state.save(snapshot).nbytes
        [file] = state.path.glob("snapshot-*")
        assert written == file.stat().st_size
        back, refused = state.load()
    assert same(back, snapshot)
    assert refused == []
    assert back is not None
    assert all(array.flags.writeable and array.flags.c_contiguous for array in back.arrays.values())


def test_arrays_that_lie_scattered_or_cannot_be_written_come_back_too(tmp_path: Path) -> None:
    grid = np.arange(24.0).reshape(4, 6)
    frozen = grid.copy()
    frozen.flags.writeable = False
    snapshot = Snapshot({}, {"turned": grid.T, "every other": grid[::2, ::-1], "same": np.broadcast_to(7, (3, 2)),
                             "field": np.zeros(5, ROW)["inner"]["b"], "frozen": frozen})  # fmt: skip
    saved(tmp_path, snapshot)
    assert same(loaded(tmp_path)[0], snapshot)


def test_arrays_are_written_from_where_they_lie(tmp_path: Path) -> None:
    snapshot = Snapshot({}, {"large": np.zeros(1 << 23, np.uint8)})
    with StateDirectory(tmp_path, "ours") as state:
        tracemalloc.start()
        state.save(snapshot)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < 1 << 20


OVERLAPPING = np.dtype({"names": ["a", "b"], "formats": ["<i4", "<i4"], "offsets": [0, 2]})
TITLED = np.dtype([(("title", "name"), "<i4")])


@pytest.mark.parametrize("dtype", [object, [("a", "O")], OVERLAPPING, TITLED, np.dtype("V0")])
def test_what_could_not_be_read_back_is_not_written(tmp_path: Path, dtype: Any) -> None:
    with StateDirectory(tmp_path, "ours") as state:
        with pytest.raises(TypeError, match="array bad: a snapshot cannot hold dtype"):
            state.save(Snapshot({}, {"good": np.zeros(3), "bad": np.zeros(2, dtype)}))
        with pytest.raises(TypeError):
            state.save(Snapshot({"bad": object()}, {}))
        assert [path.name for path in tmp_path.iterdir()] == ["lock"]


def test_a_header_that_would_be_refused_is_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stream.snapshot.HEADER_BYTES_MAX", 100)
    with StateDirectory(tmp_path, "ours") as state, pytest.raises(ValueError, match="the limit is 100"):
        state.save(Snapshot({"long": "x" * 100}, {}))


def test_the_directory_is_private_and_holds_two_snapshots(tmp_path: Path) -> None:
    files = saved(tmp_path / "state", *map(numbered, range(5)))
    assert [file.name for file in files] == [f"snapshot-{n:020}.tripline" for n in (4, 5)]
    assert (tmp_path / "state").stat().st_mode & 0o777 == 0o700
    assert {file.stat().st_mode & 0o777 for file in files} == {0o600}
    assert all(file.stat().st_size % 64 == 24 for file in files)  # three integers behind whole cache lines


@pytest.mark.parametrize("flip", [0x01, 0x80, 0xFF])
def test_no_byte_can_change_unnoticed(tmp_path: Path, flip: int) -> None:
    [file] = saved(tmp_path, SMALL)
    whole = file.read_bytes()
    with StateDirectory(tmp_path, "ours") as state:
        for at in range(len(whole)):
            file.write_bytes(whole[:at] + bytes([whole[at] ^ flip]) + whole[at + 1 :])
            with pytest.raises(TriplineError, match=r"no snapshot can be used: .*tripline: "):
                state.load()
        file.write_bytes(whole)
        assert same(state.load()[0], SMALL)


def test_no_length_but_its_own_is_accepted(tmp_path: Path) -> None:
    [file] = saved(tmp_path, SMALL)
    whole = file.read_bytes()
    with StateDirectory(tmp_path, "ours") as state:
        for length in range(len(whole)):
            file.write_bytes(whole[:length])
            with pytest.raises(TriplineError, match=r"not a snapshot|truncated"):
                state.load()
        file.write_bytes(whole + b"\0")
        with pytest.raises(TriplineError, match="1 bytes too long"):
            state.load()


def test_the_one_before_stands_in_for_a_newest_that_is_damaged(tmp_path: Path) -> None:
    before, newest = saved(tmp_path, numbered(1), numbered(2))
    newest.write_bytes(newest.read_bytes()[:-1])
    with StateDirectory(tmp_path, "ours") as state:
        snapshot, refused = state.load()
        assert same(snapshot, numbered(1))
        assert refused == [f"{newest}: truncated, 1 bytes are missing (restore the file from a backup)"]
        state.save(numbered(3))  # the damaged one goes, not the one that was good
    assert sorted(path.name[-10:] for path in tmp_path.glob("snap*")) == ["1.tripline", "3.tripline"]
    assert before.exists()
    assert same(loaded(tmp_path)[0], numbered(3))


def test_when_every_snapshot_is_damaged_nothing_begins_anew_silently(tmp_path: Path) -> None:
    files = saved(tmp_path, numbered(1), numbered(2))
    for file in files:
        file.write_bytes(b"")
    with pytest.raises(TriplineError, match="no snapshot can be used") as told:
        loaded(tmp_path)
    assert all(f"{file}: not a snapshot (restore the file from a backup)" in str(told.value) for file in files)
    assert str(told.value).endswith("; or begin anew with another --state directory")
    assert all(file.exists() for file in files)


def test_what_another_configuration_learned_is_refused(tmp_path: Path) -> None:
    saved(tmp_path, numbered(1), fingerprint="theirs")
    with pytest.raises(
        TriplineError, match=r"of another configuration, 'theirs' and not 'ours' .use the configuration"
    ):
        loaded(tmp_path)
    assert same(loaded(tmp_path, "theirs")[0], numbered(1))


def forged(path: Path, header: bytes, body: bytes = b"", *, version: int = 1) -> None:
    """A file whose checksums hold, whatever it says."""
    path.mkdir(exist_ok=True)
    head = struct.pack("<8sIQ", b"TRIPLINE", version, len(header)) + header
    head += struct.pack("<I", zlib.crc32(head))
    (path / f"snapshot-{1:020}.tripline").write_bytes(head + bytes(-len(head) % 64) + body)


def entry(**changed: Any) -> dict[str, Any]:
    return {
        "name": "a",
        "dtype": "<i8",
        "shape": [8],
        "offset": 0,
        "nbytes": 64,
        "crc32": zlib.crc32(bytes(64)),
    } | changed


def header(*entries: Any) -> bytes:
    return orjson.dumps({"fingerprint": "ours", "meta": {}, "arrays": entries})


def test_the_forger_can_write_a_good_file(tmp_path: Path) -> None:
    """Otherwise the refusals below would prove nothing."""
    forged(tmp_path, header(entry()), bytes(64))
    assert same(loaded(tmp_path)[0], Snapshot({}, {"a": np.zeros(8, np.int64)}))


def deep(levels: int) -> Any:
    dtype: Any = "<i8"
    for _ in range(levels):
        dtype = [["f", dtype]]
    return dtype


@pytest.mark.parametrize(
    ("entries", "reason"),
    [
        ([entry(shape=[9])], "is not where its dtype and shape put it"),
        ([entry(shape=[2**63 - 1])], "is not where"),
        ([entry(shape=[2**50], nbytes=2**53)], "truncated, 9007199254740928 bytes are missing"),
        ([entry(shape=[2**32, 2**32])], "is not where"),
        ([entry(shape=[-8])], "a header that is not one"),
        ([entry(shape=[-2, -4])], "a header that is not one"),
        ([entry(shape=[8.5])], "a header that is not one"),
        ([entry(shape=[True] * 3 + [8])], "a header that is not one"),
        ([entry(shape=[1] * 64 + [8])], "a header that is not one"),
        ([entry(shape=[0, 2**62, 2**62], nbytes=0), entry(name="b")], "cannot be made"),
        ([entry(shape=[0, 2**64 - 1], nbytes=0), entry(name="b")], "cannot be made"),
        ([entry(offset=-64)], "a header that is not one"),
        ([entry(offset=64)], "is not where"),
        ([entry(offset=2**63)], "is not where"),
        ([entry(nbytes=-64)], "a header that is not one"),
        ([entry(nbytes=2**63)], "is not where"),
        ([entry(), entry(name="b")], "is not where"),
        ([entry(), entry(offset=64)], "two arrays of one name"),
        ([entry(), entry(name="b", offset=64)], "truncated, 64 bytes are missing"),
        ([], "64 bytes too long"),
        ([entry(crc32=1)], "the checksum of array 'a' does not match"),
        ([entry(extra=1)], "a header that is not one"),
        ([entry(name=1)], "a header that is not one"),
        (["a"], "a header that is not one"),
        ([{}], "a header that is not one"),
        ([entry(dtype="|O")], "a dtype that is not one"),
        ([entry(dtype="|O8")], "a dtype that is not one"),
        ([entry(dtype=[["a", "|O"]])], "a dtype that is not one"),
        ([entry(dtype="<i3")], "a dtype that is none"),
        ([entry(dtype="<U999999999")], "a dtype that is none"),
        ([entry(dtype="i8,i8")], "a dtype that is not one"),
        ([entry(dtype="(2,)i4")], "a dtype that is not one"),
        ([entry(dtype="|S0")], "a dtype that is not one"),
        ([entry(dtype=[])], "a dtype that is not one"),
        ([entry(dtype=None)], "a dtype that is not one"),
        ([entry(dtype=[["a", "<i4"], ["a", "<i4"]])], "a dtype that is none"),
        ([entry(dtype=[["a", "<i4", [-1]]])], "a dtype that is not one"),
        ([entry(dtype=[["a", "<i4", [2**62, 4]]])], "a dtype that is none"),
        ([entry(dtype=[["a", "<i4", [1] * 99]])], "a dtype that is none"),
        ([entry(dtype=deep(17))], "a dtype that is not one"),
    ],
)  # fmt: skip
def test_a_forged_table_is_refused_before_anything_is_made_of_it(
    tmp_path: Path, entries: list[Any], reason: str
) -> None:
    forged(tmp_path, header(*entries), bytes(64))
    with pytest.raises(TriplineError, match=reason):
        loaded(tmp_path)


@pytest.mark.parametrize("levels", [100, 400, 900])
def test_a_dtype_of_endless_depth_is_refused(tmp_path: Path, levels: int) -> None:
    """As deep as the reader of JSON goes, which is deeper than Python calls go."""
    forged(tmp_path, header(entry(dtype="deep")).replace(b'"deep"', b"[" * levels + b"]" * levels), bytes(64))
    with pytest.raises(TriplineError, match=r"a dtype that is not one|a header that is not one"):
        loaded(tmp_path)


def test_padding_that_is_not_zero_is_refused(tmp_path: Path) -> None:
    table = header(entry(dtype="|u1", nbytes=8, crc32=zlib.crc32(bytes(8))), entry(name="b", offset=64))
    forged(tmp_path, table, bytes(8) + b"x" + bytes(55 + 64))
    with pytest.raises(TriplineError, match="bytes between the arrays that are not zero"):
        loaded(tmp_path)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"[" * 100_000, "a header that is not one"),
        (b'{"fingerprint":"ours","arrays":[],"meta":{"a":' + b"[" * 1000 + b"]" * 1000 + b"}}", None),
        (b"\xff", "a header that is not one"),
        (b"{}", "a header that is not one"),
        (b'{"fingerprint":1,"meta":{},"arrays":[]}', "a header that is not one"),
    ],
)
def test_a_forged_header_is_refused_or_harmless(tmp_path: Path, content: bytes, reason: str | None) -> None:
    forged(tmp_path, content)
    with pytest.raises(TriplineError, match=reason) if reason else suppress(TriplineError):
        loaded(tmp_path)


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.sampled_from(["<i8", "|O", "|V0", "<M8[7s]", "a"]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(list(entry())), inner, max_size=6),
    max_leaves=12,
)


@settings(max_examples=200)
@given(changes=st.lists(st.dictionaries(st.sampled_from(list(entry())), JSON, max_size=3) | JSON, max_size=3))
def test_whatever_a_table_says_it_is_read_or_refused(scratch: Path, changes: list[Any]) -> None:
    entries = [entry(**change) if isinstance(change, dict) else change for change in changes]
    forged(scratch / "any table", header(*entries), bytes(64))
    with suppress(TriplineError):
        loaded(scratch / "any table")


def test_a_newer_format_an_endless_header_and_a_directory_are_refused(tmp_path: Path) -> None:
    forged(tmp_path, header(), version=3)
    with pytest.raises(TriplineError, match=r"format version 3, this program reads 1 and 2 .use the program that"):
        loaded(tmp_path)
    file = tmp_path / f"snapshot-{1:020}.tripline"
    file.write_bytes(struct.pack("<8sIQ", b"TRIPLINE", 1, 2**64 - 1))
    with pytest.raises(TriplineError, match=f"a header of {2**64 - 1} bytes, the limit is {HEADER_BYTES_MAX}"):
        loaded(tmp_path)
    file.unlink()
    file.mkdir()
    with pytest.raises(TriplineError, match="not a regular file"):
        loaded(tmp_path)


class Died(BaseException):
    """The process is gone: nothing it does after this has an effect."""


@contextmanager
def faults(fault: Fault) -> Iterator[list[str]]:
    """Every call that changes the disk, by name; the n-th (from 1) fails with what `fault` makes of it.

    A write that fails has written the half of its bytes.
    """
    calls: list[str] = []

    def failing(name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            calls.append(name)
            why = fault(len(calls))
            if why is None:
                return real(*args, **kwargs)
            if name == "write":
                real(args[0], args[1][: len(args[1]) // 2])
            raise why

        return call

    with pytest.MonkeyPatch.context() as patch:
        for name in ("mkdir", "open", "ftruncate", "write", "fsync", "replace", "unlink"):
            patch.setattr(os, name, failing(name, getattr(os, name)))
        yield calls


def from_call(k: int) -> Fault:
    return lambda n: Died() if n >= k else None


def at_call(k: int, code: int) -> Fault:
    return lambda n: OSError(code, os.strerror(code)) if n == k else None


def test_a_snapshot_is_on_the_disk_before_it_has_its_name_and_its_name_before_others_go(tmp_path: Path) -> None:
    saved(tmp_path, numbered(1), numbered(2))
    with StateDirectory(tmp_path, "ours") as state, faults(lambda _: None) as calls:
        state.save(numbered(3))
    order = [name for name, after in zip(calls, [*calls[1:], ""], strict=True) if (name, after) != ("write", "write")]
    assert order == ["open", "write", "fsync", "replace", "open", "fsync", "unlink"]


@pytest.mark.parametrize("before", [0, 1, 2])
def test_death_at_any_call_leaves_the_old_snapshot_or_the_new(tmp_path: Path, before: int) -> None:
    new = numbered(before + 1)
    for k in count(1):
        path = tmp_path / str(k)
        if before:
            saved(path, *map(numbered, range(1, before + 1)))
            (path / f"snapshot-{9:020}.tripline.tmp").write_bytes(b"left by an earlier death")
        survived = False
        with (
            faults(from_call(k)),
            suppress(Died),
            StateDirectory(path, "ours") as state,
        ):
            state.save(new)
            survived = True
        with StateDirectory(path, "ours") as state:
            found, refused = state.load()
            assert refused == []
            assert same(found, new) or (same(found, numbered(before)) if before else found is None)
            assert not list(path.glob("*.tmp"))
            state.save(numbered(77))
            assert len(list(path.glob("snapshot-*"))) <= 2
        assert same(loaded(path)[0], numbered(77))
        if survived:
            assert same(found, new)
            break


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO, errno.EDQUOT])
def test_a_disk_that_refuses_any_call_costs_no_snapshot(tmp_path: Path, code: int) -> None:
    saved(tmp_path, numbered(1), numbered(2))
    with StateDirectory(tmp_path, "ours") as state:
        for k in count(1):
            before, _ = state.load()
            with faults(at_call(k, code)):
                try:
                    state.save(numbered(100 + k))
                    break
                except TriplineError as why:
                    assert f"{os.strerror(code)}; free some space there" in str(why)
            found, refused = state.load()
            assert refused == []
            assert before is not None
            assert same(found, before) or same(found, numbered(100 + k))
            assert not list(tmp_path.glob("*.tmp"))
    assert k > 5


def test_a_directory_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    with pytest.raises(
        TriplineError, match=r"state directory .*absent/state: No such file .*; name a --state directory"
    ):
        StateDirectory(tmp_path / "absent" / "state", "ours")
    (tmp_path / "file").touch()
    with pytest.raises(TriplineError, match="file: File exists; name a --state directory"):
        StateDirectory(tmp_path / "file", "ours")


def test_a_directory_that_vanishes_is_told(tmp_path: Path) -> None:
    with StateDirectory(tmp_path / "state", "ours") as state:
        shutil.rmtree(tmp_path / "state")
        for act in (state.load, lambda: state.save(SMALL)):
            with pytest.raises(TriplineError, match=r"state: No such file .*; put it back as it was"):
                act()


def test_a_directory_that_is_closed_takes_nothing(tmp_path: Path) -> None:
    state = StateDirectory(tmp_path, "ours")
    state.close()
    state.close()
    with pytest.raises(ValueError, match="is closed"):
        state.save(SMALL)


HOLD = """
import sys
from stream.checkpoint import StateDirectory
state = StateDirectory(sys.argv[1], "ours")
print("held", flush=True)
sys.stdin.read()
"""


def test_a_second_process_is_told_who_holds_the_directory_until_that_one_dies(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(TriplineError, match=f"is in use by process {holder.pid}; wait for it or stop it, or name"):
            StateDirectory(tmp_path, "ours")
        holder.kill()
    with StateDirectory(tmp_path, "ours"), pytest.raises(TriplineError, match=f"in use by process {os.getpid()};"):
        StateDirectory(tmp_path, "ours")


def test_a_lock_file_that_says_nonsense_is_not_repeated(tmp_path: Path) -> None:
    with StateDirectory(tmp_path, "ours"):
        (tmp_path / "lock").write_bytes(b"\x1b[2J\xff")
        with pytest.raises(TriplineError, match="in use by another process;"):
            StateDirectory(tmp_path, "ours")
