"""Names to slots: the hash is SipHash-1-3, and the flat arrays behave as a dict, a free list and a set would."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import numpy.typing as npt
from hypothesis import given, settings
from hypothesis import strategies as st

from stream import keys
from stream.keys import ABSENT, OVERFLOW, Index, grown
from stream.recent import RecentIds
from stream.siphash import hash_column, hash_key, pack
from stream.texts import Packed

MASK = (1 << 64) - 1
KEY = hash_key("a deployment's secret")
TEXTS = st.text(max_size=40).filter(lambda text: not any(0xD800 <= ord(c) < 0xE000 for c in text))


def _rotate(x: int, b: int) -> int:
    return (x << b | x >> (64 - b)) & MASK


def siphash_1_3(data: bytes, k0: int, k1: int) -> int:
    """The published algorithm, word by word."""
    v = [k0 ^ 0x736F6D6570736575, k1 ^ 0x646F72616E646F6D, k0 ^ 0x6C7967656E657261, k1 ^ 0x7465646279746573]

    def sip_round() -> None:
        v[0] = (v[0] + v[1]) & MASK
        v[1] = _rotate(v[1], 13) ^ v[0]
        v[0] = _rotate(v[0], 32)
        v[2] = (v[2] + v[3]) & MASK
        v[3] = _rotate(v[3], 16) ^ v[2]
        v[0] = (v[0] + v[3]) & MASK
        v[3] = _rotate(v[3], 21) ^ v[0]
        v[2] = (v[2] + v[1]) & MASK
        v[1] = _rotate(v[1], 17) ^ v[2]
        v[2] = _rotate(v[2], 32)

    padded = data + bytes(-(len(data) + 1) % 8) + bytes([len(data) & 0xFF])
    for at in range(0, len(padded), 8):
        word = int.from_bytes(padded[at : at + 8], "little")
        v[3] ^= word
        sip_round()
        v[0] ^= word
    v[2] ^= 0xFF
    for _ in range(3):
        sip_round()
    return v[0] ^ v[1] ^ v[2] ^ v[3]


def resolve(index: Index, names: list[str]) -> tuple[list[int], list[int]]:
    before = index.owner.copy()
    later = Packed.of(["others", "before them", *names])
    slots = keys.resolve([index], hash_column(names, KEY)[None], [later], first=2)[0].tolist()
    before = np.append(before, np.zeros(len(index.owner) - len(before), np.uint64))
    new = [slot for slot in dict.fromkeys(slots) if slot > 0 and before[slot] == 0]
    return slots, new


@given(st.lists(TEXTS, max_size=12), st.text("abc", max_size=8))
def test_pack_holds_every_text_and_nothing_else(texts: list[str], _: str) -> None:
    buffer, offsets = pack(texts)
    raw = buffer.tobytes()
    assert [raw[a:b].decode() for a, b in pairwise(offsets)] == texts
    assert offsets[0] == 0
    assert offsets[-1] == len(raw)


def test_pack_and_hash_take_an_empty_batch_and_lone_surrogates() -> None:
    assert len(hash_column([], KEY)) == 0
    assert hash_column(["\ud800", "x"], KEY).tolist()[0] == siphash_1_3(b"\xed\xa0\x80", int(KEY[0]), int(KEY[1]))


@given(st.lists(TEXTS | st.text("k", min_size=250, max_size=300), max_size=8), st.text(max_size=8))
def test_a_hash_is_siphash_1_3_of_the_utf8_and_zero_only_for_nothing(texts: list[str], secret: str) -> None:
    key = hash_key("s" + secret.encode("utf-8", "ignore").decode())
    expected = [(siphash_1_3(t.encode(), int(key[0]), int(key[1])) or 1) if t else 0 for t in texts]
    assert hash_column(texts, key).tolist() == expected


def test_another_secret_is_another_hash() -> None:
    assert hash_column(["alice"], KEY)[0] != hash_column(["alice"], hash_key("b"))[0]


class Twin:
    """What an index is: a dict, the slots handed back (latest first), and a count of events that found no room."""

    def __init__(self, limit: int) -> None:
        self.limit, self.slots, self.free = limit, dict[str, int](), list[int]()
        self.made, self.overflowed = 0, 0

    def resolve(self, names: list[str]) -> tuple[list[int], list[int]]:
        out, fresh = [], []
        for name in names:
            if name and name not in self.slots:
                if self.free:
                    self.slots[name] = self.free.pop()
                elif self.made < self.limit:
                    self.made += 1
                    self.slots[name] = self.made
                else:
                    self.overflowed += 1
                    out.append(OVERFLOW)
                    continue
                fresh.append(self.slots[name])
            out.append(self.slots[name] if name else ABSENT)
        return out, fresh

    def release(self, slots: list[int]) -> None:
        self.slots = {name: slot for name, slot in self.slots.items() if slot not in slots}
        self.free += slots[::-1]


NAMES = st.integers(0, 60).map(lambda i: "" if i == 0 else f"náme-{i}" if i % 3 else f"n{i}")
STEPS = st.lists(
    st.tuples(st.sampled_from(["resolve", "release", "reload"]), st.lists(NAMES, max_size=30)), max_size=12
)


@settings(max_examples=150)
@given(st.integers(1, 40), STEPS)
def test_an_index_is_a_bounded_dict(limit: int, steps: list[tuple[str, list[str]]]) -> None:
    """Slots, what is new, reuse of what was released, overflow, names: all as the twin, also after save and load."""
    index, twin = Index(limit, KEY), Twin(limit)
    for what, names in steps:
        if what == "resolve":
            assert resolve(index, names) == twin.resolve(names)
        elif what == "release":
            gone = sorted({twin.slots[name] for name in names if name in twin.slots})
            index.release(np.array(gone, np.int32))
            twin.release(gone)
        else:
            saved = {name: array.copy() for name, array in index.save().items()}
            index = Index(limit, KEY)
            index.load(saved)
        assert len(index) == len(twin.slots) <= limit
        assert index.overflowed == twin.overflowed
        assert index.capacity > max(twin.slots.values(), default=0)
        assert {name: index.slot(name) for name in twin.slots} == twin.slots
        assert {index.name(slot): slot for slot in twin.slots.values()} == twin.slots
        assert index.slot("nobody") == ABSENT


def test_an_index_grows_to_many_names_and_keeps_them_all() -> None:
    index = Index(5_000, KEY)
    names = [f"user-{i}@example.org" for i in range(5_000)]
    slots, fresh = resolve(index, names)
    assert slots == fresh == list(range(1, 5_001))
    assert resolve(index, [*names[::-1], "one more"]) == ([*slots[::-1], OVERFLOW], [])
    assert [index.name(slot) for slot in slots] == names
    assert index.name(OVERFLOW) == "(overflow)"


def test_the_empty_name_has_no_slot() -> None:
    assert Index(4, KEY).slot("") == ABSENT


@given(st.integers(1, 300), st.integers(1, 300), st.none() | st.integers(1, 400))
def test_grown_keeps_the_rows_has_room_and_stays_in_the_limit(length: int, more: int, limit: int | None) -> None:
    array = np.arange(1, length + 1)
    wanted = length + more
    out = grown(array, wanted, limit)
    assert len(out) >= wanted
    assert limit is None or len(out) <= max(wanted, limit)
    assert (out[:length] == array).all()
    assert not out[length:].any()


def ask(recent: RecentIds, ids: list[int]) -> list[bool]:
    answer: list[bool] = recent.repeated(np.array(ids, np.uint64)).tolist()
    return answer


def distinct_before(ids: list[int], i: int) -> int | None:
    """How many different ids came since the first sighting of id i that could be remembered; None if never seen."""
    return len(set(ids[ids.index(ids[i]) : i]) - {0}) if ids[i] in ids[:i] else None


@given(st.lists(st.integers(0, 30) | st.integers(0, 2**64 - 1), max_size=60), st.integers(0, 60))
def test_recent_ids_is_a_set_within_its_window(ids: list[int], cut: int) -> None:
    """Whatever is called new and came before is farther back than the window; nothing new is called repeated; an
    absent id is neither; and the cut of a batch, with a save and a load at it, changes nothing."""
    capacity = 8
    recent = RecentIds(capacity)
    whole = ask(recent, ids)
    for i, repeated in enumerate(whole):
        back = distinct_before(ids, i)
        if ids[i] == 0 or back is None:
            assert not repeated
        elif back <= capacity:
            assert repeated
    first, second = RecentIds(capacity), RecentIds(capacity)
    head = ask(first, ids[:cut])
    second.load(first.save())
    assert head + ask(second, ids[cut:]) == whole


def test_an_id_seen_a_moment_ago_is_a_repeat() -> None:
    ids = [1, 2, 3, 4, 5, 6, 7, 8, 1, 9, 1]  # the last 1 is two ids after the one before
    assert ask(RecentIds(4), ids)[-1]


def test_recent_ids_forgets_so_that_it_is_bounded() -> None:
    recent = RecentIds(16)
    size = sum(a.nbytes for a in recent.save().values())
    assert not any(ask(recent, list(range(1, 1_000))))
    assert not ask(recent, [1])[0]
    assert sum(a.nbytes for a in recent.save().values()) == size


def test_saved_arrays_are_plain_numbers() -> None:
    index = Index(4, KEY)
    resolve(index, ["a", "b"])
    arrays: list[npt.NDArray[np.generic]] = [*index.save().values(), *RecentIds(2).save().values()]
    assert {a.dtype.kind for a in arrays} <= set("iu")
