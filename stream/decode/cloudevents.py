"""CloudEvents in structured mode: a JSON envelope, and in its data a record of any other format.

Fields: account, credential, issuer, source_ip, user_agent, action, resource, object, subject, records, bytes, outcome
and time are those of the record in data (an object or a text) or data_base64, read by its own decoder. id: the
record's own, else the envelope's source and id. A native record in data may leave out its time: the envelope's stands.
Cannot tell: anything that data does not; type, source and subject of an envelope are the sender's words and no
access. In binary mode Kafka's headers hold the envelope and the value is data: name the format of data, the headers
are not looked at.
"""

from __future__ import annotations

import base64
import binascii
from typing import Final

import orjson

from stream.decode import Format
from stream.decode._envelope import inner
from stream.decode._json import Record, load, peek, text
from stream.events import AccessEvent, BadRecord

_MARKS: Final = {"specversion", "id", "source", "type"}
_NATIVE: Final = {"account", "action", "resource"}


def _data(envelope: Record) -> bytes:
    """The record in the envelope; raises BadRecord."""
    data = envelope.get("data")
    if isinstance(data, dict):
        if "time" not in data and data.keys() >= _NATIVE:
            data |= {"time": envelope.get("time")}
        return orjson.dumps(data)
    if isinstance(data, str):
        return data.encode(errors="replace")
    packed = envelope.get("data_base64")
    if not isinstance(packed, str):
        raise BadRecord("missing_field", "neither data nor data_base64 holds a record")
    try:
        return base64.b64decode(packed, validate=True)
    except (binascii.Error, ValueError) as why:
        raise BadRecord("wrong_type", f"data_base64: {why}") from None


def matches(record: bytes) -> bool:
    """Whether it has the attributes that every envelope must have."""
    return peek(record).keys() >= _MARKS


def decode(record: bytes) -> list[AccessEvent]:
    """The events of the record in it; raises BadRecord."""
    envelope = load(record)
    if not envelope.keys() >= _MARKS:
        raise BadRecord(
            "unknown_format", f"not a CloudEvents envelope: no {', '.join(sorted(_MARKS - envelope.keys()))}"
        )
    held = _data(envelope)
    fmt = inner("cloudevents", held)
    if fmt is None:
        raise BadRecord("unknown_format", "no format recognises what is in data; a mapping can read it by data.FIELD")
    events = fmt.decode(held)
    if len(events) == 1 and not events[0].id:
        events[0].id = f"{text(envelope, 'source')}/{text(envelope, 'id')}"
    return events


FORMAT = Format("cloudevents", matches, decode)
