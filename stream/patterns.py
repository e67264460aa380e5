"""Patterns of a user's own that strangers' input runs through: only such as cannot be made slow.

A backtracking matcher is slow where it has choices that only the far end of the text decides. A repeat has none where
what follows it cannot begin with a character that it takes: it ends in one place. What is left is counted: the product
of the places where each other repeat may end, and of the branches that begin alike, must be at most STEPS_MAX, and
none may lie within a repeat, where it would count once each round. Matched from the beginning of a text that is cut to
CHARS_MAX, the work is then bounded by STEPS_MAX passes. (Rathnayake and Thielecke, "Static analysis for regular
expression exponential runtime via substructural logics", 2014, decide more; this refuses a little too much instead.)
"""

from __future__ import annotations

import re
from collections.abc import Callable
from importlib import import_module
from typing import Any, Final

CHARS_MAX: Final = 1024  # of a value are looked at
LINE_CHARS_MAX: Final = 4096  # of a line
PATTERN_CHARS_MAX: Final = 1000
STEPS_MAX: Final = 1100  # one repeat such as .* that may end anywhere, and little else

_parser: Final[Any] = import_module("re._parser")
_OTHER: Final = 256  # stands for every character beyond Latin-1
_ALL: Final = frozenset(range(_OTHER + 1))
_REPEATS: Final = ("MAX_REPEAT", "MIN_REPEAT", "POSSESSIVE_REPEAT")
_WHAT: Final = {
    "GROUPREF": "a reference back to a group", "GROUPREF_EXISTS": "a condition on a group",
    "ASSERT": "a look ahead or behind", "ASSERT_NOT": "a look ahead or behind",
}  # fmt: skip

_Set = frozenset[int]


def compiled(pattern: str) -> re.Pattern[str]:
    """The pattern, compiled; ValueError with what is wrong and what to do where it is none or may be slow.

    >>> compiled(r"/users/(?P<id>\\d+)").match("/users/17")["id"]
    '17'
    >>> compiled(r"(a+)+b")
    Traceback (most recent call last):
    ...
    ValueError: '(a+)+b' could take for ever: a repeat within a repeat may end in several places; make the inner one...
    """
    if len(pattern) > PATTERN_CHARS_MAX:
        raise ValueError(f"{len(pattern)} characters, the limit for a pattern is {PATTERN_CHARS_MAX}")
    try:
        tree = _parser.parse(pattern)
        made = re.compile(pattern)
    except (re.error, OverflowError, RecursionError) as why:
        raise ValueError(f"{pattern!r} is no pattern: {why}") from None
    steps = _steps(list(tree), frozenset(), bool(tree.state.flags & re.IGNORECASE), False, pattern)
    if steps > STEPS_MAX:
        raise ValueError(
            f"{pattern!r} could be slow: several repeats may each end in many places; let each exclude what follows it "
            r"([^ ]+ instead of .+), or make it possessive (.++)"
        )
    return made


def _steps(items: list[Any], follow: _Set, fold: bool, inside: bool, pattern: str) -> int:
    """How many ways there are through the items, if `follow` is what may come after them; raises ValueError."""
    steps = 1
    for index, (code, value) in enumerate(items):
        after = _first(items[index + 1 :], follow, fold)
        name = str(code)
        if name in _WHAT:
            raise ValueError(f"{pattern!r} has {_WHAT[name]}, which patterns here may not have")
        ways = 1
        if name in _REPEATS:
            low, high, body = value
            inner = list(body)
            start = _first(inner, frozenset(), fold)
            again = start | after if high > 1 else after
            ways = _steps(inner, again, fold, inside or high > 1, pattern)
            if name != "POSSESSIVE_REPEAT" and high > low and start & after:
                if inside:
                    raise ValueError(
                        f"{pattern!r} could take for ever: a repeat within a repeat may end in several places; make "
                        r"the inner one possessive (\w++), or exclude from it what follows"
                    )
                ways *= min(int(high), CHARS_MAX) - low + 1
            elif _optional(inner) and high > 1:
                raise ValueError(f"{pattern!r} could take for ever: what it repeats may be empty")
        elif name == "SUBPATTERN":
            group_fold = fold or bool(value[1] & re.IGNORECASE)
            ways = _steps(list(value[3]), after, group_fold, inside, pattern)
        elif name == "ATOMIC_GROUP":
            ways = _steps(list(value), after, fold, inside, pattern)
        elif name == "BRANCH":
            ways = _branches([list(branch) for branch in value[1]], after, fold, inside, pattern)
        steps *= ways
    return steps


def _branches(branches: list[list[Any]], after: _Set, fold: bool, inside: bool, pattern: str) -> int:
    ways = sum(_steps(branch, after, fold, inside, pattern) for branch in branches)
    seen: set[int] = set()
    for branch in branches:
        start = _first(branch, after, fold)
        if start & seen:
            if inside:
                raise ValueError(
                    f"{pattern!r} could take for ever: branches within a repeat begin alike; begin each with another "
                    "character"
                )
            return ways
        seen |= start
    return max(ways - len(branches) + 1, 1)  # the first character decides which


def _first(items: list[Any], follow: _Set, fold: bool) -> _Set:
    """The characters that a match of the items may begin with, where `follow` comes after them."""
    found: _Set = frozenset()
    for code, value in items:
        name = str(code)
        if name == "AT":
            continue
        if name in _REPEATS:
            low, _, body = value
            found |= _first(list(body), frozenset(), fold)
            if low == 0 or _optional(list(body)):
                continue
        elif name == "SUBPATTERN":
            found |= _first(list(value[3]), frozenset(), fold or bool(value[1] & re.IGNORECASE))
            if _optional(list(value[3])):
                continue
        elif name == "ATOMIC_GROUP":
            found |= _first(list(value), frozenset(), fold)
            if _optional(list(value)):
                continue
        elif name == "BRANCH":
            for branch in value[1]:
                found |= _first(list(branch), frozenset(), fold)
            if any(_optional(list(branch)) for branch in value[1]):
                continue
        else:
            found |= _characters(name, value, fold)
        return found
    return found | follow


def _optional(items: list[Any]) -> bool:
    """Whether the items may match nothing."""
    for code, value in items:
        name = str(code)
        if name == "AT" or (name in _REPEATS and (value[0] == 0 or _optional(list(value[2])))):
            continue
        if name == "SUBPATTERN" and _optional(list(value[3])):
            continue
        if name == "ATOMIC_GROUP" and _optional(list(value)):
            continue
        if name == "BRANCH" and any(_optional(list(branch)) for branch in value[1]):
            continue
        return False
    return True


def _characters(name: str, value: Any, fold: bool) -> _Set:
    """What a single item takes: exact for Latin-1, all or nothing beyond."""
    if name == "ANY":
        return _ALL
    if name == "LITERAL":
        return _cases(value, fold)
    if name == "NOT_LITERAL":
        return (_ALL - _cases(value, fold)) | {_OTHER}
    if name != "IN":
        return _ALL
    negated = bool(value) and str(value[0][0]) == "NEGATE"
    found: _Set = frozenset()
    for code, part in value[negated:]:
        kind = str(code)
        if kind == "LITERAL":
            found |= _cases(part, fold)
        elif kind == "RANGE":
            found |= frozenset().union(*(_cases(each, fold) for each in range(part[0], min(part[1], _OTHER) + 1)))
            found |= {_OTHER} if part[1] >= _OTHER else frozenset()
        else:
            found |= _category(str(part))
    if not negated:
        return found
    return (_ALL - found) | {_OTHER}  # some character beyond is not among those


def _cases(value: int, fold: bool) -> _Set:
    letter = chr(value)
    if not fold or not letter.isalpha():
        return frozenset({min(value, _OTHER)})
    cases = {letter, letter.lower(), letter.upper()}
    return frozenset(min(ord(case), _OTHER) for case in cases if len(case) == 1) | {_OTHER}  # such as the Kelvin sign


def _category(name: str) -> _Set:
    tests: dict[str, Callable[[str], bool]] = {
        "CATEGORY_DIGIT": str.isdigit, "CATEGORY_SPACE": str.isspace,
        "CATEGORY_WORD": lambda c: c.isalnum() or c == "_",
    }  # fmt: skip
    plain = name.replace("_NOT_", "_")
    held = frozenset(each for each in range(_OTHER) if tests[plain](chr(each)))
    if name != plain:
        held = frozenset(range(_OTHER)) - held
    return held | {_OTHER}
