"""What is known of names, asked for once a name and not once an event, and put into a column where nothing stands."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import numpy as np

from stream.keys import I32, Index, grown, resolve
from stream.siphash import U64
from stream.texts import Packed

KEPT_MAX: Final = 131_072  # names, before all are forgotten and asked for anew: about 50 bytes each


class Distinct:
    """Answers about the names of a column: some texts each, "" where nothing is known.

    find(names): for each of the `fields` its answers, in the order of the names; they depend on nothing but the name.
    """

    def __init__(self, fields: int, find: Callable[[list[str]], list[list[str]]], key: U64) -> None:
        self._fields, self._find, self._key = fields, find, key
        self._forget(0)

    def _forget(self, room: int) -> None:
        self._index = Index(max(KEPT_MAX, room), self._key)
        self._codes: Any = np.zeros((self._fields, 1024), np.int32)
        self._number: list[dict[str, int]] = [{"": 0} for _ in range(self._fields)]
        self._texts: list[list[str]] = [[""] for _ in range(self._fields)]

    def __call__(self, column: Packed, hashes: U64) -> list[Answers]:
        """The answers to each text of the column, a field after the other; hashes: uint64[1, n], theirs."""
        if self._index.count + len(column) > self._index.limit:
            self._forget(len(column) + 1)
        before = self._index.count
        slots = resolve([self._index], hashes, [column])[0]
        if (after := self._index.count) > before:
            self._learn(before, after)
        slots = np.maximum(slots, 0)  # nobody owns slot 0, and nothing is known of it
        return [Answers(codes[slots], texts) for codes, texts in zip(self._codes, self._texts, strict=True)]

    def _learn(self, first: int, end: int) -> None:
        if end > self._codes.shape[1]:
            self._codes = np.stack([grown(codes, end) for codes in self._codes])
        found = self._find([self._index.name(slot) for slot in range(first, end)])
        for codes, number, texts, answers in zip(self._codes, self._number, self._texts, found, strict=True):
            for slot, answer in enumerate(answers, first):
                if answer not in number:
                    number[answer] = len(texts)
                    texts.append(answer)
                codes[slot] = number[answer]


class Answers:
    """One text for each event, "" for most: by its number (int32[n], 0 for "") among `texts`."""

    def __init__(self, codes: I32, texts: list[str]) -> None:
        self.codes, self.texts = codes, texts

    def where(self, wanted: Any) -> Answers:
        """Only where `wanted` (bool[n]) holds."""
        return Answers(np.where(wanted, self.codes, 0).astype(np.int32), self.texts)

    def into(self, column: Packed) -> Packed:
        """The column with the answers in the place of what stood there, wherever there is one."""
        given = self.codes > 0
        if not given.any():
            return column
        used, place = np.unique(self.codes, return_inverse=True)
        answers = Packed.of([self.texts[code] for code in used.tolist()])
        own = column.compact()
        buffer = np.concatenate([own.buffer, answers.buffer])
        buffer.setflags(write=False)
        starts = np.where(given, answers.starts[place] + len(own.buffer), own.starts)
        stops = np.where(given, answers.stops[place] + len(own.buffer), own.stops)
        return Packed(buffer, starts, stops)


def absent(column: Packed) -> Any:
    """Where nothing stands: bool[n]."""
    return column.starts == column.stops
