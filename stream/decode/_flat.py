"""Flat JSON straight to columns: the quick way for native records that are as most are.

A compiled pass over the joined records takes an object whose known fields are strings of printable ASCII without
escapes, of at most 256 bytes, and whole numbers that are not negative. Everything else - an escape, a text in another
script, null, a fraction, an RFC 3339 time, a nested value, a mistake - it leaves alone: the record goes the slow way,
which knows every case and every reason. So the quick way decides nothing; it only has to be right where it says yes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from detectors.kernels import inline, kernel, word
from stream.blocks import NUMBERS, PackedBlock
from stream.checks import ASN_MAX, TEXT_BYTES_MAX, TIME_MS_MIN
from stream.events import ACCOUNT_KINDS, ACTIONS, OUTCOMES, TEXT_FIELDS
from stream.networks import network_of
from stream.records import Records
from stream.siphash import I64, U8, U64
from stream.texts import Columns, Packed
from stream.words import BYTES, HIGH, ONES, SHORT, equal, head, lowest, words

I8 = npt.NDArray[np.int8]

# Fields in the order of their codes: texts, then enumerations, then numbers.
ENUMS: Final = ("action", "account_kind", "outcome")
COUNTS: Final = ("time", "records", "bytes", "asn")
FIELDS: Final = (*TEXT_FIELDS, *ENUMS, *COUNTS)
TEXTS: Final = len(TEXT_FIELDS)
TIME: Final = TEXTS + len(ENUMS)
ACCOUNT: Final = TEXT_FIELDS.index("account")
RESOURCE: Final = TEXT_FIELDS.index("resource")
SOURCE_IP: Final = TEXT_FIELDS.index("source_ip")
DIGITS_MAX: Final = 15  # of a number: exact in a double as well
NETWORK_BYTES: Final = 18  # "255.255.255.0/24", "AS4294967295"


def _table(names: Sequence[str]) -> U64:
    """Names of at most SHORT bytes as two words each: a text is one of them where both of its own are the same."""
    return np.array([words(name.encode()) for name in names], np.uint64)


ENUM_WORDS: Final = (ACTIONS, ACCOUNT_KINDS, OUTCOMES)
NAMES: Final = _table(FIELDS)
VALUES: Final = _table([value for values in ENUM_WORDS for value in values])
VALUE_FROM: Final = np.cumsum([0, *map(len, ENUM_WORDS)])

SPACES, QUOTES, BACKSLASHES = (np.uint64(ord(c)) * ONES for c in ' "\\')


@inline
def _blank(buffer: U8, p: int, stop: int) -> int:
    if buffer[p] > 32:
        return p
    while p < stop and (buffer[p] == 32 or buffer[p] == 9 or buffer[p] == 13):
        p += 1
    return p


@inline
def _unlike(text: Any) -> Any:
    """A mark in each byte that is not plain; the lowest is sure: below 32, a quote, a backslash, 127 and above."""
    low = (text - SPACES) & ~text
    return (low | text | (text + ONES)) & HIGH | equal(text, QUOTES) | equal(text, BACKSLASHES)


@inline
def _quoted(buffer: U8, p: Any) -> Any:
    """The place of the quote that ends a plain string whose first character is at p, -1 where it is not plain.

    It need not look for the end of the record: a byte that is not plain comes after it.
    """
    while p + BYTES <= buffer.shape[0]:
        marks = _unlike(word(buffer, np.uint64(p)))
        if marks != np.uint64(0):
            p += np.int64(lowest(marks))
            return p if buffer[p] == 34 else -1
        p += BYTES
    while 32 <= buffer[p] < 127 and buffer[p] != 34 and buffer[p] != 92:
        p += 1
    return p if buffer[p] == 34 else -1


@inline
def _which(buffer: U8, start: int, length: int, table: U64, first: int, stop: int, guess: int) -> int:
    """The place in the table, from `first` to `stop`, of the name that these bytes are; looked for from `guess` on."""
    if length > SHORT:
        return -1
    at, n = np.uint64(start), np.uint64(length)
    one = head(buffer, at, n)
    two = head(buffer, at + np.uint64(8), n - np.uint64(8)) if length > BYTES else np.uint64(0)
    f = guess
    for _ in range(stop - first):
        if f >= stop:
            f = first
        if table[f, 0] == one and table[f, 1] == two:
            return f
        f += 1
    return -1


@kernel
def _parse(
    buffer: U8, starts: I64, stops: I64, names: U64, values: U64, value_from: I64, time_max: int,
    text_start: I64, text_stop: I64, enums: I8, counts: I64, taken: npt.NDArray[np.bool_],
) -> None:  # fmt: skip
    guess = 0
    for i in range(starts.shape[0]):
        taken[i] = False
        for f in range(TEXTS):
            text_start[f, i] = 0
            text_stop[f, i] = 0
        enums[0, i] = -1
        enums[1, i] = 0
        enums[2, i] = 0
        counts[0, i] = -1
        counts[1, i] = 1
        counts[2, i] = 0
        counts[3, i] = -1
        stop = stops[i]  # where a byte stands that nothing here takes for its own
        p = _blank(buffer, starts[i], stop)
        if buffer[p] != 123:
            continue
        p += 1
        well = False
        while True:
            p = _blank(buffer, p, stop)
            if buffer[p] != 34:
                break
            end = _quoted(buffer, p + 1)
            if end < 0:
                break
            # Records of one source have their fields in one order.
            field = _which(buffer, p + 1, end - p - 1, names, 0, names.shape[0], guess)
            guess = field + 1 if field >= 0 else guess
            p = _blank(buffer, end + 1, stop)
            if buffer[p] != 58:
                break
            p = _blank(buffer, p + 1, stop)
            if buffer[p] == 34:
                end = _quoted(buffer, p + 1)
                if end < 0:
                    break
                start, length = p + 1, end - p - 1
                p = end + 1
                if field >= TIME:
                    break
                if field >= TEXTS:
                    kind = field - TEXTS
                    first = value_from[kind]
                    value = _which(buffer, start, length, values, first, value_from[kind + 1], first)
                    if value < 0:
                        break
                    enums[kind, i] = value - first
                elif field >= 0:
                    if length > TEXT_BYTES_MAX:
                        break
                    text_start[field, i] = start
                    text_stop[field, i] = start + length
            elif 48 <= buffer[p] <= 57:
                first = p
                number = 0
                while 48 <= buffer[p] <= 57:
                    number = 10 * number + int(buffer[p]) - 48
                    p += 1
                if p - first > DIGITS_MAX or (buffer[first] == 48 and p - first > 1):
                    break
                if field < 0:
                    pass
                elif field < TIME:
                    break
                else:
                    counts[field - TIME, i] = number
            else:
                break
            p = _blank(buffer, p, stop)
            if buffer[p] == 44:
                p += 1
                continue
            if buffer[p] == 125:
                well = _blank(buffer, p + 1, stop) == stop
            break
        taken[i] = (
            well and enums[0, i] >= 0 and text_stop[ACCOUNT, i] > text_start[ACCOUNT, i]
            and text_stop[RESOURCE, i] > text_start[RESOURCE, i]
            and TIME_MS_MIN <= counts[0, i] <= time_max and counts[3, i] <= ASN_MAX
        )  # fmt: skip


@kernel
def _networks(
    address: U8, starts: I64, stops: I64, asn: I64, out: U8, offsets: I64, odd: npt.NDArray[np.bool_]
) -> None:
    """ "AS64500", or the /24 of an IPv4 address; what is neither is odd, and is empty here."""
    at = 0
    for i in range(asn.shape[0]):
        odd[i] = False
        if asn[i] >= 0:
            out[at] = 65
            out[at + 1] = 83
            digits = 1
            rest = asn[i] // 10
            while rest > 0:
                digits += 1
                rest //= 10
            rest = asn[i]
            for d in range(digits):
                out[at + 1 + digits - d] = 48 + rest % 10
                rest //= 10
            at += 2 + digits
        elif stops[i] > starts[i]:
            part, value, digits, last = 0, 0, 0, -1
            good = True
            for p in range(starts[i], stops[i]):
                c = address[p]
                if c == 46:
                    if digits == 0 or part == 3:
                        good = False
                        break
                    part += 1
                    last = p
                    value = 0
                    digits = 0
                elif 48 <= c <= 57:
                    if digits > 0 and value == 0:  # no leading zeros
                        good = False
                        break
                    value = 10 * value + int(c) - 48
                    digits += 1
                    if value > 255:
                        good = False
                        break
                else:
                    good = False
                    break
            if not good or part != 3 or digits == 0:
                odd[i] = True
            else:
                for p in range(starts[i], last + 1):
                    out[at] = address[p]
                    at += 1
                out[at] = 48
                out[at + 1] = 47
                out[at + 2] = 50
                out[at + 3] = 52
                at += 4
        offsets[i + 1] = at


def quick(records: Records, origin: str, lines: I64, time_ms_max: int) -> tuple[PackedBlock, npt.NDArray[np.bool_]]:
    """The events of the records that are plain, in their order, and which records those are (bool[n])."""
    n = len(records)
    buffer = np.frombuffer(records.data, np.uint8)
    text_start, text_stop = np.empty((TEXTS + 1, n), np.int64), np.empty((TEXTS + 1, n), np.int64)  # and the network
    enums, counts = np.empty((len(ENUMS), n), np.int8), np.empty((len(COUNTS), n), np.int64)
    taken = np.empty(n, np.bool_)
    _parse(
        buffer, records.starts, records.stops, NAMES, VALUES, VALUE_FROM, time_ms_max, text_start[:TEXTS],
        text_stop[:TEXTS], enums, counts, taken,
    )  # fmt: skip
    lines = np.asarray(lines, np.int64)
    if not taken.all():
        # Rows stay contiguous, as [:, taken] would not leave them: kernels are compiled for one kind of array.
        text_start, text_stop = np.compress(taken, text_start, axis=1), np.compress(taken, text_stop, axis=1)
        enums, counts, lines = np.compress(taken, enums, axis=1), np.compress(taken, counts, axis=1), lines[taken]
    address = TEXT_FIELDS.index("source_ip")
    network = _network_column(Packed(buffer, text_start[address], text_stop[address]), counts[3])
    text_start[TEXTS], text_stop[TEXTS] = network.starts, network.stops
    text = Columns((buffer,) * TEXTS + (network.buffer,), text_start, text_stop)
    m = len(lines)
    columns = {
        "origin": np.zeros(m, np.uint16), "line": lines, "time": counts[0], "action": enums[0],
        "account_kind": enums[1], "outcome": enums[2], "records": counts[1].astype(np.float64),
        "bytes": counts[2].astype(np.float64), "trusted": np.ones(m, np.int8),
    }  # fmt: skip
    return PackedBlock((origin,), **{name: columns[name] for name, _ in NUMBERS}, text=text), taken


def _network_column(address: Packed, asn: I64) -> Packed:
    n = len(asn)
    out, offsets = np.empty(NETWORK_BYTES * n, np.uint8), np.zeros(n + 1, np.int64)
    odd = np.zeros(n, np.bool_)
    _networks(address.buffer, address.starts, address.stops, asn, out, offsets, odd)
    if odd.any():
        names = [
            network_of(address[i]) if odd[i] else out[offsets[i] : offsets[i + 1]].tobytes().decode() for i in range(n)
        ]
        return Packed.of(names)
    out = out[: offsets[-1]].copy()
    out.setflags(write=False)
    return Packed.along(out, offsets)
