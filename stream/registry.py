"""Values framed by a schema registry: a zero byte, the schema's id in four bytes, big-endian, and the value.

A framed value becomes the JSON text of the same record, and then is what any other record is. Schemas are asked for
over HTTP (GET /schemas/ids/ID, as the Confluent Schema Registry has it, and others after it) and kept.

Three things can be wrong, and they are kept apart. The registry does not answer, or not as one: nothing can be said
about the record, so it waits (`NoAnswer`). The registry knows no such id, or its schema cannot be used, or the value is
none of that schema: the record is a dead letter (`BadRecord`). What reads a kind of schema is not installed: a person
has to see to it (`TriplineError`).
"""

from __future__ import annotations

import threading
import time
import urllib.parse
from collections import OrderedDict
from collections.abc import Callable, Iterable
from typing import Annotated, Final

import msgspec
from msgspec import Meta

from stream.checks import BadRecord
from stream.config import Config
from stream.endpoint import Answer, Endpoint, NoAnswer
from stream.errors import TriplineError
from stream.security import tls

MAGIC: Final = b"\0"
HEAD_BYTES: Final = 5
SCHEMAS_MAX: Final = 1_024  # kept; a registry has a few for each topic
UNKNOWN_S: Final = 60.0  # for which an id that the registry does not know is not asked for again
REST_S: Final = 1.0  # after a request without an answer, in which none is made
REFERENCES_MAX: Final = 64  # schemas that one may be made of
UNKNOWN_CODES: Final = (40401, 40402, 40403)  # a registry's own codes for no subject, no version, no schema

Decode = Callable[[bytes], bytes]
"""From a value without its frame to JSON; raises BadRecord."""


class Reference(msgspec.Struct, frozen=True):
    """Where another schema is that this one uses, and the name that it uses."""

    name: str
    subject: str
    version: int


class Registered(msgspec.Struct, frozen=True, rename="camel"):
    """A schema as the registry gives it."""

    schema: str
    schema_type: str = "AVRO"
    references: Annotated[tuple[Reference, ...], Meta(max_length=REFERENCES_MAX)] = ()


class _Refused(msgspec.Struct):
    error_code: int = 0


class Registry:
    """The schemas of one registry; thread-safe."""

    def __init__(self, config: Config) -> None:
        given = config.registry
        files = given.ca_file, given.cert_file, given.key_file
        self._endpoint = Endpoint(
            "registry.url", given.url, username=given.username, password_file=given.password_file,
            context=tls("registry.*_file", *files) if given.url.startswith("https") else None,
            plaintext_allowed=config.kafka.plaintext_allowed, timeout_s=given.timeout_s,
        )  # fmt: skip
        self._decoders: OrderedDict[int, Decode | BadRecord] = OrderedDict()
        self._until: dict[int, float] = {}  # monotonic, of ids that are not known
        self._rest_until = 0.0
        self._why: NoAnswer | None = None
        self._lock = threading.Lock()
        self.requests = 0
        self.failures = 0

    def decoders(self, values: Iterable[bytes]) -> dict[int, Decode | BadRecord]:
        """What reads each schema that the values name, or why nothing does; NoAnswer where that cannot be told now."""
        ids = {int.from_bytes(value[1:HEAD_BYTES]) for value in values if is_framed(value)}
        with self._lock:
            return {number: self._decoder(number) for number in sorted(ids)}

    def check(self) -> str:
        """What is wrong with the registry, or nothing."""
        try:
            answer = self._endpoint.ask("GET", "/schemas/types")
        except NoAnswer as why:
            return str(why)
        return "" if answer.status == 200 else str(self._odd(answer))

    def _decoder(self, number: int) -> Decode | BadRecord:
        known = self._decoders.get(number)
        if known is not None and self._until.get(number, float("inf")) > time.monotonic():
            self._decoders.move_to_end(number)
            return known
        try:
            made: Decode | BadRecord = self._made(number)
        except BadRecord as why:
            made = why
            self._until[number] = time.monotonic() + UNKNOWN_S
        else:
            self._until.pop(number, None)
        self._decoders[number] = made
        self._decoders.move_to_end(number)
        if len(self._decoders) > SCHEMAS_MAX:
            oldest, _ = self._decoders.popitem(last=False)
            self._until.pop(oldest, None)
        return made

    def _made(self, number: int) -> Decode:
        found = self._found(f"/schemas/ids/{number}", f"id {number}")
        if found.schema_type == "JSON":
            return bytes
        if found.schema_type == "AVRO":
            try:
                from stream import avro  # noqa: PLC0415 - is installed where it is needed
            except ModuleNotFoundError as why:
                raise _missing(number, "Avro", "avro") from why
            return avro.decoder(found, self._referenced(found, ""))
        if found.schema_type == "PROTOBUF":
            try:
                from stream import protobuf  # noqa: PLC0415 - as above
            except ModuleNotFoundError as why:
                raise _missing(number, "Protobuf", "protobuf") from why
            found = self._found(f"/schemas/ids/{number}?format=serialized", f"id {number}")
            return protobuf.decoder(found, self._referenced(found, "?format=serialized"))
        raise BadRecord("unusable_schema", f"schema {number} is of type {found.schema_type[:32]!r}, which is not known")

    def _referenced(self, top: Registered, form: str) -> list[tuple[str, Registered]]:
        """The schemas that one is made of, each by its name, those that others need first."""
        found: dict[str, Registered] = {}

        def walk(schema: Registered, above: tuple[str, ...]) -> None:
            for each in schema.references:
                if each.name in above:
                    raise BadRecord("unusable_schema", f"schema {each.name[:64]!r} refers to itself")
                if each.name in found:
                    continue
                if len(found) + len(above) >= REFERENCES_MAX:
                    raise BadRecord("unusable_schema", f"made of more than {REFERENCES_MAX} schemas")
                subject = urllib.parse.quote(each.subject, safe="")
                inner = self._found(f"/subjects/{subject}/versions/{each.version}{form}", f"reference {each.name!r}")
                walk(inner, (*above, each.name))
                found[each.name] = inner

        walk(top, ())
        return list(found.items())

    def _found(self, path: str, what: str) -> Registered:
        """What the registry has there; BadRecord where it has nothing, NoAnswer where it does not say."""
        if self._why is not None and time.monotonic() < self._rest_until:
            raise self._why
        self.requests += 1
        try:
            answer = self._endpoint.ask("GET", path)
            if answer.status == 404 and _code(answer) in UNKNOWN_CODES:
                raise BadRecord("unknown_schema", f"the schema registry knows no {what}")
            if answer.status != 200:
                raise self._odd(answer)
            try:
                found = msgspec.json.decode(answer.body, type=Registered)
            except (msgspec.DecodeError, UnicodeDecodeError):
                raise self._odd(answer) from None
        except NoAnswer as why:
            self.failures += 1
            self._why, self._rest_until = why, time.monotonic() + REST_S
            raise
        self._why = None
        return found

    def _odd(self, answer: Answer) -> NoAnswer:
        """An answer that tells nothing of a schema: waiting for a better one loses nothing, a guess would."""
        hint = {401: "see registry.username and its password's file", 403: "its user lacks the right to read schemas"}
        said = hint.get(answer.status, "see that registry.url is a schema registry's, and that it is well")
        return NoAnswer(f"{self._endpoint}: answers {answer.status} and no schema; {said}")


def is_framed(value: bytes) -> bool:
    """Whether a value begins as a framed one does: no text does."""
    return value[:1] == MAGIC


def unframed(value: bytes, decoders: dict[int, Decode | BadRecord], bytes_max: int) -> bytes:
    """The JSON text of a framed value; BadRecord where there is none, or it is longer than bytes_max."""
    if len(value) <= HEAD_BYTES:
        raise BadRecord("schema_mismatch", f"{len(value)} bytes: a frame without a value")
    decode = decoders[int.from_bytes(value[1:HEAD_BYTES])]
    if isinstance(decode, BadRecord):
        raise decode
    text = decode(value[HEAD_BYTES:])
    if len(text) > bytes_max:
        raise BadRecord("record_too_long", f"{len(text)} bytes as JSON, the limit is {bytes_max}")
    return text


def _code(answer: Answer) -> int:
    try:
        return msgspec.json.decode(answer.body, type=_Refused).error_code
    except (msgspec.DecodeError, UnicodeDecodeError):
        return 0


def _missing(number: int, kind: str, extra: str) -> TriplineError:
    return TriplineError(
        f"schema {number} of the registry is {kind}, and what reads it is not installed: "
        f"pip install 'tripline[{extra}]'"
    )
