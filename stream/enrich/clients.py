"""The family of a client, from its user agent: what does not change with each version of it.

`Mozilla/5.0 (Windows NT 10.0; Win64; x64) … Chrome/128.0.0.0 Safari/537.36` is `Chrome on Windows`. A text that does
not begin as a user agent does, with a name, a slash and a version, is a name that somebody chose and stays as it is.
The family is the first product that is neither an engine nor a mark of compatibility, so that a browser of tomorrow
has a name of its own; the platform is what the text says of one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from stream.checks import shortened

_AGENT: Final = re.compile(r"\[?[A-Za-z][\w.+ -]{0,63}/v?\d", re.ASCII)
_PRODUCT: Final = re.compile(r"(?<![\w.+-])([A-Za-z][\w.+-]*)/v?\d", re.ASCII)
_ASIDE: Final = re.compile(r"\([^)]*\)?")
_COMPATIBLE: Final = re.compile(r"compatible; ?([A-Za-z][\w.-]*)", re.ASCII)  # (compatible; Googlebot/2.1; …)
_PASSED_OVER: Final = {
    "Mozilla", "AppleWebKit", "Gecko", "Version", "Mobile", "Safari", "Chrome", "Chromium", "Electron", "Trident",
    "Ubuntu", "CentOS", "Fedora",
    "APN", "HashiCorp",  # partners' marks in front of what is used
}  # fmt: skip
_BENEATH: Final = ("Chrome", "Chromium", "Safari")  # the family where nothing else is, in this order
_SAME: Final = {
    "Edg": "Edge", "EdgA": "Edge", "EdgiOS": "Edge", "OPR": "Opera", "CriOS": "Chrome", "FxiOS": "Firefox",
}  # fmt: skip
_PLATFORMS: Final = (
    # In this order: Android says Linux as well, and an iPhone is "like Mac OS X".
    ("iOS", re.compile(r"\b(?:iPhone|iPad|iPod|iOS)\b")),
    ("Android", re.compile(r"\bandroid", re.IGNORECASE)),
    ("Windows", re.compile(r"\bwin(?:dows|32|64)", re.IGNORECASE)),
    ("macOS", re.compile(r"\b(?:mac ?os|macintosh|darwin)", re.IGNORECASE)),
    ("ChromeOS", re.compile(r"\bCrOS\b")),
    ("Linux", re.compile(r"\b(?:linux|x11)\b", re.IGNORECASE)),
)


def families(names: list[str]) -> list[list[str]]:
    """Of each client its family, "" for what stays as it is."""
    return [["" if (found := family(name)) == name else found for name in names]]


def family(agent: str) -> str:
    """The family of a user agent; of any other text, the text.

    >>> family("aws-cli/2.15.0 Python/3.11.6 Darwin/23.1.0"), family("curl/8.4.0"), family("nightly export")
    ('aws-cli on macOS', 'curl', 'nightly export')
    """
    if not _AGENT.match(agent):
        return agent
    platform = next((f" on {name}" for name, found in _PLATFORMS if found.search(agent)), "")
    return shortened(next(_products(agent)) + platform)


def _products(agent: str) -> Iterator[str]:
    """What it may be called, the best first."""
    if found := _COMPATIBLE.search(agent):
        yield found[1]
    head = agent.lstrip("[").partition("/")[0].strip()  # with its spaces: Chef Client/10.18.2
    told = _PRODUCT.findall(_ASIDE.sub(" ", agent))
    if head not in _PASSED_OVER:
        yield _SAME.get(head, head)
    yield from (_SAME.get(name, name) for name in told if name not in _PASSED_OVER)
    if "Trident/" in agent:
        yield "MSIE"
    yield from (name for name in _BENEATH if name in told)
    yield head
