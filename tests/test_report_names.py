"""No name that somebody chose breaks out of the page."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream.alerts import Source
from stream.case import Case, threads_of
from stream.report import page
from tests.pages import Reader, alert, made, of_run, theft, told

NASTY = [
    "</style></svg><script>alert(1)</script>", "<img src=x onerror=alert(1)>", "\" onmouseover=\"x", "' style='x",
    "&lt;b&gt;&#60;&amp", "]]><!--", "-->", "${body}$title", "{observed}{0.__class__}", "%s%n",
    "\u202eevil\u2066\u200f", "a\x00b\x1b[31m\r\n\x85\u2028", "\ud800", "javascript:alert(1)", "é" * 10_000,
    "<" * 10_000,
]  # fmt: skip


@given(name=st.one_of(st.sampled_from(NASTY), st.text(), st.text(alphabet="<>&\"'=/ \u202e\x00${}", min_size=1)))
def test_a_name_changes_no_tag_and_no_attribute(name: str) -> None:
    """Entity, title, summary, file, runbook, facts: the page has the form that it has for `ann`."""

    def of(name: str) -> Reader:
        alerts = [alert(name), alert(name, id="tl-2", detectors=(name,), severity=name, status=name)]
        alerts.append(alert(name, id="tl-3", source=(Source(topic=name, partition=1, first_offset=2, last_offset=3),)))
        return made(alerts, told(name, alerts), title=name, facts=[(name, name or "-")])

    html, plain = of(name or "-"), of("ann")
    assert html.skeleton == plain.skeleton


@pytest.mark.parametrize("name", NASTY)
def test_a_name_is_shown_harmless_and_short(name: str) -> None:
    """No control or direction character reaches the page, and 10 kB of a name do not."""
    alerts = [alert(name)]
    recorder = told(name, alerts)
    html = page(Case(name, [(name, name)], recorder, threads_of(alerts, recorder)))
    assert {unicodedata.category(c) for c in html if c != "\n"}.isdisjoint({"Cc", "Cf", "Cs", "Co", "Zl", "Zp"})
    assert len(html) < len(page(Case("ann", [("ann", "ann")], recorder, threads_of([alert()], recorder)))) + 60_000
    html.encode("utf-8")


@pytest.mark.parametrize(
    ("name", "plain"),
    [("<script>alert(1)</script>\u202e", "ann1"), ("ann" + "x" * 197 + '"><b onclick=y>', "ann")],
)
def test_a_run_with_such_names_has_a_page_like_any_other(name: str, plain: str) -> None:
    """Through the whole pipeline, with pictures; one with its digits, since identifiers may be read in order."""
    hostile, usual = of_run(theft(name)), of_run(theft(plain))
    assert "How the evidence added up" in hostile.text
    assert hostile.skeleton == usual.skeleton
