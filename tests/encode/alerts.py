"""Alerts of every shape, for formats and subscribers."""

from __future__ import annotations

from hypothesis import strategies as st

from detectors.base import KINDS
from stream.alerts import Alert, EntityRef, EvidenceItem, Impact, Source, Window, rfc3339
from tests.pages import alert
from tests.streams import START_MS

HOSTILE = ("ann", "198.51.100.7", "2001:db8::1", "a\nb", "<!channel>", "", "Ω" * 80)
_names = st.one_of(st.sampled_from(HOSTILE), st.text(max_size=20))
_refs = st.builds(EntityRef, kind=st.sampled_from(KINDS), value=_names)
_figures = st.floats(0, 1e15, allow_nan=False)
_times = st.integers(START_MS, START_MS + 10**11).map(rfc3339)
_items = st.builds(
    EvidenceItem, detector=st.sampled_from(["volume", "unissued"]), entity=_refs, feature=st.just("records"),
    observed=_figures, expected=_figures, unit=st.just("records"), window_s=st.floats(0, 1e7), bits=_figures,
)  # fmt: skip
_places = st.one_of(
    st.builds(Source, file=_names, first_line=st.integers(0, 9), last_line=st.integers(9, 99)),
    st.builds(Source, topic=st.just("access"), partition=st.just(3), first_offset=st.just(1), last_offset=st.just(2)),
)

alerts: st.SearchStrategy[Alert] = st.builds(
    alert, name=_names, revision=st.integers(1, 99), status=st.sampled_from(["open", "update", "closed"]),
    severity=st.sampled_from(["low", "medium", "high", "critical"]), score_bits=_figures, title=_names,
    summary=_names, entity=_refs, related=st.lists(_refs, max_size=5).map(tuple), time=_times, emitted_at=_times,
    detectors=st.lists(st.sampled_from(["volume", "unissued", "drip"]), max_size=3, unique=True).map(tuple),
    techniques=st.lists(st.sampled_from(["T1530", "T1550.001", "T9999", "T9999.001"]), max_size=3).map(tuple),
    evidence=st.lists(_items, max_size=4).map(tuple),
    impact=st.builds(Impact, *[st.integers(0, 2**53)] * 3), window=st.builds(Window, _times, _times),
    source=st.lists(_places, max_size=3).map(tuple), runbook=st.sampled_from(["", "https://runbook.example/"]),
)  # fmt: skip
