"""Text in the cells of a terminal: how wide it is, cut and filled so that columns stand below each other.

A character takes two cells where Unicode calls it wide or full (UAX #11), none where it sits on the one before it.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from typing import Final

ELLIPSIS: Final = "…"
LONG: Final = 1024  # characters looked at of one text


def clean(text: str, width: int = 256) -> str:
    """The text on one line, without control and direction characters, and no longer than `width`.

    >>> clean("a\\x1b[31mb\\u202ec"), clean("abcdef", 4)
    ('a?[31mb?c', 'abc…')
    """
    plain = "".join(c if c.isprintable() else "?" for c in text[: width + 1])
    return plain if len(plain) <= width else plain[: width - 1] + "…"


def cells(text: str) -> int:
    """How many cells of a terminal a text takes.

    >>> cells("abc"), cells("日本"), cells("é"), cells("e\\u0301")
    (3, 4, 1, 1)
    """
    return len(text) if text.isascii() else sum(map(_cells, text))


def fitted(text: str, width: int) -> str:
    """The text without control characters in at most `width` cells, its end cut off with an ellipsis.

    >>> fitted("abcdef", 4), fitted("日本語", 4), fitted("ab", 0)
    ('abc…', '日…', '')
    """
    plain = clean(text, LONG)
    if cells(plain) <= width:
        return plain
    if width <= 0:
        return ""
    out, used = "", 0
    for character in plain:
        used += _cells(character)
        if used > width - 1:
            break
        out += character
    return out + ELLIPSIS


def ending(text: str, width: int) -> str:
    """As `fitted`, but what is cut off is the beginning: of a path, the end says more.

    >>> ending("/var/log/a.log line 7", 12), ending("a", 12)
    ('….log line 7', 'a')
    """
    turned = fitted(clean(text, LONG)[::-1], width)
    return turned[::-1]


def padded(text: str, width: int, *, right: bool = False) -> str:
    """The text in exactly `width` cells.

    >>> padded("日", 4), padded("12", 4, right=True)
    ('日  ', '  12')
    """
    shown = fitted(text, width)
    space = " " * (width - cells(shown))
    return space + shown if right else shown + space


def wrapped(text: str, width: int) -> list[str]:
    """The text in lines of at most `width` cells; a longer word is cut."""
    lines: list[str] = []
    for word in text.split():
        shown = fitted(word, width)
        if lines and cells(lines[-1]) + 1 + cells(shown) <= width:
            lines[-1] += " " + shown
        else:
            lines.append(shown)
    return lines


def widths(columns: Sequence[tuple[int, int, bool]], room: int, gap: int = 2) -> list[int]:
    """Cells for each column of (the most it needs, the least it is worth showing in, whether it may shrink).

    What does not fit is taken from the columns that may shrink, the widest first; a column that would fall below its
    least is left out, from the right (width 0).

    >>> widths([(10, 10, False), (60, 20, True)], 50), widths([(10, 10, False), (60, 20, True), (9, 9, False)], 40)
    ([10, 38], [10, 28, 0])
    """
    shown = list(range(len(columns)))
    while shown:
        out = {i: columns[i][0] for i in shown}
        left = room - gap * (len(shown) - 1)
        while sum(out.values()) > left:
            able = [i for i in shown if columns[i][2] and out[i] > columns[i][1]]
            if not able:
                break
            widest = max(able, key=lambda i: (out[i], -i))
            surplus = sum(out.values()) - left
            runner_up = max((out[i] for i in able if i != widest), default=0)
            step = max(min(surplus, out[widest] - max(runner_up, columns[widest][1])), 1)
            out[widest] -= step
        if sum(out.values()) <= left:
            return [out.get(i, 0) for i in range(len(columns))]
        shown.pop()
    return [0] * len(columns)


def _cells(character: str) -> int:
    if unicodedata.combining(character) or unicodedata.category(character) in ("Mn", "Me"):
        return 0
    return 2 if unicodedata.east_asian_width(character) in ("W", "F") else 1
