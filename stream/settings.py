"""Tables of a configuration held against what they may say: every mistake told, with what is wanted instead."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Final, Literal, get_args, get_origin, get_type_hints

import msgspec
from msgspec import Meta

_SECRET: Final = ("hash_key",)


def checked_table(kind: type[Any], values: Mapping[str, Any], prefix: str, mistakes: list[str]) -> dict[str, Any]:
    hints = get_type_hints(kind, include_extras=True)
    out: dict[str, Any] = {}
    for name, value in values.items():
        full = prefix + name
        if name not in hints:
            mistakes.append(f"{full}: no such setting{nearest(name, list(hints))}; remove it or correct its name")
        elif isinstance(hints[name], type) and issubclass(hints[name], msgspec.Struct):
            if isinstance(value, dict):
                out[name] = checked_table(hints[name], value, f"{full}.", mistakes)
            else:
                mistakes.append(f"{full} = {value!r}: is a table; write [{full}] and its settings below")
        elif (row := _row_of(hints[name])) is not None:
            out[name] = _checked_rows(row, hints[name], value, full, mistakes)
        else:
            try:
                out[name] = msgspec.convert(value, hints[name])
            except msgspec.ValidationError:
                shown = "(hidden)" if name in _SECRET or name.endswith("_from") else repr(value)
                mistakes.append(f"{full} = {shown}: must be {wanted(hints[name])}")
    return out


def _row_of(hint: Any) -> type[Any] | None:
    """The kind of table in a list of tables; None for what is another setting."""
    plain = get_args(hint)[0] if get_origin(hint) is Annotated else hint
    inner = get_args(plain)[0] if get_origin(plain) is tuple else None
    return inner if isinstance(inner, type) and issubclass(inner, msgspec.Struct) else None


def _checked_rows(kind: type[Any], hint: Any, rows: Any, where: str, mistakes: list[str]) -> tuple[Any, ...]:
    """The tables of a list that have no mistake, each of its kind."""
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        mistakes.append(f"{where}: is a list of tables; write [[{where}]] and the settings of one below")
        return ()
    limit = get_args(hint)[1].max_length
    if len(rows) > limit:
        mistakes.append(f"{where}: {len(rows)} tables, the limit is {limit}; join some of them")
        return ()
    out = []
    for number, row in enumerate(rows, 1):
        if (made := _checked_row(kind, row, f"{where}[{number}]", mistakes)) is not None:
            out.append(made)
    return tuple(out)


def _checked_row(kind: type[Any], row: dict[str, Any], where: str, mistakes: list[str]) -> Any:
    """A table of a list, None where it has a mistake."""
    before, fields = len(mistakes), msgspec.structs.fields(kind)
    checked = checked_table(kind, row, f"{where}.", mistakes)
    mistakes += [f"{where}.{f.name}: missing, but required" for f in fields if f.required and f.name not in row]
    return kind(**checked) if len(mistakes) == before else None


def checked_subscribers(tables: Any, kinds: Mapping[str, type[Any]], mistakes: list[str]) -> tuple[Any, ...]:
    """The settings of each table of [[subscribers]], by its kind."""
    if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
        mistakes.append("subscribers: is a list of tables; write [[subscribers]] and the settings of one below")
        return ()
    out = []
    for number, table in enumerate(tables, 1):
        where, name = f"subscribers[{table.get('name', number)}]", str(table.get("kind", ""))
        if name not in kinds:
            close = nearest(name, list(kinds))
            mistakes.append(f"{where}.kind = {name!r}: no such kind{close}; there are: {', '.join(kinds)}")
            continue
        if (made := _checked_row(kinds[name], table, where, mistakes)) is not None:
            out.append(made)
    names = [subscriber.name for subscriber in out]
    twice = sorted({name for name in names if names.count(name) > 1})
    mistakes += [f"subscribers: two have the name {name}; the place of each is kept by its name" for name in twice]
    return tuple(out)


def wanted(hint: Any) -> str:
    if get_origin(hint) is dict:
        if get_args(hint)[1] is not bool:
            return 'a table of texts, or lists of texts, such as office = "203.0.113.0/24"'
        return "a table of true or false, such as volume = true"
    if get_origin(hint) is Literal:
        return "one of " + ", ".join(get_args(hint))
    if hint is bool:
        return "true or false"
    plain, meta = (*get_args(hint), Meta())[:2] if get_origin(hint) is Annotated else (hint, Meta())
    if get_origin(plain) is tuple:
        return f"a list; each {wanted(get_args(plain)[0])}"
    if meta.pattern is not None:
        if meta.pattern.startswith("^((env:"):
            return 'where a secret is, "env:NAME" or "file:PATH", and never the secret itself'
        if "@" in meta.pattern:
            return "an address such as soc@example.com"
        if meta.pattern.endswith("{32}$"):
            return "32 hexadecimal digits, such as `openssl rand -hex 16` prints"
        return "a name of letters, digits, dots, dashes and underscores"
    if plain is str:
        return "a text" + (f" of at most {meta.max_length} characters" if meta.max_length else "")
    word = "a whole number" if plain is int else "a number"
    return f"{word} from {meta.ge:,} to {meta.le:,}"


def nearest(name: str, known: Sequence[str]) -> str:
    close = difflib.get_close_matches(name, known, 1)
    return f" (did you mean {close[0]}?)" if close else ""
