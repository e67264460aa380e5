"""The self-test: a theft of our own, sent through the whole path on schedule, to know that one would be seen.

`tripline respond` sends one access event to an access topic, of an account that is a *mark* and reads a planted object;
ingest, detect and `canary` treat it as any other; its signal comes back to `respond`, which measures how long that took
and tells nobody. A mark is made of the time and a code over it that only who has the deployment's `hash_key` can make,
and holds for an hour. It opens an incident outside of the budget. Only what is about such an account is kept from
analysts: an incident about anybody else is told, whatever it has to do with a self-test.
"""

from __future__ import annotations

import hashlib
import hmac
import time
from typing import Final

import orjson

from stream.config import Config
from stream.durations import DELAY_S, Durations
from stream.signals import Signal

NAME: Final = "tripline-selftest"  # of the planted object, and of the resource that it lies in
PREFIX: Final = f"{NAME}-"
VALID_MS: Final = 3_600_000
DIGITS_MAX: Final = 15


class Marks:
    """Makes marks and knows them; the key is 32 hexadecimal digits."""

    def __init__(self, hash_key: str) -> None:
        self._key = bytes.fromhex(hash_key)

    def made(self, now_ms: int) -> str:
        """An account's name that is a mark."""
        return f"{PREFIX}{now_ms}-{self._code(str(now_ms))}"

    def known(self, kind: str, value: str, at_ms: int) -> bool:
        """Whether an entity is a mark that was made within an hour of this time."""
        if kind != "account" or not value.startswith(PREFIX):
            return False
        made, _, code = value.removeprefix(PREFIX).partition("-")
        if not (made.isascii() and made.isdigit() and len(made) <= DIGITS_MAX and code.isascii()):
            return False
        return hmac.compare_digest(code, self._code(made)) and abs(at_ms - int(made)) <= VALID_MS

    def _code(self, text: str) -> str:
        return hashlib.blake2b(text.encode(), key=self._key, person=b"selftest", digest_size=16).hexdigest()


class SelfTest:
    """What `respond` keeps of it, since it started. `detected_at`: epoch seconds, of the start before there is any."""

    def __init__(self, config: Config) -> None:
        self.topic = config.selftest.topic
        self.every_s = config.selftest.every_s if self.topic else 0.0
        self.sent = 0
        self.detected = 0
        self.detected_at = time.time()
        self.delays = Durations(DELAY_S)
        self._marks = Marks(config.hash_key)

    def event(self, now_ms: int) -> bytes:
        """One theft, as an access event in the native format."""
        mark = self._marks.made(now_ms)
        fields = {"time": now_ms, "account": mark, "id": mark, "action": "export", "resource": NAME, "object": NAME}
        return orjson.dumps(fields)

    def takes(self, signal: Signal) -> bool:
        """Whether a signal is of a self-test, and so is not for analysts; the first of each is its detection."""
        if not self.topic or not self._marks.known(signal.kind, signal.value, signal.crossed):
            return False
        if signal.revision == 1:
            self.detected += 1
            self.detected_at = time.time()
            self.delays.add(self.detected_at - signal.crossed / 1000)
        return True
