"""Eight bytes at a time come to what a byte at a time does."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from hypothesis import given
from hypothesis import strategies as st

from detectors.kernels import kernel
from stream.words import BYTES, ONES, SHORT, equal, head, lowest, words


@kernel
def _head(buffer: npt.NDArray[np.uint8], start: int, length: int) -> int:
    found: int = head(buffer, np.uint64(start), np.uint64(length))
    return found


@kernel
def _first(text: Any, byte: Any) -> Any:
    marks = equal(text, byte * ONES)
    return np.uint64(BYTES) if marks == np.uint64(0) else lowest(marks)


@given(st.binary(min_size=1, max_size=24), st.data())
def test_a_head_is_the_first_bytes_wherever_the_text_lies(buffer: bytes, data: st.DataObject) -> None:
    start = data.draw(st.integers(0, len(buffer)))
    length = data.draw(st.integers(0, len(buffer) - start))
    expected = int.from_bytes(buffer[start : start + min(length, BYTES)], "little")
    assert _head(np.frombuffer(buffer, np.uint8), start, length) == expected


@given(st.lists(st.sampled_from([0, 1, 9, 10, 11, 127, 128, 138, 255]), min_size=8, max_size=8), st.integers(0, 255))
def test_the_first_byte_of_a_kind_is_found(drawn: list[int], byte: int) -> None:
    text = bytes(drawn)
    at = text.find(byte)
    assert _first(np.uint64(int.from_bytes(text, "little")), np.uint64(byte)) == (at if at >= 0 else BYTES)


@given(st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=SHORT))
def test_a_name_in_a_table_is_its_two_heads(name: str) -> None:
    text = name.encode()
    buffer = np.frombuffer(text + b"??", np.uint8)
    second = max(len(text) - BYTES, 0)
    assert words(text) == (_head(buffer, 0, len(text)), _head(buffer, len(text) - second, second))
