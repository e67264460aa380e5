"""Which detectors work on a log, and which stay blind on it because it does not say what they need.

A detector looks at entities of some kinds, and each kind is named by a field: where the field is absent, it is blind
for that kind. Some need more than names, such as logins that issue credentials. A detector that is not listed here
needs no more than the names of its kinds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final, Literal, NamedTuple, Protocol

from stream.logs.sample import Sample

PRESENT_MIN: Final = 0.01  # of the events: below, a detector has next to nothing to go by

_FIELD: Final = {
    "account": "account", "credential": "credential", "issuer": "issuer", "source": "source_ip",
    "network": "source_ip", "client": "user_agent", "resource": "resource", "subject": "subject", "group": "group",
}  # fmt: skip


class Watcher(Protocol):
    """What is asked of a detector."""

    @property
    def id(self) -> str:
        """Its name."""
        ...

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kinds of entity that it reports on."""
        ...


class Verdict(NamedTuple):
    """Of one detector: whether it works, in part or not at all, and why not."""

    detector: str
    state: Literal["works", "in part", "blind"]
    why: str


class _Need(NamedTuple):
    there: Callable[[Sample], bool]
    without: str
    vital: bool


def _has(name: str) -> Callable[[Sample], bool]:
    return lambda sample: sample.share(name) >= PRESENT_MIN


_CREDENTIAL: Final = _Need(_has("credential"), "no event names a credential", True)
_AMOUNTS: Final = _Need(
    lambda sample: _has("records")(sample) or _has("bytes")(sample), "neither records nor bytes: requests only", False
)
_NEEDS: Final[dict[str, tuple[_Need, ...]]] = {
    "unissued": (_CREDENTIAL, _Need(lambda s: s.issued > 0, "no login in it issues a credential", True)),
    "concurrency": (_CREDENTIAL, _Need(_has("source_ip"), "no event says where it came from", True)),
    "fan_out": (_Need(_has("subject"), "no subject: it counts accounts, and what employees read", False),),
    "browsing": (_Need(_has("subject"), "no subject: it does not know whose data is read", True),),
    "canary": (
        _Need(
            lambda s: _has("object")(s) or _has("subject")(s), "neither object nor subject: resources only", False
        ),
    ),
    "volume": (_AMOUNTS,),
    "exports": (_Need(lambda s: s.exported > 0, "no employee exported or shared anything", False), _AMOUNTS),
    "drip": (_AMOUNTS,),
    "rhythm": (_AMOUNTS,),
    "enumeration": (
        _Need(lambda s: s.numbered > 0 or _has("subject")(s), "neither numbers in objects nor subjects", True),
        _Need(lambda s: s.numbered > 0, "no numbers in objects: walks are not seen", False),
        _Need(_has("subject"), "no subject: reads of others' data are not told from one's own", False),
    ),
    "miss_rate": (_Need(lambda s: s.empty > 0, "nothing in it failed or came back empty", True),),
    "first_seen": (
        _Need(lambda s: _has("source_ip")(s) or _has("user_agent")(s), "neither source_ip nor user_agent", True),
        _Need(_has("country"), "no country", False),
    ),
}  # fmt: skip


def verdicts(detectors: Iterable[Watcher], sample: Sample) -> list[Verdict]:
    """What becomes of each detector on logs like the sample."""
    return [_verdict(each, sample) for each in detectors]


def _verdict(detector: Watcher, sample: Sample) -> Verdict:
    kinds = [kind for kind in detector.kinds if kind in _FIELD]
    dark = [kind for kind in kinds if not _has(_FIELD[kind])(sample)]
    missing = [need for need in _NEEDS.get(detector.id, ()) if not need.there(sample)]
    vital = next((need.without for need in missing if need.vital), "")
    if vital or not sample.events or (kinds and len(dark) == len(kinds)):
        return Verdict(detector.id, "blind", vital or "no event names what it watches")
    why = [need.without for need in missing]
    if dark:
        named = ", ".join(dict.fromkeys(_FIELD[kind] for kind in dark))
        why.insert(0, f"not by {', '.join(dark)} (no {named})")
    return Verdict(detector.id, "in part" if why else "works", "; ".join(why))
