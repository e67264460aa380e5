"""A snapshot that is a delta comes back as if it had been whole, or is refused; no crash, no damage costs the rest."""

from __future__ import annotations

import errno
import shutil
import struct
import tempfile
import zlib
from collections.abc import Callable, Iterator, Sequence
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
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule

from stream.changes import Changes, changed, hashed, raw
from stream.checkpoint import DELTAS_MAX, DELTAS_SHARE, KEPT, Saved, StateDirectory
from stream.errors import TriplineError
from stream.snapshot import Snapshot, encoded, is_delta, write
from tests.test_checkpoint import Died, at_call, faults, forged, from_call, loaded, same, saved

Array = npt.NDArray[Any]
Arrays = dict[str, Array]

ROW = np.dtype([("seen", "<i8"), ("rates", "<f4", (3,)), ("flag", "u1")])
DTYPES: list[np.dtype[Any]] = [
    np.dtype("u1"),
    np.dtype("<i2"),
    np.dtype("<f8"),
    ROW,
    np.dtype("S90"),
    np.dtype("V1500"),
]
TRAILS = [(), (3,), (2, 40), (700,), (0,)]
NAMES = ["a/x", "a/y", "a/z", "b/x", "c"]


@contextmanager
def small(**limits: Any) -> Iterator[None]:
    """Deltas of states that fit a test, as many as one likes unless told otherwise."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("stream.changes.GROUP_BYTES_MIN", 1)
        for name, value in ({"FROM_BYTES": 1, "SHARE": 1e9, "MAX": 999} | limits).items():
            patch.setattr(f"stream.checkpoint.DELTAS_{name}", value)
        yield


@pytest.fixture
def _small() -> Iterator[None]:
    with small():
        yield


def filled(rng: np.random.Generator, rows: int, dtype: np.dtype[Any], trail: tuple[int, ...]) -> Array:
    empty = np.zeros((rows, *trail), dtype)
    some = rng.integers(0, 256, empty.nbytes, np.uint8)
    return some.view(dtype).reshape(empty.shape) if empty.size else empty


def edited(arrays: Arrays, edit: tuple[str, str, int]) -> Arrays:
    """Arrays of their own, with one of them edited as told."""
    how, name, seed = edit
    rng = np.random.default_rng(seed)
    out = {n: a.copy() for n, a in arrays.items()}
    array = out.get(name)
    if how == "new" or array is None:
        out[name] = filled(rng, int(rng.integers(0, 40)), DTYPES[seed % 6], TRAILS[seed % 5])
    elif how == "gone":
        del out[name]
    elif how == "turned":
        out = {n: out[n] for n in sorted(out, reverse=True)}
    elif how == "grown":
        out[name] = np.concatenate([array, filled(rng, int(rng.integers(1, 9)), array.dtype, array.shape[1:])])
    elif how == "shrunk":
        out[name] = array[: int(rng.integers(0, len(array) + 1))].copy()
    elif array.nbytes:
        raw(array)[rng.integers(0, array.nbytes, int(rng.integers(1, 9)))] ^= np.uint8(1 + seed % 255)
    return out


HOW = ["bytes", "bytes", "bytes", "grown", "shrunk", "new", "gone", "turned"]
EDITS = st.lists(st.tuples(st.sampled_from(HOW), st.sampled_from(NAMES), st.integers(0, 999)), max_size=4)


def begun(seed: int) -> Arrays:
    """A table of two columns, two arrays beside it, and one that is empty."""
    rng = np.random.default_rng(seed)
    return {
        "a/x": filled(rng, 50, ROW, ()), "a/y": filled(rng, 50, np.dtype("<f4"), (3,)),
        "b/x": filled(rng, 3, np.dtype("<u8"), (2, 100)), "c": np.zeros((0, 3)),
    }  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(seed=st.integers(0, 99), steps=st.lists(EDITS, min_size=1, max_size=5))
def test_a_chain_gives_what_a_whole_snapshot_would_have_given(seed: int, steps: list[Any]) -> None:
    arrays, known = begun(seed), False
    with small(), tempfile.TemporaryDirectory() as path, StateDirectory(path, "ours") as state:
        for n, edits in enumerate([[], *steps]):
            for edit in edits:
                arrays = edited(arrays, edit)
            written = state.save(Snapshot({"n": n}, arrays))
            assert written.nbytes == written.path.stat().st_size
            assert written.whole != (known and bool(hashed(arrays)))
            known = bool(hashed(arrays))
        with StateDirectory(path, "ours", exclusive=False) as other:
            back, refused = other.load()
        assert refused == []
        assert same(back, Snapshot({"n": len(steps)}, arrays))
        assert back is not None
        assert list(back.arrays) == list(arrays)
        assert all(array.flags.writeable and array.flags.c_contiguous for array in back.arrays.values())


@settings(deadline=None)
@given(width=st.integers(1, 200), rows=st.integers(1, 60), data=st.data())
def test_whatever_byte_changes_its_piece_is_found_and_no_other(width: int, rows: int, data: Any) -> None:
    with small():
        array = filled(np.random.default_rng(width), rows, np.dtype("u1"), (width,))
        before = hashed({"a": array})
        at = data.draw(st.integers(0, array.size - 1))
        raw(array)[at] ^= np.uint8(data.draw(st.integers(1, 255)))
        found, _ = changed(before, hashed({"a": array}), {"a": array})
        together = -(-64 // width)
        whole = together + 8 / width >= rows  # it would not be less
        assert [each.pieces.tolist() for each in found] == ([] if whole else [[at // width // together]])


def test_rows_that_columns_exchange_have_changed() -> None:
    """Columns share a hash, which must not be the same for both."""
    with small():
        one, other = (filled(np.random.default_rng(n), 9, np.dtype("<f8"), (9,)) for n in (1, 2))
        before = hashed({"t/one": one, "t/other": other})
        now = {"t/one": other, "t/other": one}
        assert all((before[form] != hashes).all() for form, hashes in hashed(now).items())


def test_a_million_rows_that_differ_little_have_hashes_of_their_own() -> None:
    with small():
        rows = np.zeros((1_000_000, 12), np.uint8)
        rows[:, 3:6] = np.arange(1_000_000, dtype="<u4").view(np.uint8).reshape(-1, 4)[:, :3]
        together = np.concatenate([rows, np.zeros((1_000_000, 60), np.uint8)], axis=1)
        [hashes] = hashed({"a": together}).values()
        assert len(np.unique(hashes)) == 1_000_000


def table(n: int, rows: int = 400) -> Snapshot:
    """A state in which a row changes at each step."""
    column = np.arange(rows * 8.0).reshape(rows, 8)
    column[: n + 1] += n
    return Snapshot({"n": n}, {"t/column": column, "small": np.array(n)})


def chained(path: Path, *numbers: int, fingerprint: str = "ours") -> list[Path]:
    return saved(path, *map(table, numbers), fingerprint=fingerprint)


@pytest.mark.usefixtures("_small")
def test_a_table_may_grow_and_shrink_at_every_step(tmp_path: Path) -> None:
    sizes = [100, 103, 160, 161, 90, 95, 500, 0, 7]
    states = [Snapshot({}, {"t/a": np.full(n, n), "t/b": np.arange(3.0 * n).reshape(n, 3)}) for n in sizes]
    with StateDirectory(tmp_path, "ours") as state, StateDirectory(tmp_path, "ours", exclusive=False) as other:
        for each in states:
            state.save(each)
            assert same(other.load()[0], each)


@pytest.mark.usefixtures("_small")
def test_only_what_changed_is_written(tmp_path: Path) -> None:
    first, second = chained(tmp_path, 0, 1)
    assert second.stat().st_size < first.stat().st_size / 20
    assert [struct.unpack("<8sI", file.read_bytes()[:12])[1] for file in (first, second)] == [1, 2]


def test_a_state_that_is_small_is_always_whole(tmp_path: Path) -> None:
    assert not any(is_delta(file) for file in chained(tmp_path, 0, 1))


@pytest.mark.parametrize("limits", [{"SHARE": DELTAS_SHARE}, {"MAX": 5}, {"MAX": DELTAS_MAX}])
def test_deltas_come_to_an_end_and_no_more_is_kept_than_is_needed(tmp_path: Path, limits: dict[str, Any]) -> None:
    with small(**limits), StateDirectory(tmp_path, "ours") as state:
        written: list[Saved] = []
        for n in range(120):
            written.append(state.save(table(3 * n)))
            whole = written[max(i for i, each in enumerate(written) if each.whole)]
            if "SHARE" in limits:
                assert written[-1].chain_nbytes < 2 * whole.nbytes + 512 * len(written)  # the headers
            files = sorted(tmp_path.glob("snapshot-*"))
            assert sum(not is_delta(file) for file in files) == min(KEPT, sum(each.whole for each in written))
            assert not is_delta(files[0])
        runs = "".join("w" if each.whole else "d" for each in written).split("w")[1:]
        assert len(runs) > 2
        assert max(map(len, runs)) <= limits.get("MAX", 999)


@pytest.mark.usefixtures("_small")
def test_after_a_load_the_next_is_whole(tmp_path: Path) -> None:
    """Nothing rests on a file that this process did not write, or has refused."""
    chained(tmp_path, 0, 1)
    with StateDirectory(tmp_path, "ours") as state:
        state.load()
        assert state.save(table(2)).whole
        assert not state.save(table(3)).whole
        back, _ = state.load(lambda meta: "ahead" if meta["n"] > 2 else None)
        assert same(back, table(2))
        assert state.save(table(4)).whole
    assert same(loaded(tmp_path)[0], table(4))


@pytest.mark.usefixtures("_small")
def test_where_another_wrote_in_between_the_next_is_whole(tmp_path: Path) -> None:
    with StateDirectory(tmp_path, "ours", exclusive=False) as one, StateDirectory(tmp_path, "ours", False) as other:
        one.save(table(0))
        other.save(table(1))
        assert one.save(table(2)).whole
    assert same(loaded(tmp_path)[0], table(2))


@pytest.mark.usefixtures("_small")
def test_a_disk_that_refuses_a_delta_costs_nothing(tmp_path: Path) -> None:
    with StateDirectory(tmp_path, "ours") as state:
        state.save(table(0))
        with faults(at_call(2, errno.ENOSPC)), pytest.raises(TriplineError, match="free some space there"):
            state.save(table(1))
        assert not state.save(table(2)).whole
    assert same(loaded(tmp_path)[0], table(2))


def missing(files: Sequence[Path]) -> None:
    files[1].unlink()


def damaged(files: Sequence[Path]) -> None:
    whole = bytearray(files[1].read_bytes())
    whole[-1] ^= 1
    files[1].write_bytes(whole)


def cut(files: Sequence[Path]) -> None:
    files[1].write_bytes(files[1].read_bytes()[:-1])


def exchanged(files: Sequence[Path]) -> None:
    """Sound, and rests on the same; but another."""
    folder = files[1].parent / "other"
    shutil.copy(chained(folder, 0, 7)[1], files[1])
    shutil.rmtree(folder)


def of_another_configuration(files: Sequence[Path]) -> None:
    folder = files[1].parent / "other"
    shutil.copy(chained(folder, 0, 1, fingerprint="theirs")[1], files[1])
    shutil.rmtree(folder)


def renumbered(files: Sequence[Path]) -> None:
    files[1].rename(files[1].with_name(f"snapshot-{9:020}.tripline"))


@pytest.mark.usefixtures("_small")
@pytest.mark.parametrize(
    ("what", "reason", "remedy"),
    [
        (missing, "missing", "restore the file from a backup"),
        (damaged, "the checksum of array 'small' does not match", "restore the file from a backup"),
        (cut, "truncated, 1 bytes are missing", "restore the file from a backup"),
        (exchanged, "not the file that was there then", "restore the file from a backup"),
        (of_another_configuration, "of another configuration, 'theirs' and not 'ours'", "use the configuration it was"),
        (renumbered, "missing", "restore the file from a backup"),
    ],
)
def test_what_rests_on_a_file_of_no_use_is_refused_and_the_one_before_used(
    tmp_path: Path, what: Callable[[Sequence[Path]], None], reason: str, remedy: str
) -> None:
    files = chained(tmp_path, 0, 1, 2, 3)
    what(files)
    with StateDirectory(tmp_path, "ours") as state:
        back, refused = state.load()
        assert same(back, table(7 if what is exchanged else 0))
        told = [each for each in refused if each.startswith(f"{files[2]}: ")]
        assert len(told) == 1
        assert f"rests on {files[1].name}, which is of no use: {reason} ({remedy}" in told[0]
        assert state.save(table(5)).whole
    assert same(loaded(tmp_path)[0], table(5))
    assert len(list(tmp_path.glob("snapshot-*"))) <= 3  # what was refused is gone


@pytest.mark.usefixtures("_small")
def test_a_whole_snapshot_that_is_damaged_leaves_what_came_before_it(tmp_path: Path) -> None:
    with small(MAX=2):
        files = chained(tmp_path, *range(7))
    assert [is_delta(file) for file in files] == [False, True, True, False, True, True, False][-len(files) :]
    newest_whole = files[-1]
    newest_whole.write_bytes(b"")
    assert same(loaded(tmp_path)[0], table(5))


GOOD = np.array([0, 2], np.int64)


def delta_of(path: Path, pieces: Array, *, together: int = 1, column: Array | None = None) -> None:
    """A delta by hand on a whole snapshot of four rows of 64 bytes."""
    base = {"t": np.zeros((4, 8)), "u": np.zeros(3)}
    with StateDirectory(path, "ours") as state:
        checksum, _ = encoded(Snapshot({}, base), "ours")
        state.save(Snapshot({}, base))
    column = np.ones((4, 8)) if column is None else column
    inside = np.clip(pieces, 0, max(len(column) - 1, 0))
    good = Changes(("t",), together, inside)
    _, sent = encoded(Snapshot({}, {"t": column}), "ours", checksum, [good])
    write(path / f"snapshot-{2:020}.tripline", sent)
    if not np.array_equal(inside, pieces):
        forge_index(path / f"snapshot-{2:020}.tripline", inside, pieces)


def forge_index(file: Path, old: Array, new: Array) -> None:
    """Put another index into a delta, with checksums that hold."""
    whole = file.read_bytes()
    length = struct.unpack("<8sIQ", whole[:20])[2]
    header = whole[20 : 20 + length].replace(b"%d" % zlib.crc32(old.tobytes()), b"%d" % zlib.crc32(new.tobytes()))
    head = struct.pack("<8sIQ", b"TRIPLINE", 2, len(header)) + header
    head += struct.pack("<I", zlib.crc32(head))
    body = whole[-(-(24 + length) // 64) * 64 :]
    assert body.startswith(old.tobytes())
    file.write_bytes(head + bytes(-len(head) % 64) + new.tobytes() + body[len(new.tobytes()) :])


def refusal(path: Path) -> str:
    with StateDirectory(path, "ours") as state:
        back, refused = state.load()
    assert back is not None
    assert "u" in back.arrays  # the whole one
    [told] = refused
    return told


@pytest.mark.usefixtures("_small")
def test_the_forger_can_write_a_good_delta(tmp_path: Path) -> None:
    delta_of(tmp_path, GOOD)
    back, refused = loaded(tmp_path)
    assert back is not None
    assert refused == []
    assert back.arrays["t"][:, 0].tolist() == [1.0, 0.0, 1.0, 0.0]


@pytest.mark.usefixtures("_small")
@pytest.mark.parametrize(
    ("pieces", "reason"),
    [
        ([0, 4], "has an index that does not fit it"),
        ([0, 2**62], "has an index that does not fit it"),
        ([-1, 2], "an index that does not ascend"),
        ([2, 2], "an index that does not ascend"),
        ([2, 0], "an index that does not ascend"),
        ([2**63 - 1, -(2**63)], "an index that does not ascend"),
    ],
)
def test_an_index_that_lies_is_refused(tmp_path: Path, pieces: list[int], reason: str) -> None:
    delta_of(tmp_path, np.array(pieces, np.int64))
    assert reason in refusal(tmp_path)


@pytest.mark.usefixtures("_small")
@pytest.mark.parametrize(
    ("column", "reason"),
    [
        (np.ones((6, 8)), "has an index that does not fit it"),  # two rows that nobody gives
        (np.ones((4, 8), np.int64), "has another form in the snapshot that it rests on"),
        (np.ones((4, 9)), "has another form in the snapshot that it rests on"),
    ],
)
def test_rows_of_another_array_are_refused(tmp_path: Path, column: Array, reason: str) -> None:
    delta_of(tmp_path, GOOD, column=column)
    assert reason in refusal(tmp_path)


def index_entry(**changed: Any) -> dict[str, Any]:
    return {"name": "", "dtype": "<i8", "shape": [2], "offset": 0, "nbytes": 16, "crc32": 0} | changed


@pytest.mark.usefixtures("_small")
@pytest.mark.parametrize(
    ("version", "header", "reason"),
    [
        (1, {"base": 1}, "a header that is not one of format version 1"),
        (2, {}, "a header that is not one of format version 2"),
        (1, {"indexes": [{"together": 1, "array": index_entry()}]}, "a header that is not one of format version 1"),
        (2, {"base": -1}, "a header that is not one of a snapshot"),
        (2, {"base": 1, "indexes": [{"together": 0, "array": index_entry()}]}, "a header that is not one of"),
        (2, {"base": 1, "indexes": [{"together": 2**40, "array": index_entry()}]}, "a header that is not one of"),
        (2, {"base": 1, "indexes": [{"together": 1, "array": index_entry(dtype="<f8")}]}, "an index that is none"),
        (2, {"base": 1, "indexes": [{"together": 1, "array": index_entry(shape=[1, 2])}]}, "an index that is none"),
        (2, {"base": 1, "indexes": [{"together": 1, "array": index_entry(index=0)}]}, "an index that is none"),
        (2, {"base": 1, "indexes": [{"together": 1, "array": index_entry(nbytes=8)}]}, "is not where its dtype"),
        (2, {"base": 1, "arrays": [index_entry(index=0)]}, "has an index that is none"),
        (2, {"base": 1, "indexes": [{"together": 1, "array": index_entry()}],
             "arrays": [index_entry(name="a", index=0, dtype="|S9999", offset=64)]}, "has rows of 9999 bytes"),
        (2, {"base": 1, "indexes": [{"together": 1, "array": index_entry()}],
             "arrays": [index_entry(name="a", index=0, shape=[3, 0], offset=64)]}, "has rows of 0 bytes"),
    ],
)  # fmt: skip
def test_a_forged_header_of_a_delta_is_refused(tmp_path: Path, version: int, header: Any, reason: str) -> None:
    forged(tmp_path, orjson.dumps({"fingerprint": "ours", "meta": {}, "arrays": []} | header), bytes(64),
           version=version)  # fmt: skip
    with pytest.raises(TriplineError, match=reason):
        loaded(tmp_path)


@pytest.mark.usefixtures("_small")
def test_no_byte_of_a_chain_can_change_unnoticed(tmp_path: Path) -> None:
    files = saved(tmp_path, *(Snapshot({}, {"t": np.arange(40.0) + (np.arange(40) < n)}) for n in range(3)))
    with StateDirectory(tmp_path, "ours") as state:
        newest, _ = state.load()
        for file in files[:2]:
            whole = file.read_bytes()
            for at in range(len(whole)):
                file.write_bytes(whole[:at] + bytes([whole[at] ^ 0x40]) + whole[at + 1 :])
                with suppress(TriplineError):
                    back, refused = state.load()
                    assert refused
                    assert newest is not None
                    assert not same(back, newest)
            file.write_bytes(whole)


class Crashes(RuleBasedStateMachine):
    """A process that edits, saves, dies at any call to the disk, comes back, and finds files damaged or gone.

    What loads is the newest snapshot that was acknowledged or the one under way; where files were damaged, one that
    was acknowledged, and always one while a whole chain is left.
    """

    def __init__(self) -> None:
        super().__init__()
        self.limits = small(MAX=3)
        self.limits.__enter__()
        self.path = Path(tempfile.mkdtemp())
        self.arrays = begun(1)
        self.number = count(1)
        self.known: dict[int, Snapshot] = {}  # acknowledged or under way, by the number in their meta
        self.due: set[int] = set()  # of which one must come back
        self.new = True  # none of them was acknowledged
        self.hurt = 0  # whole snapshots until all that is kept is sound
        self.state: StateDirectory | None = StateDirectory(self.path, "ours")

    def teardown(self) -> None:
        if self.state is not None:
            self.state.close()
        shutil.rmtree(self.path)
        self.limits.__exit__(None, None, None)

    def _snapshot(self) -> Snapshot:
        n = next(self.number)
        self.known[n] = Snapshot({"n": n}, {name: array.copy() for name, array in self.arrays.items()})
        return self.known[n]

    @rule(edits=EDITS)
    def edit(self, edits: list[Any]) -> None:
        for each in edits:
            self.arrays = edited(self.arrays, each)

    @precondition(lambda self: self.state is not None)
    @rule()
    def save(self) -> None:
        assert self.state is not None
        snapshot = self._snapshot()
        written = self.state.save(snapshot)
        self.due, self.new = {snapshot.meta["n"]}, False
        self.hurt = max(self.hurt - written.whole, 0)
        files = sorted(self.path.glob("snapshot-*"))
        assert sum(not is_delta(file) for file in files) <= KEPT
        assert len(files) <= (KEPT + 1) * 4  # a chain more where a whole one is gone

    @precondition(lambda self: self.state is not None)
    @rule(k=st.integers(1, 12))
    def die_saving(self, k: int) -> None:
        assert self.state is not None
        snapshot = self._snapshot()
        with faults(from_call(k)), suppress(Died):
            self.state.save(snapshot)
        self.due = self.due | {snapshot.meta["n"]}
        self.state.close()
        self.state = None

    @precondition(lambda self: self.state is not None)
    @rule(k=st.integers(1, 9), code=st.sampled_from([errno.ENOSPC, errno.EIO]))
    def fail_saving(self, k: int, code: int) -> None:
        assert self.state is not None
        snapshot = self._snapshot()
        with faults(at_call(k, code)), suppress(TriplineError):
            self.state.save(snapshot)
        self.due = self.due | {snapshot.meta["n"]}

    @precondition(lambda self: self.state is None)
    @rule()
    def come_back(self) -> None:
        self.state = StateDirectory(self.path, "ours")
        assert not list(self.path.glob("*.tmp"))
        self._load()

    @precondition(lambda self: self.state is not None)
    @rule()
    def recover(self) -> None:
        self._load()

    def _load(self) -> None:
        assert self.state is not None
        whole = sum(not is_delta(file) for file in self.path.glob("snapshot-*"))
        try:
            back, refused = self.state.load()
        except TriplineError:
            assert self.hurt == KEPT
            assert whole < KEPT  # one file that is damaged costs one chain
            return
        if back is None:
            assert self.new or self.hurt == KEPT
            return
        assert same(back, self.known[back.meta["n"]])
        assert self.hurt or refused == []
        if self.hurt < KEPT:
            assert back.meta["n"] in self.due
        self.arrays = {n: a.copy() for n, a in back.arrays.items()}
        self.due, self.new = {back.meta["n"]}, False

    @precondition(lambda self: not self.hurt and any(self.path.glob("snapshot-*")))
    @rule(which=st.integers(0, 9), how=st.sampled_from(["gone", "cut", "flipped"]), at=st.floats(0, 0.99))
    def damage(self, which: int, how: str, at: float) -> None:
        files = sorted(self.path.glob("snapshot-*"))
        file = files[which % len(files)]
        whole = bytearray(file.read_bytes())
        self.hurt = KEPT
        if how == "gone":
            file.unlink()
            return
        place = int(at * len(whole))
        whole[place] ^= 4
        file.write_bytes(whole if how == "flipped" else whole[:place])


TestCrashes = Crashes.TestCase
TestCrashes.settings = settings(max_examples=60, stateful_step_count=25, deadline=None)
