"""Text stands in the cells that it is given, whatever script it is in."""

from __future__ import annotations

import unicodedata

from hypothesis import given
from hypothesis import strategies as st

from stream.cells import cells, fitted, padded, widths, wrapped

TEXT = st.text(max_size=60)
COLUMNS = st.lists(st.tuples(st.integers(1, 80), st.integers(1, 20), st.booleans()), min_size=1, max_size=8)


@given(TEXT, st.integers(0, 40))
def test_what_is_fitted_and_padded_takes_what_it_is_given(text: str, width: int) -> None:
    assert cells(fitted(text, width)) <= width
    assert cells(padded(text, width)) == cells(padded(text, width, right=True)) == width


@given(st.text(st.characters(codec="ascii"), max_size=60), st.integers(0, 40))
def test_plain_text_is_cut_only_where_it_must_be(text: str, width: int) -> None:
    shown = fitted(text, width)
    assert len(shown) == min(len(text), width)
    if len(text) <= width:
        assert shown == "".join(c if c.isprintable() else "?" for c in text)


@given(TEXT)
def test_nothing_that_moves_the_cursor_is_shown(text: str) -> None:
    assert all(unicodedata.category(c) not in ("Cc", "Cf", "Zl", "Zp") for c in fitted(text, 200))


@given(TEXT, st.integers(1, 40))
def test_wrapped_lines_stay_within_their_width_and_lose_no_short_word(text: str, width: int) -> None:
    lines = wrapped(text, width)
    assert all(cells(line) <= width for line in lines)
    if all(cells(word) <= width for word in text.split()):
        assert " ".join(lines) == " ".join(fitted(word, width) for word in text.split())


@given(COLUMNS, st.integers(1, 200))
def test_columns_fit_the_room_and_none_is_shown_below_its_least(
    columns: list[tuple[int, int, bool]], room: int
) -> None:
    columns = [(max(most, least), least, shrinks) for most, least, shrinks in columns]
    out = widths(columns, room)
    shown = [w for w in out if w]
    assert sum(shown) + 2 * max(len(shown) - 1, 0) <= room
    for got, (most, least, shrinks) in zip(out, columns, strict=True):
        assert got in (0, most) or (shrinks and least <= got <= most)
    if sum(most for most, _, _ in columns) + 2 * (len(columns) - 1) <= room:
        assert out == [most for most, _, _ in columns]
