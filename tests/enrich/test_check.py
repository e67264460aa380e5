"""`tripline check` tells every mistake of [enrich] at once, and of a sample what was filled in."""

from __future__ import annotations

from pathlib import Path

import orjson
import pytest

from stream.cli import main
from tests.enrich.mmdb_file import file_of
from tests.streams import START_MS


def written(folder: Path, text: str) -> str:
    path = folder / "tripline.toml"
    path.write_text(text)
    return str(path)


def test_every_mistake_is_told_with_its_field_its_value_and_what_to_do(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "half.mmdb").write_bytes(b"half")
    (tmp_path / "people.csv").write_text("account,group,kind\na,g,robot\nb,g,\nB,h,\n,g,\n")
    config = written(tmp_path, f"""
[enrich]
country_db = "{tmp_path}/half.mmdb"
asn_db = "{tmp_path}/none.mmdb"
directory = "{tmp_path}/people.csv"
countries = 3
[enrich.networks]
office = "203.0.113.7/24"
lab = "203.0.113.0/33"
AS64500 = "198.51.100.0/24"
one = "192.0.2.0/24"
two = ["192.0.2.0/24", "privat"]
""")  # fmt: skip
    assert main(["check", "--config", config]) == 2
    told = capsys.readouterr().err
    for words in (
        "enrich.countries: no such setting",
        "enrich.networks.office = '203.0.113.7/24'", "write 203.0.113.0/24",
        "enrich.networks.lab = '203.0.113.0/33'", "write a range such as",
        "enrich.networks.AS64500: a name", "choose another",
        "enrich.networks.two = '192.0.2.0/24': is one as well; keep one",
        "enrich.networks.two = 'privat'", "write private",
        "enrich.country_db = ", "half.mmdb': it has no description", "download it again",
        "enrich.asn_db = ", "cannot be read (No such file or directory)",
        "enrich.directory = ", "line 2: kind 'robot' is none of", "line 4: account 'B' stands there twice",
        "line 5: no account",
    ):  # fmt: skip
        assert words in told, words


def test_a_sample_shows_what_was_filled_in(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "country.mmdb").write_bytes(file_of({"203.0.113.0/24": {"country": {"iso_code": "SE"}}}))
    (tmp_path / "people.jsonl").write_text('{"account": "mara", "group": "claims", "kind": "employee", "desk": 4}\n')
    config = written(
        tmp_path,
        f"""
[enrich]
country_db = "{tmp_path}/country.mmdb"
directory = "{tmp_path}/people.jsonl"
networks = {{ office = "203.0.113.0/24" }}
""",
    )
    row = {"time": START_MS, "account": "mara", "action": "read", "resource": "/r", "source_ip": "203.0.113.9"}
    (tmp_path / "log.jsonl").write_bytes(b"".join(orjson.dumps(row | more) + b"\n" for more in ({}, {"group": "own"})))
    assert main(["check", "--config", config, "--sample", str(tmp_path / "log.jsonl")]) == 0
    out = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    for line in (
        "country SE (filled in)", "group claims (filled in)", "account_kind employee (filled in)", "group own",
        "network office (filled in; it came with 203.0.113.0/24)", "account mara",
    ):  # fmt: skip
        assert line in out, line
    assert any(line.startswith("country 100.0%") for line in out)
