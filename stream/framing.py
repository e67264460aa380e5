"""Where one record ends and the next begins: lines, rows of CSV, or the objects of a JSON document.

The memory that it takes is bounded by one record.

A framer is fed blocks of bytes and gives back whole records; it does not matter where the blocks are cut. A record
longer than the limit is never held: its beginning is kept and its length counted.
"""

from __future__ import annotations

import csv
import io
import re
from dataclasses import dataclass, field
from itertools import islice
from typing import Final

import numpy as np
import numpy.typing as npt
import orjson

from detectors.kernels import kernel
from stream.records import Records

HEAD_BYTES: Final = 4096  # of a record that is too long: enough to see what it was
LINES: Final = -1
CSV: Final = -2
HEADER_BYTES_MAX: Final = 1 << 16
SNIFF_BYTES: Final = 64  # what decides comes within the first few bytes of a document
NEWLINE, CARRIAGE_RETURN, QUOTE = 10, 13, 34
UTF8_BOM: Final = b"\xef\xbb\xbf"

_LEVELS: Final = (  # the depth at which the records of a document lie, by how it begins
    (2, re.compile(rb'\{\s*"Records"\s*:\s*\[')),  # a CloudTrail log file
    (1, re.compile(rb"\[\s*[{\]]")),  # an array of objects
    (0, re.compile(rb'\{[ \t\r]*\n\s*["}]')),  # objects printed over several lines
)
_HEADER: Final = re.compile(rb'"?[A-Za-z_]\w*"?(?:,"?[A-Za-z_]\w*"?){3,}\r?\n')  # four names at least, and nothing else
_HEADER_SO_FAR: Final = re.compile(rb'[\w",]+\r?')


def level_of(start: bytes, final: bool) -> int | None:
    """LINES, CSV, or the depth of a document's records, by its first bytes; None while they are too few to tell."""
    text = start.lstrip()
    if _HEADER.match(text):
        return CSV
    if not final and len(text) < HEADER_BYTES_MAX and _HEADER_SO_FAR.fullmatch(text):
        return None
    for level, pattern in _LEVELS:
        if pattern.match(text):
            return level
    line, newline, _ = text.partition(b"\n")
    told = (
        len(text) >= SNIFF_BYTES or (newline and line.strip() not in (b"{", b"[")) or text[:1] not in (b"", b"{", b"[")
    )
    return LINES if told or final else None


@dataclass(slots=True)
class Framed:
    """Records with their places (int64[n], 1-based lines or ordinals), and (place, head, bytes) of those too long."""

    records: Records = field(default_factory=lambda: Records.of([]))
    lines: npt.NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    too_long: list[tuple[int, bytes, int]] = field(default_factory=list)


class LineFramer:
    """Records are lines; \\n and \\r\\n end them; empty lines are skipped but counted."""

    level = LINES

    def __init__(self, record_bytes_max: int, offset: int = 0, line: int = 1) -> None:
        self.offset = offset  # bytes of whole records given back so far, with those skipped
        self.line = line  # the number of the next
        self._limit = record_bytes_max
        self._rest = b""
        self._dropped = 0  # bytes let go of a line that is too long; its head stays in _rest

    def feed(self, block: bytes) -> Framed:
        """The records that end in this block."""
        end = block.rfind(b"\n") + 1
        if not end:
            self._hold(block)
            return Framed()
        whole = block if end == len(block) else block[:end]
        framed = self._split(Records.lines(self._rest + whole if self._rest else whole))
        self._rest, self._dropped = b"", 0
        self._hold(block[end:])
        return framed

    def finish(self) -> Framed:
        """The last line, when nothing ends it."""
        if not self._rest:
            return Framed()
        framed = self._split(Records.of([self._rest]))
        self.offset -= 1  # the newline was ours
        self._rest, self._dropped = b"", 0
        return framed

    def forget(self) -> None:
        """Let go of the record that has not ended."""
        self._rest, self._dropped = b"", 0

    @property
    def unfinished(self) -> bytes:
        """The beginning of the record that has not ended."""
        return self._rest[:HEAD_BYTES]

    def _hold(self, tail: bytes) -> None:
        if self._dropped or len(self._rest) + len(tail) > self._limit:
            kept = (self._rest + tail[:HEAD_BYTES])[:HEAD_BYTES]
            self._dropped += len(self._rest) + len(tail) - len(kept)
            self._rest = kept
        else:
            self._rest += tail

    def _split(self, found: Records) -> Framed:
        data = found.data
        self.offset += len(data) + self._dropped
        lines = np.arange(self.line, self.line + len(found), dtype=np.int64)
        self.line += len(found)
        lengths = found.stops - found.starts
        lengths[0] += self._dropped
        too_long = []
        if self._dropped or len(data) > self._limit:
            over = lengths > self._limit
            too_long = [(int(lines[i]), found[i][:HEAD_BYTES], int(lengths[i])) for i in np.flatnonzero(over).tolist()]
            lengths[over] = 0
        if b"\r" in data:
            last = np.frombuffer(data, np.uint8)[np.maximum(found.stops - 1, 0)]
            ends = (last == CARRIAGE_RETURN) & (lengths > 0)
            found.stops[ends] -= 1
            lengths[ends] -= 1
        kept = lengths > 0
        return Framed(found, lines, too_long) if kept.all() else Framed(found.take(kept), lines[kept], too_long)


class CsvFramer(LineFramer):
    """Records are the rows of a CSV file (RFC 4180) as JSON objects, by the names in its first row.

    A quoted value may hold line ends. A row that is none, or has another number of values, is handed over as it is.
    """

    level = CSV

    def __init__(self, record_bytes_max: int, offset: int = 0, line: int = 1, header: str = "") -> None:
        super().__init__(record_bytes_max, offset, line)
        self.header = header  # the first row, as it is written
        self._quoted = 0  # 1 where what is held ends within quotes

    def feed(self, block: bytes) -> Framed:
        """The rows that end in this block."""
        raw = np.frombuffer(block, np.uint8)
        quoted = (np.cumsum(raw == QUOTE) + self._quoted) & 1
        ends = np.flatnonzero((raw == NEWLINE) & (quoted == 0))
        self._quoted = int(quoted[-1]) if len(quoted) else self._quoted
        if not len(ends):
            self._hold(block)
            return Framed()
        stops = ends + len(self._rest)
        starts = np.concatenate(([0], stops[:-1] + 1))
        framed = self._split(Records(self._rest + block[: ends[-1] + 1], starts, stops))
        self._rest, self._dropped = b"", 0
        self._hold(block[ends[-1] + 1 :])
        return self._named(framed)

    def finish(self) -> Framed:
        """The last row, when nothing ends it."""
        return self._named(super().finish())

    def forget(self) -> None:
        """Let go of the row that has not ended."""
        super().forget()
        self._quoted = 0

    def _named(self, framed: Framed) -> Framed:
        rows, lines = framed.records, framed.lines
        if rows and not self.header:
            self.header = rows[0].decode(errors="replace")
            rows, lines = rows[1:], lines[1:]
        names = _values(self.header, strict=False)
        return Framed(Records.of([_object(names, row) for row in rows]), lines, framed.too_long)


def _object(names: list[str], row: bytes) -> bytes:
    try:
        values = _values(row.decode(), strict=True)
    except UnicodeDecodeError:
        return row
    return orjson.dumps(dict(zip(names, values, strict=True))) if values and len(names) == len(values) else row


def _values(row: str, strict: bool) -> list[str]:
    """The values of a row; none where it is not one, as where a line ends outside of quotes."""
    try:
        rows = list(islice(csv.reader(io.StringIO(row, newline=""), strict=strict), 2))
    except csv.Error:
        return []
    return rows[0] if len(rows) == 1 else []


class DocumentFramer:
    """Records are the objects at one depth of a JSON document; what lies between is skipped. Places are ordinals."""

    def __init__(self, level: int, record_bytes_max: int, offset: int = 0, line: int = 1) -> None:
        self.offset = offset
        self.line = line
        self._limit = record_bytes_max
        self.level = level
        self._rest = b""
        self._dropped = 0
        self._scanned = offset  # bytes of the document the scanner has been over
        self._state = np.array([level if offset else 0, 0, 0, 0], np.int64)  # depth, in string, escaped, in a record

    def feed(self, block: bytes) -> Framed:
        """The records that end in this block."""
        bounds = np.empty(len(block) + 1, np.int64)
        count = int(_scan(np.frombuffer(block, np.uint8), self.level, self._state, bounds))
        edges = bounds[:count].tolist()
        records: list[bytes] = []
        places: list[int] = []
        too_long: list[tuple[int, bytes, int]] = []
        inside = bool(self._rest)
        start = 0
        for edge in edges:
            if inside:
                self._hold(block[start:edge])
                if self._dropped:
                    too_long.append((self.line, self._rest, len(self._rest) + self._dropped))
                else:
                    records.append(self._rest)
                    places.append(self.line)
                self._rest, self._dropped = b"", 0
                self.line += 1
                self.offset = self._scanned + edge
            inside = not inside
            start = edge
        if inside:
            self._hold(block[start:])
        self._scanned += len(block)
        return Framed(Records.of(records), np.array(places, np.int64), too_long)

    def finish(self) -> Framed:
        """Nothing: a record of a document ends with its brace."""
        return Framed()

    def forget(self) -> None:
        """Let go of the record that has not ended."""
        self._rest, self._dropped = b"", 0
        self._state[:] = 0

    @property
    def unfinished(self) -> bytes:
        """The beginning of the record that has not ended, or of the list that was not closed."""
        return self._rest[:HEAD_BYTES] or (b"[" if self._state[0] else b"")

    def _hold(self, part: bytes) -> None:
        if self._dropped or len(self._rest) + len(part) > self._limit:
            kept = (self._rest + part[:HEAD_BYTES])[:HEAD_BYTES]
            self._dropped += len(self._rest) + len(part) - len(kept)
            self._rest = kept
        else:
            self._rest += part


def framer(
    level: int, record_bytes_max: int, offset: int = 0, line: int = 1, header: str = ""
) -> LineFramer | DocumentFramer:
    """The framer for what `level_of` told, from a byte offset on at which a record has ended; the header of a CSV."""
    if level == CSV:
        return CsvFramer(record_bytes_max, offset, line, header)
    if level == LINES:
        return LineFramer(record_bytes_max, offset, line)
    return DocumentFramer(level, record_bytes_max, offset, line)


@kernel
def _scan(data: npt.NDArray[np.uint8], level: int, state: npt.NDArray[np.int64], bounds: npt.NDArray[np.int64]) -> int:
    """Write where records begin and end, in turn, to `bounds`; how many. The state goes on to the next block."""
    depth, quoted, escaped, inside = state[0], state[1], state[2], state[3]
    count = 0
    for i in range(data.size):
        byte = data[i]
        if quoted:
            if escaped:
                escaped = 0
            elif byte == 92:  # backslash
                escaped = 1
            elif byte == 34:  # quote
                quoted = 0
        elif byte == 34:
            quoted = 1
        elif byte in (123, 91):  # { [
            if depth == level and byte == 123:
                bounds[count] = i
                count += 1
                inside = 1
            depth += 1
        elif byte in (125, 93) and depth > 0:  # } ]
            depth -= 1
            if depth == level and inside:
                bounds[count] = i + 1
                count += 1
                inside = 0
    state[0], state[1], state[2], state[3] = depth, quoted, escaped, inside
    return count
