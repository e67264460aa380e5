"""`tripline feedback`: what a person says of an alert goes into the audit log, and the log can be looked at."""

from __future__ import annotations

import argparse
import getpass
import socket
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Final, NamedTuple

from detectors import catalog
from stream import feedback as audit
from stream.alerts import Alert, rfc3339
from stream.analyst.command import configured, told_alerts
from stream.analyst.moments import entity_named, span_ms, when_ms
from stream.cells import wrapped
from stream.console import WIDTH_MAX, Console
from stream.errors import UsageError
from stream.feedback import MUTE_MAX_MS, SCHEMA, Entry, Mute
from stream.mutes import Hidden, mutes_of, reviewed
from stream.ranking import features_of_alert

NOTE_MAX: Final = 2_048


def feedback(arguments: argparse.Namespace) -> int:
    """`tripline feedback`."""
    console = Console(sys.stdout)
    if arguments.list or arguments.review or arguments.verify:
        return _look(arguments, console)
    now_ms = int(time.time() * 1000)
    alert = _alert(arguments)
    said = bool(arguments.verdict) + bool(arguments.mute) + bool(arguments.revoke) + bool(arguments.reset)
    if not said or (alert is not None and not arguments.verdict):
        raise UsageError(
            "tripline feedback: nothing was said: give an alert and true, false or expected; or --mute, --revoke or "
            "--reset; or --list, --review or --verify"
        )
    log = _log(arguments)
    if arguments.revoke:
        audit.revoked(log.load(), arguments.revoke)
    if len(arguments.note) > NOTE_MAX:
        raise UsageError(f"--note: {len(arguments.note):,} characters, the limit is {NOTE_MAX:,}")
    entry = log.append(
        Entry(
            schema=SCHEMA, number=0, previous="", time_ms=now_ms, who=(arguments.who or _user())[:256],
            verdict=arguments.verdict or "", note=arguments.note,
            about=audit.about(alert, features_of_alert(alert)) if alert else None,
            mute=_mute(arguments, alert, now_ms) if arguments.mute else None, revokes=arguments.revoke or 0,
            reset_ms=when_ms(arguments.reset, "--reset", now_ms) if arguments.reset else 0,
        ),
    )  # fmt: skip
    console.line(_told(entry))
    console.line(console.paint(f"  hash {entry.hash}", "dim"))
    if entry.verdict == "true" and entry.about is not None:
        _warn(console, [h for h in reviewed(log.load()) if h.alert == entry.about.id])
    return 0


class _Log(NamedTuple):
    """Where it is said: all entries, and one more."""

    load: Callable[[], list[Entry]]
    append: Callable[[Entry], Entry]


def _log(arguments: argparse.Namespace) -> _Log:
    if arguments.feedback is not None:
        return _Log(partial(audit.load, arguments.feedback), partial(audit.append, arguments.feedback))
    if arguments.config is None:
        raise UsageError(
            "no log of feedback: name its file with --feedback FILE, or the configuration of a deployment on Kafka, "
            "whose topic it is, with --config FILE"
        )
    from stream import feedback_topic  # noqa: PLC0415 - what needs no broker starts without its client

    kafka = configured(arguments.config).kafka
    return _Log(partial(feedback_topic.load, kafka), partial(feedback_topic.append, kafka))


def _alert(arguments: argparse.Namespace) -> Alert | None:
    if arguments.id is None:
        return None
    return told_alerts(arguments, configured(arguments.config), Console(sys.stderr)).one(arguments.id)


def _user() -> str:
    try:
        return f"{getpass.getuser()}@{socket.gethostname()}"
    except OSError:
        raise UsageError("--who: this user has no name; say who you are") from None


def _mute(arguments: argparse.Namespace, alert: Alert | None, now_ms: int) -> Mute:
    known = catalog.detector_ids()
    for name in arguments.detector:
        if name not in known:
            raise UsageError(f"--detector {name}: there is no such detector; there are: {', '.join(known)}")
    entities = [entity_named(text) for text in arguments.entity]
    if not entities and not arguments.detector:
        if alert is None:
            raise UsageError("--mute: of what? Name --entity kind=value, --detector ID, or both")
        entities = [alert.entity]
    first, dots, last = arguments.mute.partition("..")
    if dots:
        start, end = when_ms(first, "--mute", now_ms), when_ms(last, "--mute", now_ms)
    else:
        start, end = now_ms, now_ms + span_ms(arguments.mute, "--mute")
    if not 0 <= start < end:
        raise UsageError(f"--mute {arguments.mute}: ends before it begins")
    if end - start > MUTE_MAX_MS:
        raise UsageError(f"--mute {arguments.mute}: longer than {MUTE_MAX_MS // 86_400_000} days; say it again then")
    return Mute(tuple(entities), tuple(arguments.detector), start, end)


def _look(arguments: argparse.Namespace, console: Console) -> int:
    entries = _log(arguments).load()
    if arguments.verify:
        head = audit.verified(entries, arguments.head)
        console.line(f"{len(entries):,} entries, each as it was written; the latest hash is")
        console.line(f"  {head}")
        advice = "note it elsewhere: --verify --head HASH then shows that nothing before was changed"
        console.line(console.paint(f"  {advice}", "dim"))
    if arguments.list:
        ends = {active.number: active.mute.end_ms for active in mutes_of(entries)}
        for entry in entries:
            for n, line in enumerate(wrapped(_told(entry, ends.get(entry.number)), WIDTH_MAX - 6)):
                console.line(f"      {line}" if n else line)
            for line in wrapped(entry.note, WIDTH_MAX - 6):
                console.line(console.paint(f"      {line}", "dim"))
    if arguments.review:
        found = reviewed(entries)
        _warn(console, found)
        if not found:
            console.line("no mute hid, or would have hidden, an incident that was confirmed")
        return 1 if any(each.hid for each in found) else 0
    return 0


def _told(entry: Entry, end_ms: int | None = None) -> str:
    """An entry on one line."""
    what: list[str] = []
    if entry.verdict and entry.about is not None:
        about = entry.about
        what.append(f"{about.id} is {entry.verdict} ({about.severity}, {about.entity.kind} {about.entity.value})")
    if entry.mute is not None:
        mute = entry.mute
        names = [f"{ref.kind} {ref.value}" for ref in mute.entities] + list(mute.detectors)
        end = rfc3339(end_ms if end_ms is not None else mute.end_ms)[:16].replace("T", " ")
        what.append(f"muted {' and '.join(names)} from {rfc3339(mute.start_ms)[:16].replace('T', ' ')} to {end} UTC")
    if entry.revokes:
        what.append(f"ends the mute of {entry.revokes}")
    if entry.reset_ms:
        what.append(f"forgets what was taught since {rfc3339(entry.reset_ms)[:16].replace('T', ' ')} UTC")
    when = rfc3339(entry.time_ms)[:16].replace("T", " ")
    return f"{entry.number:4}  {when}  {entry.who}: {'; '.join(what)}"


def _warn(console: Console, found: Sequence[Hidden]) -> None:
    for each in found:
        did = "hid" if each.hid else "would have hidden, had it held then,"
        console.line(console.paint(f"  mute {each.mute} {did} {each.alert}, which was confirmed", "high"))
