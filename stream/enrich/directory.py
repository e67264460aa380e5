"""The directory: who belongs to which peer group, and has which other names, as the company keeps it.

A file of JSON lines, or of comma-separated values below a line of names: `account`, and any of `group`, `kind`
(customer, employee, service, partner) and `aliases`, which are a list, or a text with ";" between them. What else is in
it is ignored. Names are matched without regard to case.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from typing import Any, Final, NamedTuple

import orjson

from stream.checks import TEXT_BYTES_MAX, shown
from stream.enrich.mmdb import Broken
from stream.events import ACCOUNT_KINDS

ROWS_MAX: Final = 1_000_000
WRONG_SHOWN: Final = 5


class Person(NamedTuple):
    """An account, "" for what the directory does not say."""

    account: str
    group: str
    kind: str


class Directory:
    """Accounts by any of their names; Broken, with its lines, where the file contradicts itself or cannot be read."""

    def __init__(self, data: bytes) -> None:
        self._people: dict[str, Person] = {}
        self._accounts: set[str] = set()
        wrong: list[str] = []
        for line, row in _rows(data):
            if len(self._people) >= ROWS_MAX:
                raise Broken(f"more than {ROWS_MAX:,} names; leave out those of which it says nothing")
            try:
                self._add(row)
            except Broken as why:
                wrong.append(f"line {line}: {why}")
        if wrong:
            more = f"; and {len(wrong) - WRONG_SHOWN:,} more" if len(wrong) > WRONG_SHOWN else ""
            raise Broken("; ".join(wrong[:WRONG_SHOWN]) + more)
        if not self._people:
            raise Broken("no row in it; write one an account below a first line such as account,group,kind")

    def __len__(self) -> int:
        return len(self._accounts)

    @property
    def aliases(self) -> int:
        """How many names there are beside the accounts' own."""
        return len(self._people) - len(self)

    def __str__(self) -> str:
        return f"{len(self):,} accounts" + (f" with {self.aliases:,} other names" if self.aliases else "")

    def person(self, name: str) -> Person | None:
        """Whose name it is."""
        return self._people.get(name.casefold())

    def _add(self, row: Any) -> None:
        account, group, kind = (_text(row, name) for name in Person._fields)
        if not account:
            raise Broken("no account; every row names one")
        if kind and kind not in ACCOUNT_KINDS:
            raise Broken(f"kind {shown(kind)} is none of {', '.join(ACCOUNT_KINDS)}")
        person = Person(account, group, kind)
        if (known := self._people.setdefault(account.casefold(), person)) != person:
            if known.account.casefold() != account.casefold():
                raise Broken(f"account {shown(account)} is an alias of {shown(known.account)}; keep one of the two")
            raise Broken(f"account {shown(account)} stands there twice, and differently; keep one of the rows")
        self._accounts.add(account.casefold())
        for alias in _aliases(row):
            if (known := self._people.setdefault(alias.casefold(), person)) != person:
                raise Broken(f"alias {shown(alias)} is a name of {shown(known.account)} as well; keep one of the two")


def _aliases(row: Any) -> list[str]:
    given = row.get("aliases") or ()
    names = given.split(";") if isinstance(given, str) else given
    if not isinstance(names, list | tuple):
        raise Broken(f"aliases = {shown(given)}: must be a list of texts, or a text with ';' between them")
    return [name for each in names if (name := _checked("alias", each))]


def _text(row: Any, name: str) -> str:
    return _checked(name, row.get(name))


def _checked(name: str, value: Any) -> str:
    given = str(value) if isinstance(value, int) and not isinstance(value, bool) else value or ""
    if not isinstance(given, str):
        raise Broken(f"{name} = {shown(given)}: must be a text")
    given = given.strip()
    if len(given.encode(errors="replace")) > TEXT_BYTES_MAX:
        raise Broken(f"{name} = {shown(given)}: more than {TEXT_BYTES_MAX} bytes")
    return given


def _rows(data: bytes) -> Iterator[tuple[int, Any]]:
    """Each row with its line."""
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as why:
        raise Broken(f"byte {why.start} is not UTF-8; save the file as UTF-8") from None
    return _objects(text) if text.lstrip().startswith("{") else _values(text)


def _objects(text: str) -> Iterator[tuple[int, Any]]:
    for line, written in enumerate(text.splitlines(), 1):
        if written.strip():
            try:
                row = orjson.loads(written)
            except ValueError as why:
                raise Broken(f"line {line}: not JSON: {why}; write one object a line") from None
            if not isinstance(row, dict):
                raise Broken(f"line {line}: {shown(row)} is no object; write one object a line")
            yield line, row


def _values(text: str) -> Iterator[tuple[int, Any]]:
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        names = [name.strip().lower() for name in next(reader, [])]
        if "account" not in names:
            raise Broken(f"its first line names no account ({shown(','.join(names))}); write account,group,kind")
        for row in reader:
            if len(row) > len(names):
                raise Broken(f"line {reader.line_num}: {len(row)} values, the first line names {len(names)}")
            if any(row):
                yield reader.line_num, dict(zip(names, row, strict=False))
    except csv.Error as why:
        raise Broken(f"line {reader.line_num}: {why}; write values with a comma in quotes") from None
