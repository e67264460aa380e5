"""Events as numbers while a world is being generated, and their names when a block leaves it.

A row is one packed record, so that sorting and repeating are one copy each. Names are computed from numbers a block
at a time: nothing that grows with the population or the length of the simulation is held as text.
"""

from __future__ import annotations

from typing import Final, Protocol

import numpy as np
import numpy.typing as npt

from stream.events import ACCOUNT_KINDS, ACTIONS, EventBlock

I64 = npt.NDArray[np.int64]
U64 = npt.NDArray[np.uint64]
F64 = npt.NDArray[np.float64]
Bool = npt.NDArray[np.bool_]
Objects = npt.NDArray[np.object_]
Rows = npt.NDArray[np.void]  # of ROW

NOBODY: Final = -1  # account and subject codes: >= 0 is a member number, < 0 a name of the vocabulary
NOTHING: Final = -1  # object code
SUCCESS: Final = 0
FAILURE: Final = 1
_REFUSAL_BYTES: Final = 220.0
READ: Final = ACTIONS.index("read")
LIST: Final = ACTIONS.index("list")
EXPORT: Final = ACTIONS.index("export")
LOGIN: Final = ACTIONS.index("login")
CUSTOMER: Final = ACCOUNT_KINDS.index("customer")
EMPLOYEE: Final = ACCOUNT_KINDS.index("employee")
SERVICE: Final = ACCOUNT_KINDS.index("service")
PARTNER: Final = ACCOUNT_KINDS.index("partner")

ROW: Final = np.dtype(
    [
        ("arrival", "i8"),  # ms, when the line is written: the order of the log
        ("time", "i8"),  # ms, when it happened
        ("account", "i8"),
        ("subject", "i8"),
        ("object", "i8"),
        ("credential", "u8"),  # 0: none
        ("bytes", "f8"),
        ("records", "f8"),
        ("source_ip", "u4"),
        ("network", "i2"),
        ("user_agent", "i2"),
        ("resource", "i2"),
        ("issuer", "i2"),
        ("group", "i2"),
        ("action", "i1"),
        ("account_kind", "i1"),
        ("outcome", "i1"),
        ("attack", "?"),
    ]
)


class Population(Protocol):
    """Whoever makes events."""

    def rows(self, start_ms: int, stop_ms: int, rng: np.random.Generator) -> Rows:
        """Rows of all that begins in [start_ms, stop_ms), in any order; they may reach past stop_ms.

        Steps are asked for once each, in order.
        """


def empty(n: int) -> Rows:
    """n rows of one record of no bytes by nobody; times, account and network are for the caller to fill in."""
    rows = np.zeros(n, ROW)
    rows["subject"] = NOBODY
    rows["object"] = NOTHING
    rows["records"] = 1.0
    return rows


def at(rows: Rows, time_ms: I64) -> Rows:
    """The rows with their time set, written to the log as they happen."""
    rows["time"] = time_ms
    rows["arrival"] = time_ms
    return rows


def refuse(rows: Rows, which: Bool) -> None:
    """Makes those rows requests that gave nothing."""
    rows["outcome"][which] = FAILURE
    rows["records"][which] = 0.0
    rows["bytes"][which] = _REFUSAL_BYTES


def mix(numbers: I64 | U64, salt: int) -> U64:
    """A hash of each number (SplitMix64's finalizer; Steele, Lea, Flood 2014): traits that need no memory."""
    x = numbers.astype(np.uint64)
    x += np.uint64((salt * 0x9E3779B97F4A7C15 + 0x632BE59BD9B4E019) & 0xFFFFFFFFFFFFFFFF)
    x ^= x >> np.uint64(30)
    x *= np.uint64(0xBF58476D1CE4E5B9)
    x ^= x >> np.uint64(27)
    x *= np.uint64(0x94D049BB133111EB)
    x ^= x >> np.uint64(31)
    return x


def chance(numbers: I64 | U64, salt: int) -> F64:
    """A number in [0, 1) for each number, always the same one."""
    return np.asarray((mix(numbers, salt) >> np.uint64(11)) * 2.0**-53, np.float64)


def zipf(n: int, exponent: float) -> F64:
    """Cumulated shares of n choices whose popularity falls with rank: use `pick`."""
    weights: F64 = np.arange(1, n + 1, dtype=np.float64) ** -exponent
    shares: F64 = np.cumsum(weights) / weights.sum()
    return shares


def pick(cumulated: F64, uniform: F64) -> I64:
    """The choice for each uniform number, index into `cumulated`."""
    return np.minimum(np.searchsorted(cumulated, uniform, side="right"), len(cumulated) - 1)


class Vocabulary:
    """Names that are too few to compute: a code for each, by field. Code 0 is the empty name."""

    def __init__(self) -> None:
        self._codes: dict[str, dict[str, int]] = {}

    def code(self, field: str, name: str) -> int:
        """The code of a name, for ever the same."""
        codes = self._codes.setdefault(field, {"": 0})
        return codes.setdefault(name, len(codes))

    def account(self, name: str) -> int:
        """Account code of somebody who is no customer: negative, below NOBODY."""
        return NOBODY - self.code("account", name)

    def table(self, field: str) -> Objects:
        """Names by code."""
        return np.array(list(self._codes.get(field, {"": 0})), np.object_)


_TENS_OF_THOUSANDS: Final = 10_000
_LAST_DIGITS: Final = np.array([f"{i:04d}" for i in range(_TENS_OF_THOUSANDS)], np.object_)
_LOW_BYTES: Final = np.array([f".{i >> 8}.{i & 255}" for i in range(1 << 16)], np.object_)
_HIGH_BYTES: Final = np.array([f"{i >> 8}.{i & 255}" for i in range(1 << 16)], np.object_)


class Namer:
    """Turns rows into blocks of named events. asn: int64[networks]. country: str objects[networks]."""

    def __init__(self, vocabulary: Vocabulary, asn: I64, country: Objects, members: int) -> None:
        self._tables = {field: vocabulary.table(field) for field in ("resource", "group", "issuer", "user_agent")}
        self._others = vocabulary.table("account")
        self._asn, self._country = asn, country
        self._thousands = np.array([f"M{i:05d}" for i in range(members // _TENS_OF_THOUSANDS + 1)], np.object_)

    def block(self, rows: Rows, first_line: int, origin: str) -> EventBlock:
        """The rows as events of `origin`, on lines from `first_line` on."""
        n = len(rows)
        text = {field: table[rows[field]].tolist() for field, table in self._tables.items()}
        network = rows["network"]
        address = rows["source_ip"]
        account = rows["account"]
        accounts = self.accounts(account)
        subjects = np.full(n, "", np.object_)
        own = rows["subject"] == account
        subjects[own] = accounts[own]
        foreign = np.flatnonzero(~own & (rows["subject"] != NOBODY))
        subjects[foreign] = self.accounts(rows["subject"][foreign])
        text |= {
            "account": accounts.tolist(),
            "subject": subjects.tolist(),
            "id": [""] * n,
            "credential": credential_names(rows["credential"]),
            "source_ip": (_HIGH_BYTES[address >> 16] + _LOW_BYTES[address & 0xFFFF]).tolist(),
            "country": self._country[network].tolist(),
            "object": object_names(rows["object"]),
        }
        return EventBlock(
            origin=origin,
            line=np.arange(first_line, first_line + n, dtype=np.int64),
            time=rows["time"].copy(),
            action=rows["action"].copy(),
            account_kind=rows["account_kind"].copy(),
            outcome=rows["outcome"].copy(),
            records=rows["records"].copy(),
            bytes=rows["bytes"].copy(),
            asn=self._asn[network],
            text=text,
        )

    def accounts(self, codes: I64) -> Objects:
        """Account names by code."""
        member = codes >= 0
        names: Objects = np.empty(len(codes), np.object_)
        numbers = codes[member]
        names[member] = self._thousands[numbers // _TENS_OF_THOUSANDS] + _LAST_DIGITS[numbers % _TENS_OF_THOUSANDS]
        names[~member] = self._others[NOBODY - codes[~member]]
        return names


def credential_names(codes: U64) -> list[str]:
    """16 hexadecimal digits each, "" for 0."""
    digits = np.ascontiguousarray(codes).astype(">u8").tobytes().hex()
    names = [digits[i : i + 16] for i in range(0, len(digits), 16)]
    for i in np.flatnonzero(codes == 0).tolist():
        names[i] = ""
    return names


def object_names(codes: I64) -> list[str]:
    """Product and order numbers below 10^8, "" for NOTHING."""
    names = np.full(len(codes), "", np.object_)
    named = np.flatnonzero(codes != NOTHING)
    numbers = codes[named]
    names[named] = _LAST_DIGITS[numbers // _TENS_OF_THOUSANDS] + _LAST_DIGITS[numbers % _TENS_OF_THOUSANDS]
    return names.tolist()
