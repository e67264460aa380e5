"""Names as 64 bits: keyed hashing of packed text. Without the deployment's key nobody can aim names at each other.

Hashing is SipHash-1-3 (Aumasson and Bernstein 2012; the variant of most language runtimes) with the deployment's key.
Two names of one kind that share all 64 bits count as one: at 100 million names the chance of any such pair is below
0.03 %.
"""

from __future__ import annotations

import hashlib
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from detectors.kernels import inline, kernel, word

U64 = npt.NDArray[np.uint64]
I64 = npt.NDArray[np.int64]
U8 = npt.NDArray[np.uint8]

TOGETHER: Final = 64


def pack(texts: list[str]) -> tuple[U8, I64]:
    """All texts as one UTF-8 buffer and their n + 1 offsets in it."""
    joined = "".join(texts)
    if joined.isascii():
        buffer = joined.encode()
        lengths = map(len, texts)
    else:
        parts = [text.encode("utf-8", "surrogatepass") for text in texts]
        buffer = b"".join(parts)
        lengths = map(len, parts)
    offsets = np.zeros(len(texts) + 1, np.int64)
    np.cumsum(np.fromiter(lengths, np.int64, len(texts)), out=offsets[1:])
    return np.frombuffer(buffer, np.uint8), offsets


def hash_key(secret: str) -> U64:
    """The two key words from a secret of any length."""
    return np.frombuffer(hashlib.blake2b(secret.encode(), digest_size=16).digest(), np.uint64)


@inline
def _rotl(x: Any, b: int) -> Any:
    return np.uint64((x << np.uint64(b)) | (x >> np.uint64(64 - b)))


@inline
def _rest(buffer: U8, stop: Any, count: Any) -> Any:
    """The last `count` bytes before `stop`, 0 to 7 of them: out of the eight before it where there are so many."""
    if count == np.uint64(0):
        return np.uint64(0)
    if stop >= np.uint64(8):
        return word(buffer, stop - np.uint64(8)) >> (np.uint64(64) - np.uint64(8) * count)
    out = np.uint64(0)
    for j in range(np.int64(count)):
        out |= np.uint64(buffer[stop - count + np.uint64(j)]) << np.uint64(8 * j)
    return out


@inline
def _round(v0: Any, v1: Any, v2: Any, v3: Any) -> Any:
    v0 += v1
    v1 = _rotl(v1, 13) ^ v0
    v0 = _rotl(v0, 32)
    v2 += v3
    v3 = _rotl(v3, 16) ^ v2
    v0 += v3
    v3 = _rotl(v3, 21) ^ v0
    v2 += v1
    v1 = _rotl(v1, 17) ^ v2
    v2 = _rotl(v2, 32)
    return v0, v1, v2, v3


@inline
def _hash(buffer: U8, start: Any, stop: Any, key: U64) -> Any:
    """SipHash-1-3 of buffer[start:stop]; 0 stands for the empty text and for it alone."""
    u8 = np.uint64(8)
    length = stop - start
    if length == np.uint64(0):
        return np.uint64(0)
    v0 = key[0] ^ np.uint64(0x736F6D6570736575)
    v1 = key[1] ^ np.uint64(0x646F72616E646F6D)
    v2 = key[0] ^ np.uint64(0x6C7967656E657261)
    v3 = key[1] ^ np.uint64(0x7465646279746573)
    for b in range(length // u8):
        m = word(buffer, start + np.uint64(b) * u8)
        v0, v1, v2, v3 = _round(v0, v1, v2, v3 ^ m)
        v0 ^= m
    m = length << np.uint64(56) | _rest(buffer, stop, length & np.uint64(7))
    v0, v1, v2, v3 = _round(v0, v1, v2, v3 ^ m)
    v0, v1, v2, v3 = _round(v0 ^ m, v1, v2 ^ np.uint64(0xFF), v3)
    v0, v1, v2, v3 = _round(v0, v1, v2, v3)
    v0, v1, v2, v3 = _round(v0, v1, v2, v3)
    h = v0 ^ v1 ^ v2 ^ v3
    return h if h != np.uint64(0) else np.uint64(1)


@kernel
def hash_texts(buffers: tuple[U8, ...], starts: tuple[I64, ...], stops: tuple[I64, ...], key: U64, out: U64) -> None:
    """out[c, i] = SipHash-1-3 of text i of column c, 0 where it is empty.

    TOGETHER events at a time: where the columns lie in one log, their texts are near.
    """
    for first in range(0, out.shape[1], TOGETHER):
        for c in range(out.shape[0]):
            buffer, begin, end = buffers[c], starts[c], stops[c]
            for i in range(first, min(first + TOGETHER, out.shape[1])):
                out[c, i] = _hash(buffer, np.uint64(begin[i]), np.uint64(end[i]), key)


def hash_column(texts: list[str], key: U64) -> U64:
    """SipHash-1-3 of each text, 0 where it is empty: uint64[n]."""
    buffer, offsets = pack(texts)
    out = np.empty((1, len(texts)), np.uint64)
    hash_texts((buffer,), (offsets[:-1],), (offsets[1:],), key, out)
    hashes: U64 = out[0]
    return hashes
