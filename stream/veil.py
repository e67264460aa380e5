"""Identities in alerts replaced by tokens that only who has the key can resolve.

A token is the identity itself, encrypted deterministically: AES-SIV (RFC 5297) with a 64-byte key, of the identity
padded to a multiple of 16 bytes, so that of its length only that is seen. The same identity has the same token as long
as the key stands, so alerts can still be told to concern the same person, and there is no map to keep, to copy between
processes or to lose. What a token is changed to no longer decrypts, so nothing is ever revealed that was not hidden.

Keys stand in a file, one a line, `ID HEX`, the one in use first. To rotate, put a new line before the others: older
tokens are revealed for as long as their line is there, and never again once it is deleted.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec
import orjson
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESSIV

from detectors.fusion import Evidence
from stream.config import Config
from stream.errors import UsageError
from stream.secret import secret
from stream.signals import Signal

KEY_BYTES: Final = 64
BLOCK_BYTES: Final = 16
_KEY: Final = re.compile(r"([a-z0-9]{1,16})\s+([0-9a-fA-F]{128})", re.ASCII)
_TOKEN: Final = re.compile(r"tk-([a-z0-9]{1,16})-([a-z2-7]{52,})", re.ASCII)  # 52: of a tag and one block


class Keys:
    """The keys of a file; UsageError where they cannot be had, which holds none of them."""

    def __init__(self, path: Path) -> None:
        self._ciphers: dict[str, AESSIV] = {}
        for number, line in enumerate(secret(path).splitlines(), 1):
            matched = _KEY.fullmatch(line.strip())
            if not matched:
                raise UsageError(
                    f"{path}: line {number} is no key; write an id of letters and digits, a space and 128 hexadecimal "
                    "digits, such as `openssl rand -hex 64` prints"
                )
            self._ciphers.setdefault(matched[1], AESSIV(bytes.fromhex(matched[2])))
        self._current = next(iter(self._ciphers))

    def token(self, identity: str) -> str:
        """The token of an identity under the key in use."""
        data = identity.encode(errors="surrogatepass")
        data += b"\x80" + bytes(-(len(data) + 1) % BLOCK_BYTES)  # ISO/IEC 7816-4
        hidden = self._ciphers[self._current].encrypt(data, None)
        return f"tk-{self._current}-{base64.b32encode(hidden).decode().rstrip('=').lower()}"

    def identity(self, token: str) -> str | None:
        """The identity behind a token; None where no key is its own, or it is none."""
        matched = _TOKEN.fullmatch(token)
        if not matched or matched[1] not in self._ciphers:
            return None
        text = matched[2].upper()
        try:
            data = self._ciphers[matched[1]].decrypt(base64.b32decode(text + "=" * (-len(text) % 8)), None)
        except (InvalidTag, binascii.Error, ValueError):
            return None
        return data.rstrip(b"\x00")[:-1].decode(errors="surrogatepass")

    def reveal(self, text: str) -> str:
        """The text with every token in it resolved that can be; JSON stays JSON."""
        try:
            return orjson.dumps(self._revealed(orjson.loads(text))).decode()
        except orjson.JSONDecodeError:
            return self._revealed_text(text)

    def _revealed(self, value: Any) -> Any:
        if isinstance(value, dict):
            return {key: self._revealed(each) for key, each in value.items()}
        if isinstance(value, list):
            return [self._revealed(each) for each in value]
        return self._revealed_text(value) if isinstance(value, str) else value

    def _revealed_text(self, text: str) -> str:
        return _TOKEN.sub(lambda found: found[0] if (name := self.identity(found[0])) is None else name, text)


def name_of(config: Config) -> Callable[[str, str], str]:
    """The name under which an entity of a kind is shown: its token where identities are hidden, or the value itself."""
    if not config.identity_keys_file:
        return lambda _kind, value: value
    keys, kinds = Keys(Path(config.identity_keys_file)), frozenset(config.identity_kinds)
    return lambda kind, value: keys.token(value) if kind in kinds else value


def veil_of(config: Config) -> Callable[[Signal], Signal]:
    """What hides the identities of a signal before it is worded; nothing where no keys are configured."""
    if not config.identity_keys_file:
        return lambda signal: signal
    hidden = name_of(config)

    def evidence(members: Sequence[Evidence]) -> list[Evidence]:
        return [msgspec.structs.replace(e, value=hidden(e.kind, e.value)) for e in members]

    def veil(signal: Signal) -> Signal:
        return msgspec.structs.replace(
            signal, value=hidden(signal.kind, signal.value), members=evidence(signal.members),
            related=[msgspec.structs.replace(r, value=hidden(r.kind, r.value)) for r in signal.related],
        )  # fmt: skip

    return veil
