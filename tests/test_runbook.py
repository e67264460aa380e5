"""Every detector that there is tells an analyst what to do, and names its techniques as ATT&CK has them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from detectors import catalog
from detectors.techniques import TECHNIQUES, VERSION
from stream.alerts import RUNBOOK, runbook_of
from stream.config import Config
from tests.pages import looked_at, theft

PAGE = Path(__file__).parent.parent / RUNBOOK
PARTS = ("Means", "Check first", "Usually benign", "Contain")
SECTIONS = {
    found[1]: found[2]
    for found in re.finditer(r"^## (\S+)\n(.*?)(?=^## |\Z)", PAGE.read_text(), re.MULTILINE | re.DOTALL)
}


@pytest.mark.parametrize("detector_id", catalog.detector_ids())
def test_a_detector_has_its_section_and_its_techniques(detector_id: str) -> None:
    section = SECTIONS[detector_id]
    for part in PARTS:
        words = section.partition(f"**{part}**")[2].partition("**")[0].split()
        assert len(words) >= 8, (detector_id, part)
    detector = catalog.make(detector_id, offset_bits=0.0, join_grace_s=120.0, session_lifetime_h=24.0)
    assert detector.techniques
    assert set(detector.techniques) <= set(TECHNIQUES), f"not in detectors/techniques.py, ATT&CK {VERSION}"


def test_an_alert_leads_to_the_section_of_the_detector_that_words_its_title() -> None:
    recorder, pipeline = looked_at(theft())
    assert recorder.alerts
    for alert in recorder.alerts:
        page, _, section = alert.runbook.partition("#")
        assert page == RUNBOOK
        assert section in alert.detectors and section in SECTIONS
        known = next(d for d in pipeline.detectors if d.id == section)
        assert alert.title == known.title.format(kind=alert.entity.kind, value=alert.entity.value)


def test_a_page_of_ones_own_is_kept() -> None:
    detector = catalog.make("volume", offset_bits=0.0)
    assert runbook_of("https://wiki.example/tripline", detector) == "https://wiki.example/tripline#volume"
    assert runbook_of("https://wiki.example/all#here", detector) == "https://wiki.example/all#here"
    assert Config().runbook_url == ""
