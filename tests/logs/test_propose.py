"""Mappings proposed from samples: read back, they make the events that whoever wrote the log meant."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson
import pytest

from stream.cli import main
from stream.decode import format_named
from stream.errors import UsageError
from stream.events import AccessEvent
from stream.logs.propose import proposed


def app(n: int) -> dict[str, Any]:
    return {
        "ts": 1750748400 + n, "level": "info", "actor": {"email": f"u{n % 5}@example.com", "type": "employee"},
        "client": {"ip": f"192.0.2.{n % 9}", "agent": "Mozilla/5.0"},
        "op": "file.downloaded" if n % 3 else "file.viewed",
        "session": {"id": f"s-{n % 5}"}, "path": f"/finance/{n}", "customer": {"id": f"c-{n}"}, "row_count": n,
        "size": 100 * n, "status": "ok" if n % 7 else "denied", "trace": "abc",
    }  # fmt: skip


MEANT = AccessEvent(
    time=1750748401000, account="u1@example.com", action="export", resource="/finance/{id}", account_kind="employee",
    credential="s-1", source_ip="192.0.2.1", user_agent="Mozilla/5.0", subject="c-1", records=1, bytes=100,
)  # fmt: skip


def flat(n: int) -> dict[str, Any]:
    row = app(n)
    return {
        "time": row["ts"], "user": row["actor"]["email"], "ip": row["client"]["ip"], "event": row["op"],
        "resource": row["path"], "customer_id": row["customer"]["id"], "rows": row["row_count"], "bytes": row["size"],
        "result": row["status"],
    }  # fmt: skip


def used(tmp_path: Path, log: bytes, record: bytes) -> AccessEvent:
    """The event of a record by the mapping that was proposed for the log."""
    path = tmp_path / "app.log"
    path.write_bytes(log)
    proposal = proposed(str(path), 1 << 20)
    (tmp_path / "house.toml").write_text(proposal.text)
    (event,) = format_named(f"mapping:{tmp_path / 'house.toml'}").decode(record)
    return event


def test_json_is_understood(tmp_path: Path) -> None:
    rows = [orjson.dumps(app(n)) for n in range(60)]
    assert used(tmp_path, b"\n".join(rows), rows[1]) == MEANT


def test_pairs_and_separated_values_are_understood(tmp_path: Path) -> None:
    rows = [flat(n) for n in range(60)]
    pairs = [" ".join(f'{key}="{value}"' for key, value in row.items()).encode() for row in rows]
    separated = [";".join(map(str, row.values())).encode() for row in rows]
    meant = AccessEvent(
        time=1750748401000, account="u1@example.com", action="export", resource="/finance/{id}",
        source_ip="192.0.2.1", subject="c-1", records=1, bytes=100,
    )  # fmt: skip
    assert used(tmp_path, b"\n".join(pairs), pairs[1]) == meant
    assert used(tmp_path, b"\n".join([";".join(rows[0]).encode(), *separated]), separated[1]) == meant


def test_an_address_that_is_not_the_clients_is_not_taken_for_it(tmp_path: Path) -> None:
    rows = [orjson.dumps(app(n) | {"server": {"ip": "10.0.0.1"}, "forwarded_for": "203.0.113.9"}) for n in range(60)]
    assert used(tmp_path, b"\n".join(rows), rows[1]).source_ip == "192.0.2.1"


def test_what_is_not_found_is_said_and_a_secret_is_not_shown(tmp_path: Path) -> None:
    path = tmp_path / "app.log"
    path.write_bytes(b"\n".join(orjson.dumps(app(n) | {"op": "beep"}) for n in range(60)))
    proposal = proposed(str(path), 1 << 20)
    assert "# action = ..." in proposal.text
    assert any(remark.startswith("action: nothing looks like it") for remark in proposal.remarks)
    assert "s-1" not in proposal.text


def test_a_format_that_is_known_needs_no_mapping_and_noise_gets_none(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "app.log"
    path.write_text('192.0.2.1 - - [24/Jun/2025:07:00:00 +0000] "GET / HTTP/1.1" 200 1\n')
    assert main(["infer", str(path)]) == 0
    told = capsys.readouterr()
    assert (told.out, "format accesslog; no mapping is needed" in told.err) == ("", True)
    path.write_text("one two\nthree four\n")
    with pytest.raises(UsageError, match='record = "line"'):
        proposed(str(path), 1 << 20)


def test_names_that_break_toml_are_quoted(tmp_path: Path) -> None:
    rows = [orjson.dumps(app(n) | {'a"b\\c\x7f.user': "x"}) for n in range(60)]
    assert used(tmp_path, b"\n".join(rows), rows[1]).account


@pytest.mark.parametrize("odd", [b"a,b\rc,d,e", b'"a' + b"x" * 140_000, b"\0"])
def test_a_sample_that_is_no_separated_values_says_so(tmp_path: Path, odd: bytes) -> None:
    path = tmp_path / "app.log"
    path.write_bytes(b"a b\n" + odd + b"\n")
    with pytest.raises(UsageError, match="neither JSON, key=value nor separated values"):
        proposed(str(path), 1 << 20)


def test_times_of_two_types_are_no_time(tmp_path: Path) -> None:
    path = tmp_path / "app.log"
    times: list[object] = ["2025-06-24T07:00:00Z", 1_750_748_400]
    path.write_bytes(b"\n".join(orjson.dumps({"at": times[n % 2], "user": "ann", "page": "/a"}) for n in range(20)))
    proposal = proposed(str(path), 1 << 20)
    assert any(remark.startswith("time: nothing looks like it") for remark in proposal.remarks)
