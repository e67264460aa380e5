"""What is read from files: logs of any kind, and whatever a person's settings name."""

from __future__ import annotations

import gzip
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import msgspec
import numpy as np
import zstandard

from detectors import catalog
from stream import config as configuration
from stream.alerts import encode
from stream.analyst.told import Told, Unread, Wanted, decoded, file_lines
from stream.deadletters import DeadLetter, encoded
from stream.decode import formats
from stream.enrich.directory import Directory
from stream.enrich.mmdb import Broken, Database, country_in, system_in
from stream.errors import TriplineError
from stream.logs import letters
from stream.logs.propose import proposed
from stream.sink import LineSink
from stream.source import Chunk, open_source
from stream.subscribers import settings_by_kind
from tests import pages
from tests.enrich.mmdb_file import file_of
from tests.formats.test_contract import FIXTURES
from tests.fuzz.target import Target

RECORD_BYTES_MAX: Final = 3_000  # small, so that inputs have records that are too long
BLOCKS: Final = (1 << 20, 7, 64, 1000)  # bytes read at a time
DEPLOY: Final = Path(__file__).parents[2] / "deploy"

Piece = tuple[int, bytes]  # a place and how what is there begins


@contextmanager
def file_with(data: bytes) -> Iterator[Path]:
    """A file with those bytes."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "input"
        path.write_bytes(data)
        yield path


def read(data: bytes) -> None:
    """A log comes out the same however much of it is read at a time, and from wherever one goes on."""
    if not data:
        return
    block_bytes, log = BLOCKS[data[0] % len(BLOCKS)], data[1:]
    with file_with(log) as path:
        name = str(path)
        whole = chunks(name, BLOCKS[0])
        some = chunks(name, block_bytes)
        if any(letter.reason == "corrupt_file" for chunk in whole + some for letter in chunk.dead):
            return  # how much comes of a packed file before it breaks is told by blocks
        if not any(letter.reason == "truncated_file" for chunk in whole for letter in chunk.dead):
            assert pieces(whole) == pieces(some), f"in blocks of {block_bytes} bytes"
        at = data[0] // len(BLOCKS) % max(len(some), 1)
        if some and some[at].position.offset:
            again = "truncated_file"  # which it still is
            rest = open_source([name], resume=some[at].position, record_bytes_max=RECORD_BYTES_MAX)
            assert pieces(some[: at + 1], again) + pieces(list(rest), again) == pieces(some, again)


def chunks(name: str, block_bytes: int) -> list[Chunk]:
    """All of a file."""
    return list(open_source([name], record_bytes_max=RECORD_BYTES_MAX, block_bytes=block_bytes))


def pieces(given: list[Chunk], but: str = "") -> list[Piece]:
    """Records and dead letters in their order, but those of one reason. A record that no format claims is a dead
    letter, and what claims it may come with the next block: so which of the two it is is not looked at."""  # fmt: skip
    found = [each for c in given for each in zip(c.lines.tolist(), (r[:64] for r in c.records), strict=True)]
    found += [(letter.line, letter.raw[:64]) for c in given for letter in c.dead if letter.reason != but]
    return sorted(found)


@cache
def logs() -> list[bytes]:
    """A log of each format, some of them packed, some as documents and as CSV."""
    whole = [b"\n".join(path.read_bytes().splitlines()[:3]) for path in sorted(FIXTURES.iterdir())]
    packed = [gzip.compress(whole[0], mtime=0), zstandard.compress(whole[0]), gzip.compress(b"", mtime=0)]
    document = b'{"Records": [' + b",".join(whole[4].splitlines()) + b"]}"
    comma = b'time,account,action,resource\r\n1735689600000,ann,read,"/a, ""b""\n"\r\n1735689600000,bob,read\n'
    return [bytes([n % 16]) + log for n, log in enumerate([*whole, *packed, document, comma, b"[\n{}\n,{}]", b"{\n}"])]


def inferred(data: bytes) -> None:
    """What `tripline infer` proposes is TOML, or it says why there is nothing to propose."""
    with file_with(data) as path, suppress(TriplineError):
        tomllib.loads(proposed(str(path), RECORD_BYTES_MAX).text)


def house_logs() -> list[bytes]:
    """Logs that no format claims."""
    row = b'{"ts": 1750748400, "user": {"id": "u-%d"}, "op": "GET", "url": "/users/17", "n": %d}'
    return [
        b"\n".join(row % (n, n) for n in range(3)),
        b"time;user;op;path\n2025-01-01T00:00:00Z;ann;read;/a\n2025-01-01T00:00:01Z;bob;read;/b\n",
        b't=2025-01-01T00:00:00Z user=ann op=GET path="/a b"\n',
    ]


def directory(data: bytes) -> None:
    """A directory is one or says its mistake."""
    with suppress(Broken):
        made = Directory(data)
        assert len(made) > 0
        assert str(made)
        made.person("ann")


def directories() -> list[bytes]:
    """One of each kind."""
    return [
        b'account,group,kind,aliases\nann,sales,employee,"a@x;b@x"\nsvc,,service,\n',
        b'{"account": "ann", "group": "sales", "aliases": ["a@x", 7]}\n{"account": "bob", "kind": "customer"}\n',
    ]


ADDRESSES: Final = np.random.default_rng(1).integers(0, 256, (64, 16), np.uint8)
ADDRESSES[:32, :12] = 0


def places(data: bytes) -> None:
    """A database of places is one or is refused, and no address leads out of it."""
    try:
        database = Database(data)
    except Broken:
        return
    found = database.find(ADDRESSES, np.arange(64) < 32)
    values = [database.value(leaf) for leaf in found.tolist() if leaf >= 0] + database.some()
    for value in values:
        country_in(value)
        system_in(value)


def databases() -> list[bytes]:
    """One with each size of a record."""
    networks = {
        "0.0.0.0/1": {"country": {"iso_code": "SE"}, "more": [1.5, -7, True, b"\0", 2**70]},
        "128.0.0.0/2": {"autonomous_system_number": 64_500}, "2001:db8::/32": {"country_code": "NO"},
    }  # fmt: skip
    return [file_of(networks, bits) for bits in (24, 28, 32)] + [file_of({"10.0.0.0/8": {"asn": "AS1"}}, 24, 4)]


def configured(data: bytes) -> None:
    """A configuration is one, of which a version can be told, or all its mistakes are."""
    with file_with(data) as path, suppress(TriplineError):
        made = configuration.load(path, {}, catalog.detector_ids(), list(formats()), settings_by_kind)
        assert len(configuration.fingerprint(made)) == 16


def configurations() -> list[bytes]:
    """The one that is shipped, whole and by table, and one with most of what it leaves out."""
    whole = (DEPLOY / "tripline.toml").read_bytes()
    tables = [b"[" + table for table in whole.split(b"\n[")[1:]]
    more = b"""hash_key = "k"
[enrich]
client_families = true
networks = { office = ["203.0.113.0/24", "private"] }
[[enrich.identities]]
pattern = "(?P<who>[a-z]+)@x"
account = "{who}"
[canary]
objects = ["a"]
[sensitivity]
restricted = ["/a*"]
[[subscribers]]
kind = "webhook"
name = "w"
url = "https://example.org"
[[subscribers]]
kind = "slack"
"""
    return [more, *tables]


def alerts(data: bytes) -> None:
    """Each line of a file of alerts is an alert or is counted."""
    with file_with(data) as path, suppress(TriplineError):
        unread, told = Unread(), Told()
        for alert in decoded(file_lines(str(path)), unread):
            told.add(alert)
        told.those(Wanted(severity="high", detector="volume"))
        for alert in told.those(lambda _alert: True):
            encode(told.one(alert.id))
        assert str(unread)


def told_alerts() -> list[bytes]:
    """Two of one alert, and what is none."""
    return [encode(pages.alert()), encode(pages.alert(revision=2, status="closed")) + b"{}\n"]


def dead(data: bytes) -> None:
    """Each line of a file of dead letters is one, or it is said which is not; of those, none is lost in a replay."""
    with file_with(data) as path, suppress(TriplineError):
        found = list(letters.read(str(path)))
        letters.counted(found)
        events, left = (str(path.with_name(name)) for name in ("events", "left"))
        with LineSink(events, "events") as sink, LineSink(left, "dead letters") as still:
            told = letters.replayed(found, "auto", sink, still)
        assert told.read == len(found)
        assert told.events + told.dead >= told.read or any(not letter.raw for letter in found)
        list(letters.read(left))


def dead_letters() -> list[bytes]:
    """Some, of a file and of a topic."""
    native = (FIXTURES / "native.jsonl").read_bytes().splitlines()[0]
    made = [DeadLetter(raw, len(raw), "log", 7, "unknown_format", "no") for raw in (native, b"\xff\0", b"x" * 40)]
    topic = {
        "origin": "kafka:access/0",
        "offset": 5,
        "reason": "wrong_type",
        "detail": "",
        "raw_bytes": 3,
        "raw": "abc",
    }
    return [*map(encoded, made), msgspec.json.encode(topic)]


TARGETS: Final = [
    Target("source", read, logs, compiled=True), Target("infer", inferred, house_logs),
    Target("directory", directory, directories),
    Target("places", places, databases, compiled=True), Target("config", configured, configurations),
    Target("alerts", alerts, told_alerts), Target("letters", dead, dead_letters),
]  # fmt: skip
