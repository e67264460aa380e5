"""Identity: one person under several names. What an account is called, for everything that comes after, by the
directory's word and by rules.

    1. a name that the directory has, as an account or among an account's aliases, is that account
    2. of another name the first rule whose pattern matches it whole makes another, which may again be in the directory

Who acts in a role is the person, not the role: the rule's `role` is the session's issuer, where the event names none.
That is what it is, the authority that handed out the credential, and what AWS's own records have there; detectors then
see a role that is used by a crowd or from elsewhere, and an alert names it. A peer group it is not: that is the
person's, in whatever role.

A name is looked up once and kept (`distinct`). It has at most 256 bytes, and patterns cannot be made slow by what they
are given (`stream.patterns`), so that no name holds up a worker.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from stream.checks import shortened
from stream.enrich.directory import Directory
from stream.enrich.settings import PLACEHOLDER, Identity
from stream.patterns import compiled


class People:
    """Accounts by any of their names; the rules have no mistake."""

    fields: Final = 4

    def __init__(self, rules: Sequence[Identity], directory: Directory | None) -> None:
        self._rules = [(compiled(rule.pattern), rule) for rule in rules]
        self._directory = directory
        self._renames = bool(rules) or (directory is not None and directory.aliases > 0)

    def find(self, names: list[str]) -> list[list[str]]:
        """Of each name: what the account is called, its role, its group and its kind; "" for what stays as it came."""
        found = [self._known(name) for name in names]
        return [[each[field] for each in found] for field in range(self.fields)]

    def _known(self, name: str) -> tuple[str, str, str, str]:
        made, role = self._ruled(name)
        person = None
        if self._directory is not None:
            person = self._directory.person(name) or self._directory.person(made)
        account = person.account if person and self._renames else made
        return account if account != name else "", role, person.group if person else "", person.kind if person else ""

    def _ruled(self, name: str) -> tuple[str, str]:
        """What the first rule that matches makes of a name, and the role in it; "" for none."""
        for pattern, rule in self._rules:
            if found := pattern.fullmatch(name):
                made = _written(rule.account, found)
                if any(map(str.isalnum, made)):  # "*" stands for sessions of any name, and is nobody's
                    return made, _written(rule.role, found)
        return "", ""


def _written(template: str, found: re.Match[str]) -> str:
    """The template with the pattern's groups in it, shortened to what a field holds; spaces around it are not its own.

    >>> _written("{b}-{a}", re.fullmatch("(?P<a>.)(?P<b>.)", "xy"))
    'y-x'
    """
    return shortened(PLACEHOLDER.sub(lambda group: found[group[1]] or "", template).strip())
