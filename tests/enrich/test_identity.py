"""One person under several names is one account, in whatever role; the log is still found again from an alert."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import msgspec
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream.alerts import Alert
from stream.analyst.explain import explain
from stream.analyst.relog import FileLog
from stream.analyst.scope import evidence_of, of_alert, scope
from stream.blocks import PackedBlock, joined, packed
from stream.checks import TEXT_BYTES_MAX
from stream.cli import main
from stream.config import Config, fingerprint
from stream.enrich.directory import Directory
from stream.enrich.enricher import Enricher
from stream.enrich.identity import People
from stream.enrich.mmdb import Broken
from stream.enrich.settings import Enrich, Identity, version_of
from stream.run import Options, Run
from tests.streams import START_MS, block, event

ROLE = "arn:aws:sts::123456789012:assumed-role/Admin"
RULES = (
    Identity(r"(?P<role>arn:aws:sts::\d+:assumed-role/[^/]+)/(?P<person>[^/]+)", "{person}", "{role}"),
    Identity(r"CORP\\(?P<user>\w+)", "{user}@example.com"),
    Identity(r"(?i)svc-(?P<name>\w+)@[^@]+\.iam\.gserviceaccount\.com", "service:{name}"),
    Identity(r"E-?(?P<number>\d+)", "E-{number}"),
)
ROWS = "account,group,kind,aliases\nMara@example.com,claims,employee,E-17; mara.lind\nbackup,,service,\n"
KNOWN = {
    # as it came: what it is called, its role, its group and kind; "" for what stays
    "mara@example.com": ("Mara@example.com", "", "claims", "employee"),
    "Mara@example.com": ("", "", "claims", "employee"),
    "MARA.LIND": ("Mara@example.com", "", "claims", "employee"),
    "E-17": ("Mara@example.com", "", "claims", "employee"),
    "E17": ("Mara@example.com", "", "claims", "employee"),  # the rule's name is an alias
    "E18": ("E-18", "", "", ""),
    "E-18": ("", "", "", ""),
    r"CORP\mara": ("Mara@example.com", "", "claims", "employee"),
    r"CORP\otto": ("otto@example.com", "", "", ""),
    f"{ROLE}/mara@example.com": ("Mara@example.com", ROLE, "claims", "employee"),
    f"{ROLE}/otto@example.com": ("otto@example.com", ROLE, "", ""),
    f"{ROLE}/*": ("", "", "", ""),  # of any session, and so nobody's
    f"{ROLE}/a/b": ("", "", "", ""),  # not as a whole
    "Svc-etl@shop.iam.gserviceaccount.com": ("service:etl", "", "", ""),
    "BACKUP": ("backup", "", "", "service"),
    "x": ("", "", "", ""),
}  # fmt: skip


def settings(folder: Path, rows: str = ROWS, rules: tuple[Identity, ...] = RULES) -> Enrich:
    (folder / "people.csv").write_text(rows)
    return Enrich(directory=str(folder / "people.csv"), identities=rules)


@pytest.fixture(scope="module")
def enricher(tmp_path_factory: pytest.TempPathFactory) -> Enricher:
    return Enricher(settings(tmp_path_factory.mktemp("identity")), "key", print)


def test_each_name_is_known_by_the_directory_or_else_by_the_first_rule() -> None:
    found = People(RULES, Directory(ROWS.encode())).find(list(KNOWN))
    assert dict(zip(KNOWN, zip(*found, strict=True), strict=True)) == KNOWN


def test_a_directory_without_aliases_and_rules_renames_nobody() -> None:
    rows = b"account,group\nMara,claims\n"
    assert People((), Directory(rows)).find(["mara", "MARA"]) == [["", ""], ["", ""], ["claims"] * 2, ["", ""]]
    assert People(RULES, Directory(rows)).find(["mara"])[0] == ["Mara"]


@given(st.lists(
    st.tuples(*(st.sampled_from([*KNOWN, "y"]),) * 2, st.sampled_from(["", "key-1"]), st.sampled_from(["", "own"])),
    min_size=1, max_size=40,
), st.integers(1, 7))  # fmt: skip
def test_events_are_their_persons_wherever_the_log_is_cut(
    enricher: Enricher, given: list[tuple[str, str, str, str]], step: int
) -> None:
    def naive(account: str, subject: str, issuer: str, group: str) -> tuple[str, ...]:
        name, role, team, _ = KNOWN.get(account, ("",) * 4)
        own = name if name and subject == account else subject  # who read their own data still does
        return name or account, own, issuer or role, group or team

    def rows(filled: PackedBlock) -> list[tuple[str, ...]]:
        columns = [filled.text[name].texts() for name in ("account", "subject", "issuer", "group")]
        return list(zip(*columns, strict=True))

    events = [event(START_MS, a, subject=s, issuer=i, group=g) for a, s, i, g in given]
    whole = rows(enricher.fill(packed(block(events))))
    assert whole == [naive(*each) for each in given]
    parts = [enricher.fill(packed(block(events[at : at + step]))) for at in range(0, len(events), step)]
    assert rows(joined(parts)) == whole


@given(st.text(min_size=1).map(lambda text: text.encode(errors="ignore")[:TEXT_BYTES_MAX].decode(errors="ignore")))
def test_a_name_fits_its_field_whatever_a_rule_makes_of_it(name: str) -> None:
    people = People((Identity("(?s)(?P<all>.+)", "{all}" * 9, "{all}{all}"),), None)
    assert all(len(each[0].encode()) <= TEXT_BYTES_MAX for each in people.find([name]))


@pytest.mark.parametrize(
    ("rows", "told"),
    [
        ("account,aliases\na,x\nb,X\n", "line 3: alias 'X' is a name of 'a' as well; keep one"),
        ("account,aliases\na,b\nb,\n", "line 3: account 'b' is an alias of 'a'; keep one"),
        ("account,aliases\nb,\na,b\n", "line 3: alias 'b' is a name of 'b' as well"),
        ('{"account": "a", "aliases": 7}', "line 1: aliases = 7: must be a list of texts"),
        ('{"account": "a", "aliases": [["b"]]}', "line 1: alias = a list: must be a text"),
        (f'{{"account": "a", "aliases": ["{"b" * 300}"]}}', "more than 256 bytes"),
    ],
)
def test_a_name_of_two_people_is_a_mistake(rows: str, told: str) -> None:
    with pytest.raises(Broken, match=re.escape(told)):
        Directory(rows.encode())


def test_a_row_may_repeat_its_own_names() -> None:
    directory = Directory(b'{"account": "a", "aliases": ["A", "b", " B ", "", 17]}\n{"account": "a"}\n')
    assert (len(directory), directory.aliases, str(directory)) == (1, 2, "1 accounts with 2 other names")


def test_a_new_alias_holds_from_the_next_event_on(tmp_path: Path) -> None:
    said: list[str] = []
    enricher = Enricher(settings(tmp_path, rules=()), "key", said.append)
    came = packed(block([event(START_MS, "m.lind")]))
    assert enricher.fill(came).text["account"].texts() == ["m.lind"]
    (tmp_path / "new").write_text(ROWS.replace("mara.lind", "m.lind"))
    os.utime(tmp_path / "new", ns=(0, 77))
    (tmp_path / "new").rename(tmp_path / "people.csv")
    assert enricher.fill(came).text["account"].texts() == ["Mara@example.com"]
    assert "2 accounts with 2 other names" in said[0]


def test_rules_are_part_of_what_alerts_are_a_function_of() -> None:
    one, other = (Config(enrich=Enrich(identities=RULES[at:])) for at in (0, 1))
    assert len({fingerprint(each) for each in (one, other, Config())}) == 3
    before = {"country_db": False, "asn_db": False, "directory": True, "networks": {}}
    assert version_of(Enrich(directory="/x")) == before  # and what was learned holds


def test_every_mistake_in_a_rule_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "tripline.toml"
    path.write_text(r"""
[[enrich.identities]]
pattern = '(?P<person>.+)+@example'
account = "{person}"
[[enrich.identities]]
pattern = '(?P<person>[^@]+)@example'
account = "{persn}"
role = "{"
[[enrich.identities]]
pattern = '('
account = "x"
[[enrich.identities]]
pattern = 'x'
name = "x"
[[enrich.identities]]
pattern = 'x'
account = 7
""")
    assert main(["check", "--config", str(path)]) == 2
    told = capsys.readouterr().err
    for words in (
        "enrich.identities[1].pattern: '(?P<person>.+)+@example' could take for ever", "possessive",
        "enrich.identities[2].account = '{persn}': the pattern has no group persn (did you mean person?)",
        "write (?P<persn>...) around",
        "enrich.identities[2].role = '{': a brace by itself", "enrich.identities[3].pattern: '(' is no pattern",
        "enrich.identities[4].name: no such setting", "enrich.identities[4].account: missing, but required",
        "enrich.identities[5].account = 7: must be a text of at most 256 characters",
    ):  # fmt: skip
        assert words in told, words
    for value, words in (("3", "is a list of tables"), ("[" + "{}," * 65 + "]", "limit is 64")):
        path.write_text(f"[enrich]\nidentities = {value}\n")
        assert main(["check", "--config", str(path)]) == 2
        assert words in capsys.readouterr().err


def test_an_alert_names_person_and_role_and_its_events_are_found_in_the_log(tmp_path: Path) -> None:
    """A person reads what was planted, in a role; what else she reads is under other names."""
    hers = {7: "mara.lind", 20: "E17", 21: "MARA.LIND", 23: f"{ROLE}/mara@example.com"}
    rows: list[dict[str, Any]] = [
        {"time": START_MS + n * 1000, "account": hers.get(n, "otto"), "action": "read", "resource": "/r",
         "subject": f"s-{n}", "object": "planted" if n == 23 else f"o-{n}"} for n in range(40)
    ]  # fmt: skip
    path = tmp_path / "log.jsonl"
    path.write_bytes(b"".join(orjson.dumps(row) + b"\n" for row in rows))
    config = msgspec.convert({"enrich": settings(tmp_path), "canary": {"objects": ["planted"]}}, Config)
    told: list[Alert] = []
    Run(config, Options([str(path)], alerts=os.devnull), on_alert=told.append).go()
    assert {each.entity.value for each in told if each.entity.kind == "account"} == {"Mara@example.com"}
    last = told[-1]
    assert ROLE in {each.value for each in last.related if each.kind == "issuer"}
    log = FileLog([str(path)], "auto", config, print)
    found = explain(last, log, config, lambda _events, _ms: None).explanation
    assert found.reproduced
    (example,) = found.examples
    assert (example.place, example.account, example.written) == (f"{path} line 24", "Mara@example.com", hers[23])
    evidence = evidence_of(last, log, config, lambda _events, _ms: None)
    counted = scope(of_alert(last), evidence, log, config, lambda _events, _ms: None)
    assert {each.subject for each in counted.people} == {f"s-{n}" for n in hers}
