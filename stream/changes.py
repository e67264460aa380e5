"""Which rows changed since the last snapshot: a hash of each, kept in memory, beside the hash of the row as it is.

Nobody has to say what they change, and what a tick does to rows that no event touched is seen like all else. Arrays of
one part that have the same number of rows, such as the columns of a table, share a hash a row, because an event changes
a row of most of them. Where rows are short several go together: 8 bytes are kept for at least PIECE_BYTES of state.

A row that changed goes unseen where two hashes of 64 bits are equal: at a million changed rows a snapshot and one
snapshot a minute, once in 35 million years. The hash has a secret of the process in it, so nobody can aim at that.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Mapping, Sequence
from hashlib import blake2b
from math import prod
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from detectors.kernels import unlocked, word
from stream.siphash import I64, U8, U64, _rest, _rotl

GROUP_BYTES_MIN: Final = 64 << 10  # what is smaller is written whole
PIECE_BYTES: Final = 64
ROW_BYTES_MAX: Final = 1024  # beyond it the next axis makes the rows
CHUNK_BYTES: Final = 1 << 20  # of changed rows, copied at a time

Array = npt.NDArray[Any]
Arrays = Mapping[str, Array]
Form = tuple[tuple[str, np.dtype[Any], tuple[int, ...]], ...]  # of a group: its arrays, but for how many rows they have

_SECRET: Final = secrets.token_bytes(16)
# Odd constants of xxHash64 (Collet 2012), whose round this is.
_P1: Final = np.uint64(11400714785074694791)
_P2: Final = np.uint64(14029467366897019727)
_P3: Final = np.uint64(1609587929392839161)


class Changes(NamedTuple):
    """What changed of some arrays: pieces by their numbers (int64[n], ascending), each of `together` rows."""

    names: tuple[str, ...]
    together: int
    pieces: I64


def raw(array: Array) -> U8:
    """The bytes of a contiguous array, in place."""
    return array.reshape(-1).view(np.uint8)


def row_bytes(dtype: np.dtype[Any], shape: Sequence[int]) -> int:
    """Bytes of a row: of what lies behind the first axis, or behind as many as make it short."""
    sizes = (dtype.itemsize * prod(shape[axis:]) for axis in range(1, len(shape) + 1))
    return next((size for size in sizes if size <= ROW_BYTES_MAX), dtype.itemsize)


def hashed(arrays: Arrays) -> dict[Form, U64]:
    """A hash of each piece of each group of arrays that is large enough; arrays: contiguous."""
    groups: dict[tuple[str, int], list[str]] = {}
    for name, array in arrays.items():
        if array.nbytes and not array.dtype.hasobject and (row := row_bytes(array.dtype, array.shape)) <= ROW_BYTES_MAX:
            rows = array.nbytes // row
            groups.setdefault((name.partition("/")[0] if "/" in name else name, rows), []).append(name)
    out: dict[Form, U64] = {}
    for (_, rows), names in groups.items():
        if sum(arrays[name].nbytes for name in names) < GROUP_BYTES_MIN:
            continue
        form = tuple((name, arrays[name].dtype, arrays[name].shape[1:]) for name in names)
        together = _together(form)
        hashes = out[form] = np.zeros(-(-rows // together), np.uint64)
        for name in names:
            seed = int.from_bytes(blake2b(name.encode("utf-8", "surrogatepass"), digest_size=8, key=_SECRET).digest())
            flat = raw(arrays[name])
            _hash_pieces(
                flat if flat.flags.writeable else flat.copy(),  # one type for the kernel, which is compiled by then
                together * row_bytes(arrays[name].dtype, arrays[name].shape), np.uint64(seed), hashes,
            )  # fmt: skip
    return out


def changed(before: Mapping[Form, U64], now: Mapping[Form, U64], arrays: Arrays) -> tuple[list[Changes], int]:
    """What to write of the groups that were there before, and how many bytes of arrays that makes in all."""
    found: list[Changes] = []
    total = sum(array.nbytes for array in arrays.values())
    for form, hashes in now.items():
        if (old := before.get(form)) is None:
            continue
        both = min(len(old), len(hashes))
        index = np.concatenate([np.flatnonzero(old[:both] != hashes[:both]), np.arange(both, len(hashes))])
        names = tuple(name for name, _, _ in form)
        together = _together(form)
        piece = together * sum(row_bytes(arrays[name].dtype, arrays[name].shape) for name in names)
        whole = sum(arrays[name].nbytes for name in names)
        if len(index) * (piece + index.itemsize) < whole:
            found.append(Changes(names, together, index))
            total += len(index) * (piece + index.itemsize) - whole
    return found, total


def gathered(flat: U8, size: int, index: I64) -> Iterator[memoryview]:
    """The pieces of `size` bytes at `index`, a chunk at a time; the last one of all is filled up with zeros."""
    full = len(flat) // size
    pieces = flat[: full * size].view(f"V{size}")
    some = max(CHUNK_BYTES // size, 1)
    inside = index[: np.searchsorted(index, full)]
    for start in range(0, len(inside), some):
        yield pieces[inside[start : start + some]].view(np.uint8).data
    if len(inside) < len(index):
        last = np.zeros(size, np.uint8)
        last[: len(flat) - full * size] = flat[full * size :]
        yield last.data


def scattered(flat: U8, size: int, index: I64, pieces: U8) -> None:
    """Put pieces where `gathered` took them from; index: ascending, none of it beyond the last piece."""
    full = len(flat) // size
    inside = index[: np.searchsorted(index, full)]
    flat[: full * size].view(f"V{size}")[inside] = pieces[: len(inside) * size].view(f"V{size}")
    if len(inside) < len(index):
        flat[full * size :] = pieces[len(inside) * size :][: len(flat) - full * size]


def _together(form: Form) -> int:
    """Rows in a piece."""
    return -(-PIECE_BYTES // sum(row_bytes(dtype, (0, *shape)) for _, dtype, shape in form))


@unlocked
def _hash_pieces(flat: U8, size: int, seed: Any, hashes: U64) -> None:
    """hashes[i] += a hash of flat[i * size : (i + 1) * size], in which its length is, and of the seed.

    Words of 8 bytes go through the round of xxHash64, then through its avalanche. A piece of which one word changed
    never keeps its hash: each step can be turned back.
    """
    eight = np.uint64(8)
    for i in range(len(hashes)):
        at, stop = np.uint64(i * size), np.uint64(min((i + 1) * size, len(flat)))
        h = seed ^ (stop - at)
        while at + eight <= stop:
            h = _rotl(h ^ (word(flat, at) * _P2), 31) * _P1
            at += eight
        h = _rotl(h ^ (_rest(flat, stop, stop - at) * _P2), 31) * _P1
        h = (h ^ (h >> np.uint64(33))) * _P2
        h = (h ^ (h >> np.uint64(29))) * _P3
        hashes[i] += h ^ (h >> np.uint64(32))
