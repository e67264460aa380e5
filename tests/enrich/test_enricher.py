"""What an event does not say is filled in from what is known; what it says stays, however the log was cut."""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream import blocks, wire
from stream.batch import Batch, Record
from stream.blocks import PackedBlock, joined, packed
from stream.config import Config, fingerprint
from stream.decode import decode_packed, format_named
from stream.enrich import distinct
from stream.enrich.enricher import Enricher, enricher_of
from stream.enrich.settings import Enrich, Named
from stream.errors import UsageError
from stream.events import ACCOUNT_KINDS
from stream.ingest import Ingest
from stream.keys import ABSENT
from stream.origins import unstamped
from stream.records import Records
from stream.run import Options, Run
from stream.texts import TEXTS
from stream.warm import _Counts
from tests.enrich.mmdb_file import file_of
from tests.streams import START_MS, block, event

COUNTRIES = {"198.51.100.0/24": "SE", "203.0.113.0/24": "NO", "2001:db8::/32": "FI"}
SYSTEMS = {"198.51.100.0/24": 64500, "198.51.100.128/25": 64501}
NETWORKS: Named = {"office": "203.0.113.0/24", "vpn": ("198.51.100.200/29", "2001:db8:8::/48"), "internal": "private"}
PEOPLE = {"Mara@example.com": ("claims", "employee"), "backup": ("", "service"), "otto": ("sales", "")}


def files(folder: Path) -> Enrich:
    """Settings with all there is, in the folder."""
    country, system, people = folder / "country.mmdb", folder / "asn.mmdb", folder / "people.csv"
    country.write_bytes(file_of({net: {"country": {"iso_code": code}} for net, code in COUNTRIES.items()}))
    system.write_bytes(file_of({net: {"autonomous_system_number": n} for net, n in SYSTEMS.items()}))
    people.write_text("account,group,kind\n" + "".join(f"{a},{g},{k}\n" for a, (g, k) in PEOPLE.items()))
    return Enrich(country_db=str(country), asn_db=str(system), directory=str(people), networks=NETWORKS)


@pytest.fixture(scope="module")
def enricher(tmp_path_factory: pytest.TempPathFactory) -> Enricher:
    return Enricher(files(tmp_path_factory.mktemp("enrich")), "key", print)


def naive(row: dict[str, Any]) -> dict[str, Any]:
    """One event filled in by the words of the settings, and by searching through everything."""
    group, kind = next((v for a, v in PEOPLE.items() if a.lower() == row["account"].lower()), ("", ""))
    out = row | {"group": row["group"] or group, "account_kind": row["account_kind"]}
    if out["account_kind"] == "unknown" and kind:
        out["account_kind"] = kind
    try:
        address: Any = ipaddress.ip_address(row["source_ip"])
    except ValueError:
        return out
    address = getattr(address, "ipv4_mapped", None) or address

    def smallest(ranges: list[tuple[str, Any]]) -> Any:
        around = [(ipaddress.ip_network(n), v) for n, v in ranges if address in ipaddress.ip_network(n)]
        return max(around, key=lambda each: each[0].prefixlen)[1] if around else ""

    out["country"] = row["country"] or smallest(list(COUNTRIES.items()))
    system = smallest(list(SYSTEMS.items()))
    if system and not row["network"].startswith("AS"):
        out["network"] = f"AS{system}"
    private = ["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "127.0.0.0/8", "fe80::/10", "::1/128"]
    named = [("203.0.113.0/24", "office"), ("198.51.100.200/29", "vpn"), ("2001:db8:8::/48", "vpn")]
    out["network"] = smallest(named + [(net, "internal") for net in private]) or out["network"]
    return out


def rows(given: PackedBlock) -> list[dict[str, Any]]:
    """What enrichment may touch, and the rest of the text."""
    kinds = [ACCOUNT_KINDS[code] for code in given.account_kind.tolist()]
    text = [dict(zip(TEXTS, row, strict=True)) for row in zip(*(given.text[n].texts() for n in TEXTS), strict=True)]
    return [row | {"account_kind": kind} for row, kind in zip(text, kinds, strict=True)]


_records = st.lists(
    st.fixed_dictionaries(
        {
            "time": st.just(START_MS), "action": st.just("read"), "resource": st.just("/r"),
            "account": st.sampled_from(["mara@example.com", "MARA@example.COM", "backup", "otto", "åsa", 'q"t', "x"]),
        },
        optional={
            "group": st.sampled_from(["", "own"]), "country": st.sampled_from(["", "DK"]),
            "account_kind": st.sampled_from(["unknown", "partner"]), "asn": st.sampled_from([0, 64999]),
            "source_ip": st.sampled_from([
                "198.51.100.9", "198.51.100.129", "198.51.100.201", "203.0.113.1", "10.1.2.3", "192.168.0.9", "", "::1",
                "2001:db8::9", "2001:db8:8::9", "fe80::1", "192.0.2.1", "s3.amazonaws.com", "ASCII",
                "::ffff:198.51.100.9",
            ]),
        },
    ), max_size=40,
)  # fmt: skip


def decoded(records: list[dict[str, Any]]) -> PackedBlock:
    """By both ways of decoding: what has an escape or another script goes the slow one."""
    lines = np.arange(1, len(records) + 1)
    given = Records.of([orjson.dumps(each) for each in records])
    found, rejected = decode_packed(format_named("native"), given, "log", lines, 2**42)
    assert not rejected
    return found


@given(_records, st.integers(1, 7))
def test_every_event_is_filled_in_as_the_settings_say_wherever_the_log_is_cut(
    enricher: Enricher, records: list[dict[str, Any]], step: int
) -> None:
    came = decoded(records)
    filled = enricher.fill(came)
    assert rows(filled) == [naive(row) for row in rows(came)]
    if records:
        parts = [enricher.fill(decoded(records[at : at + step])) for at in range(0, len(records), step)]
        assert rows(joined(parts)) == rows(filled)
        assert wire.decode(wire.encode(filled)).block.text["network"].texts() == filled.text["network"].texts()


def test_what_is_kept_is_bounded_and_forgetting_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    came = packed(block([event(START_MS + n, f"a-{n % 97}", source_ip=f"198.51.100.{n % 89}") for n in range(500)]))
    roomy = Enricher(files(tmp_path), "key", print)
    monkeypatch.setattr(distinct, "KEPT_MAX", 8)
    tight = Enricher(files(tmp_path), "key", print)
    pieces = [came.take(np.arange(at, min(at + 7, 500))) for at in range(0, 500, 7)]
    assert rows(joined([tight.fill(each) for each in pieces])) == rows(roomy.fill(came))
    assert tight._places is not None
    assert len(tight._places._index) <= 8


def test_without_settings_there_is_nothing_and_nothing_is_another() -> None:
    assert enricher_of(Config()) is None
    assert fingerprint(Config(enrich=Enrich())) == fingerprint(Config())


def test_the_version_of_a_configuration_knows_what_is_filled_in_but_not_where_the_files_lie(tmp_path: Path) -> None:
    one, other = (Config(enrich=Enrich(country_db=path)) for path in ("/a/x.mmdb", "/b/y.mmdb"))
    named = Config(enrich=Enrich(country_db="/a/x.mmdb", networks={"office": "203.0.113.0/24"}))
    assert fingerprint(one) == fingerprint(other)
    assert len({fingerprint(each) for each in (one, named, Config())}) == 3


def replaced(path: Path, data: bytes) -> None:
    """As it should be done: written beside, then renamed; of another time, however coarse the clock of the disk is."""
    beside = path.with_suffix(".new")
    beside.write_bytes(data)
    stat = path.stat() if path.exists() else None
    os.utime(beside, ns=(0, (stat.st_mtime_ns if stat else 0) + 10**9))
    beside.rename(path)


def test_a_file_that_changes_is_read_again_and_one_that_breaks_is_told_once(tmp_path: Path) -> None:
    settings, said = files(tmp_path), list[str]()
    enricher = Enricher(settings, "key", said.append)
    came = packed(block([event(START_MS, "otto", source_ip="198.51.100.9")]))
    country = tmp_path / "country.mmdb"
    first = enricher.version

    def seen() -> tuple[str, str]:
        filled = enricher.fill(came)
        assert unstamped(filled.origins[0]) == ("log", enricher.version)
        return filled.text["country"][0], enricher.version

    assert seen() == ("SE", first)
    assert said == []
    replaced(country, b"half a download")
    assert [seen(), seen()] == [("SE", first)] * 2
    assert len(said) == 1
    assert all(word in said[0] for word in ("enrich.country_db", str(country), "download it again", "still holds"))
    country.unlink()
    assert [seen(), seen()] == [("SE", first)] * 2
    assert len(said) == 2
    replaced(country, file_of({"198.51.100.0/24": {"country": {"iso_code": "IS"}}}))
    assert seen()[0] == "IS"
    assert enricher.version != first
    assert f"enrichment is at {enricher.version}" in said[2]
    assert enricher.reloads == {"loaded": 1, "refused": 2}
    replaced(tmp_path / "people.csv", b"account,group\notto,board\n")
    assert enricher.fill(came).text["group"].texts() == ["board"]
    files(tmp_path)  # what it was, so it has the version that it had
    for each in ("country.mmdb", "people.csv"):
        os.utime(tmp_path / each, ns=(0, 77))
    assert seen() == ("SE", first)


def test_at_the_start_every_file_that_is_of_no_use_is_told_at_once(tmp_path: Path) -> None:
    (tmp_path / "broken.mmdb").write_bytes(b"no")
    (tmp_path / "people.csv").write_text("name,group\nx,y\n")
    settings = Enrich(
        country_db=str(tmp_path / "broken.mmdb"),
        asn_db=str(tmp_path / "none.mmdb"),
        directory=str(tmp_path / "people.csv"),
    )
    with pytest.raises(UsageError) as error:
        Enricher(settings, "key", print)
    told = str(error.value).splitlines()
    assert [line.partition(" = ")[0] for line in told] == ["enrich.country_db", "enrich.asn_db", "enrich.directory"]


def log(folder: Path) -> Path:
    """A canary that is read from the office, and from somewhere else."""
    events = [
        {"time": START_MS + n * 1000, "account": "otto", "action": "read", "resource": "/r", "object": f"o-{n % 9}",
         "source_ip": "203.0.113.5" if n < 20 else "198.51.100.5"} for n in range(40)
    ]  # fmt: skip
    path = folder / "log.jsonl"
    path.write_bytes(b"".join(orjson.dumps(each) + b"\n" for each in events))
    return path


@pytest.fixture
def config(tmp_path: Path) -> Config:
    return msgspec.convert({"enrich": files(tmp_path), "canary": {"objects": ["o-7"]}}, Config)


def told(config: Config, path: Path) -> list[dict[str, Any]]:
    alerts: list[Any] = []
    run = Run(config, Options(paths=[str(path)], alerts=os.devnull), on_alert=alerts.append)
    run.go()
    assert run.pipeline.tables["network"].slot("office") == (ABSENT if config.enrich == Enrich() else 1)
    return [{k: v for k, v in msgspec.to_builtins(each).items() if k != "emitted_at"} for each in alerts]


def test_an_alert_names_what_was_filled_in_and_the_version_of_the_files(tmp_path: Path, config: Config) -> None:
    first = told(config, path := log(tmp_path))
    assert first
    version = first[0]["source"][0]["enrichment"]
    assert first[0]["source"][0]["file"] == str(path)
    assert told(config, path) == first  # the same log and the same files: the same alerts
    replaced(tmp_path / "people.csv", b"account,group\notto,board\n")
    again = told(config, path)
    assert [each["id"] for each in again] == [each["id"] for each in first]
    assert again[0]["source"][0]["enrichment"] != version
    plain = told(msgspec.structs.replace(config, enrich=Enrich()), path)
    assert "enrichment" not in plain[0]["source"][0]
    assert plain[0]["id"] != first[0]["id"]


def test_a_worker_fills_in_before_it_splits(tmp_path: Path, config: Config) -> None:
    """What the observations hold is what the detectors see: nothing is looked up behind them."""
    lines = log(tmp_path).read_bytes().splitlines()
    ingest = Ingest(config, "access", 3, _Counts(), enricher=enricher_of(config))
    sent = [
        wire.decode(message.value)
        for message in ingest.take(Batch.of(Record(n, START_MS, line) for n, line in enumerate(lines)), False, False)
        if message.topic == config.kafka.observations
    ]
    assert {each.origin for each in sent} == {"kafka:access/3"}
    whole = joined([each.block for each in sent])
    assert len(whole) == 40
    assert set(whole.text["network"].texts()) == {"office", "AS64500"}
    assert set(whole.text["group"].texts()) == {"sales"}
    assert all(unstamped(origin)[1] for origin in whole.origins)


def test_a_block_of_no_events_goes_by(enricher: Enricher) -> None:
    assert len(enricher.fill(blocks.none("log"))) == 0
    one = packed(block([event(START_MS, "otto", source_ip="203.0.113.1")]))
    twice: Iterator[PackedBlock] = iter([enricher.fill(one), enricher.fill(replace(one))])
    assert rows(next(twice)) == rows(next(twice))
