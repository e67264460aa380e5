"""The native format: one JSON object a line whose fields are those of `AccessEvent`.

Fields: as they are named. `account` is required: for whoever reads without being logged in, put the address there.
Null is the same as absent; unknown fields are skipped by the parser without being looked at, and so not counted:
counting them would cost a second parse.
Cannot tell: nothing; it is what the others are decoded into.
"""

from __future__ import annotations

import msgspec

from stream.decode import Format
from stream.decode._flat import quick
from stream.decode._json import load, peek
from stream.events import AccessEvent, BadRecord

_read = msgspec.json.Decoder(AccessEvent).decode


def matches(record: bytes) -> bool:
    """Whether the fields that are required, and no other format has together, are there."""
    return {"time", "account", "action"} <= peek(record).keys()


def decode(record: bytes) -> list[AccessEvent]:
    """The one event; raises BadRecord."""
    try:
        return [_read(record)]
    except RecursionError:
        raise BadRecord("too_deep", "JSON nested too deep to be an event") from None
    except UnicodeDecodeError as why:
        raise BadRecord("not_utf8", str(why)) from None
    except msgspec.ValidationError as why:
        message = str(why)
    except msgspec.DecodeError as why:
        load(record)  # says what is wrong with the JSON more plainly
        raise BadRecord("not_json", str(why)) from None
    if "missing required" in message:
        raise BadRecord("missing_field", message)
    if "Invalid enum value" in message:
        raise BadRecord(f"unknown_{message.rpartition('$.')[2].strip('`')}", message)
    if "out of range" in message:
        raise BadRecord("time_out_of_range" if "$.time" in message else "count_out_of_range", message)
    raise BadRecord("wrong_type", message)


FORMAT = Format("native", matches, decode, fast=_read, quick=quick)
