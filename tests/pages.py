"""Pages for tests: alerts and runs to make them of, and a reader that is strict about them."""

from __future__ import annotations

from collections.abc import Sequence
from html.parser import HTMLParser
from typing import Any

import msgspec
import numpy as np

from stream import summary
from stream.alerts import Alert, EntityRef, EvidenceItem, Impact, Source, Window, rfc3339
from stream.case import Case, threads_of
from stream.config import Config
from stream.pipeline import Pipeline
from stream.record import Recorder, Story
from stream.report import page
from tests.streams import HOUR_MS, START_MS, block, event, regulars

CONFIG = Config(warmup_h=24.0, session_lifetime_h=12.0, tick_s=120)
VOID = {"meta", "br"}
TAGS = {
    "html", "head", "meta", "title", "style", "body", "main", "header", "section", "h1", "h2", "h3", "p", "b", "bdi",
    "dl", "dt", "dd", "div", "figure", "figcaption", "svg", "path", "line", "rect", "text", "ul", "li", "i", "span",
    "table", "thead", "tbody", "tr", "th", "td", "details", "summary",
}  # fmt: skip
ATTRIBUTES = {
    "lang", "charset", "name", "content", "http-equiv", "class", "style", "scope", "viewbox", "role", "aria-label",
    "aria-hidden", "dir", "d", "x", "y", "x1", "x2", "y1", "y2", "width", "height", "text-anchor",
}  # fmt: skip


class Reader(HTMLParser):
    """Reads a page strictly: every tag is one of ours and is closed where it must be."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.skeleton: list[tuple[str, ...]] = []  # tags with the names of their attributes, in their order
        self.words: list[str] = []
        self._open: list[str] = []
        self.feed(html)
        self.close()
        assert self._open == []
        assert "".join(self.words).strip()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag in TAGS, tag
        names = [name for name, _ in attrs]
        assert set(names) <= ATTRIBUTES, (tag, names)
        self.skeleton.append((tag, *names))
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        self.handle_endtag(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag
        self.skeleton.append((f"/{tag}",))

    def handle_data(self, data: str) -> None:
        if self._open and self._open[-1] != "style":
            self.words.append(data)

    @property
    def text(self) -> str:
        """What a person reads, on one line."""
        return " ".join(" ".join(self.words).split())


def alert(name: str = "ann", **fields: Any) -> Alert:
    """An alert that has a value in every field; what others choose is `name`."""
    entity = EntityRef("account", name)
    item = EvidenceItem("volume", entity, "records", 5000.0, 12.5, "records", 1200.0, 30.5)
    given: dict[str, Any] = {
        "schema": "tripline.alert/1", "id": "tl-1", "revision": 1, "status": "open", "severity": "high",
        "time": rfc3339(START_MS + HOUR_MS), "emitted_at": rfc3339(START_MS), "score_bits": 12.0,
        "title": f"Unusual volume read by account {name}", "summary": f"account {name}: 5,000 records",
        "entity": entity,
        "related": (EntityRef("source", name), EntityRef("client", name)), "detectors": ("volume",),
        "techniques": ("T1530",), "evidence": (item,), "impact": Impact(5000, 70_000, 40),
        "window": Window(rfc3339(START_MS), rfc3339(START_MS + HOUR_MS)),
        "source": (Source(file=name, first_line=3, last_line=99),),
        "runbook": name,
    }  # fmt: skip
    return Alert(**(given | fields))


def told(name: str, alerts: Sequence[Alert]) -> Recorder:
    """A recorder that heard of the first alert."""
    recorder = Recorder()
    for each in alerts:
        recorder.alert(each)
    story = recorder.stories.setdefault("tl-1", Story())
    story.course.add(START_MS + HOUR_MS, [[12.0], [5000.0]])
    return recorder


def made(alerts: Sequence[Alert], recorder: Recorder | None = None, title: str = "log", **how: Any) -> Reader:
    """The page of these alerts, read."""
    recorder = recorder or told("ann", alerts)
    return Reader(page(Case(title, how.pop("facts", ()), recorder, threads_of(alerts, recorder), **how)))


def looked_at(events: Any, config: Config = CONFIG) -> tuple[Recorder, Pipeline]:
    """A run and what was recorded of it."""
    recorder = Recorder()
    pipeline = Pipeline(config, recorder.alert, recorder.tick)
    recorder.bind(pipeline)
    if events:
        pipeline.process(block(events))
    pipeline.finish()
    return recorder, pipeline


def of_run(events: Any) -> Reader:
    recorder, pipeline = looked_at(events)
    return made(recorder.alerts, recorder, facts=summary.of_run(pipeline, {}, None, CONFIG.warmup_h, 1.0))


def theft(name: str = "user-7") -> list[Any]:
    """Three days of customers, and one of them who reads what nobody read before."""
    start = START_MS + 57 * HOUR_MS
    usual = [
        msgspec.structs.replace(each, account=name, subject=name) if each.account == "user-7" else each
        for each in regulars(3, 150, np.random.default_rng(1))
    ]
    return usual + [
        event(start + n * 3_000, name, resource=f"/{name}", credential=name, records=50, subject=f"user-{n % 150}")
        for n in range(200)
    ]
