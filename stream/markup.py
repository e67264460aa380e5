"""The words and figures of a page, as HTML.

Names of entities are chosen by whoever sent the requests, so every value goes through `text`, which escapes it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from html import escape
from typing import Final

from detectors.base import DAY_MS, HOUR_MS, number, size
from stream.alerts import Alert, EntityRef
from stream.console import clean

NAME_MAX: Final = 256  # characters of a name
LINE_MAX: Final = 1000  # of a sentence with names in it
SECOND_MS: Final = 1000.0
MINUTE_MS: Final = 60 * SECOND_MS
UNITS_MS: Final = (("d", DAY_MS, 2.0), ("h", HOUR_MS, 1.5), ("min", MINUTE_MS, 1.5))  # and from how many on
CHIPS: Final = 8  # names before the rest is folded


def text(value: str, width: int = NAME_MAX) -> str:
    """A value from outside as HTML: on one line, without direction marks, cut at `width` characters, escaped.

    >>> text('<b onclick="x">')
    '&lt;b onclick=&quot;x&quot;&gt;'
    """
    return escape(clean(value, width), quote=True)


def name(value: str, width: int = NAME_MAX) -> str:
    """The same, set apart so that a name in a script that runs from right to left turns nothing beside it."""
    return f'<bdi dir="ltr">{text(value, width)}</bdi>'


def entity(ref: EntityRef) -> str:
    """An entity by kind and name."""
    return f'<span class="kind">{text(ref.kind)}</span> {name(who(ref))}'


def severity(alert: Alert) -> str:
    """How bad it is, in its colour."""
    return f'<b class="sev {text(alert.severity)}">{text(alert.severity)}</b>'


def who(ref: EntityRef) -> str:
    """An entity's name, as a sentence says it."""
    return "all traffic" if ref.kind == "fleet" else ref.value


def amount(value: float, unit: str = "") -> str:
    """A figure with what there is no figure for.

    >>> amount(1234.0), amount(2e6, "bytes"), amount(float("inf")), amount(float("nan"))
    ('1,234', '2 MB', 'beyond measure', 'unknown')
    """
    if math.isnan(value):
        return "unknown"
    if math.isinf(value):
        return "beyond measure"
    return size(value) if unit == "bytes" else number(value) if value else "0"


def duration(ms: float) -> str:
    """How long, in the unit that reads best.

    >>> duration(456_000), duration(30_000), duration(3_600_000), duration(93_600_000), duration(345_600_000)
    ('7.6 min', '30 s', '1 h', '26 h', '4 d')
    """
    unit, length = next(
        ((unit, length) for unit, length, least in UNITS_MS if ms >= least * length or ms == length), ("s", SECOND_MS)
    )
    return f"{max(ms / length, 0.0):.1f}".removesuffix(".0") + f" {unit}"


def moment(ms: float, form: str = "%-d %b %Y %H:%M") -> str:
    """A time in UTC, to the minute.

    >>> moment(1_700_000_000_123)
    '14 Nov 2023 22:13'
    """
    return datetime.fromtimestamp(ms / 1000, UTC).strftime(form)


def epoch_ms(rfc3339: str) -> int | None:
    """Epoch milliseconds of a time in an alert; None where it is none."""
    try:
        when = datetime.fromisoformat(rfc3339)
    except ValueError:
        return None
    return round((when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp() * 1000)


def plural(count: int, word: str) -> str:
    """So many of these.

    >>> plural(1, "address"), plural(2000, "address"), plural(3, "alert")
    ('1 address', '2,000 addresses', '3 alerts')
    """
    ending = "" if count == 1 else "es" if word.endswith("s") else "s"
    return f"{count:,} {word}{ending}"


def people(count: int) -> str:
    """So many persons.

    >>> people(1), people(600)
    ('1 person', '600 people')
    """
    return "1 person" if count == 1 else f"{count:,} people"


def section(heading: str, *parts: str) -> str:
    """A part of the page under a heading."""
    return f"<section><h2>{text(heading)}</h2>{''.join(parts)}</section>"


def note(sentence: str) -> str:
    """A remark in words."""
    return f'<p class="note">{text(sentence, LINE_MAX)}</p>'


def pairs(rows: Iterable[tuple[str, str]]) -> str:
    """Labels, and what there is to say under each; a row without a value is left out."""
    body = "".join(f"<dt>{text(label)}</dt><dd>{name(value, 2 * LINE_MAX)}</dd>" for label, value in rows if value)
    return f'<dl class="facts">{body}</dl>'


def table(columns: Sequence[tuple[str, str]], rows: Iterable[str]) -> str:
    """A table; columns: (class, heading), rows: the cells of each as HTML."""
    head = "".join(f'<th scope="col" class="{style}">{text(heading)}</th>' for style, heading in columns)
    body = "".join(f"<tr>{cells}</tr>" for cells in rows)
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def chips(names: Sequence[str]) -> str:
    """Names side by side, most of them folded away where there are many."""
    first, rest = (
        '<ul class="chips">' + "".join(f"<li>{name(each)}</li>" for each in part) + "</ul>"
        for part in (names[:CHIPS], names[CHIPS:])
    )
    more = len(names) - CHIPS
    return first + (f"<details><summary>{more:,} more</summary>{rest}</details>" if more > 0 else "")
