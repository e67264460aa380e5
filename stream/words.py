"""Text eight bytes at a time, as one number with the first byte lowest.

Source: Lamport, "Multiple byte processing with full-word instructions" (1975); Warren, "Hacker's Delight", 6-1.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt

from detectors.kernels import inline, word

U8 = npt.NDArray[np.uint8]

BYTES: Final = 8
SHORT: Final = 16  # bytes of a text that two words hold
ONES: Final = np.uint64(0x0101010101010101)
HIGH: Final = np.uint64(0x8080808080808080)


@inline
def head(buffer: U8, start: Any, length: Any) -> Any:
    """The first bytes of a text, eight at most, and zeros after its end."""
    if length >= np.uint64(8):
        return word(buffer, start)
    if start + np.uint64(8) <= np.uint64(buffer.shape[0]):
        return word(buffer, start) & ((np.uint64(1) << (np.uint64(8) * length)) - np.uint64(1))
    out = np.uint64(0)
    for j in range(np.int64(length)):
        out |= np.uint64(buffer[start + np.uint64(j)]) << np.uint64(8 * j)
    return out


@inline
def equal(text: Any, byte: Any) -> Any:
    """A mark in each byte of `text` that is this one, which stands in each of `byte`. Of marks the lowest is sure."""
    other = text ^ byte
    return (other - ONES) & ~other & HIGH


@inline
def lowest(marks: Any) -> Any:
    """The place of the lowest mark, of which there is one at least: 0 to 7."""
    below = (marks & (~marks + np.uint64(1))) - np.uint64(1)
    return (((below & ONES) * ONES) >> np.uint64(56)) - np.uint64(1)


def words(text: bytes) -> tuple[int, int]:
    """A text of at most SHORT bytes as `head` gives its two halves: for tables that kernels compare with."""
    return int.from_bytes(text[:BYTES], "little"), int.from_bytes(text[BYTES:], "little")
