"""What the name of an operation says it does, where no table knows the operation."""

from __future__ import annotations

import re
from functools import lru_cache
from itertools import pairwise
from typing import Final

from stream.events import Action

_VERBS: Final[dict[Action, str]] = {
    "login": "login logon signin loggedin",
    "logout": "logout logoff signout loggedout",
    "export": "export exported download downloaded dump unload backup",
    "share": "share shared publish published",
    "delete": "delete deleted deletion remove removed drop purge trash",
    "list": "list listed search searched browse enumerate",
    "write": "write put post create created creation update updated upload uploaded modify modified insert rename move",
    "read": "read get head view viewed access accessed open opened select query fetch preview",
}
_ACTION_OF: Final = {verb: action for action, verbs in _VERBS.items() for verb in verbs.split()}
_WORD: Final = re.compile(r"[A-Z]?[a-z]+|[A-Z]+")


@lru_cache(maxsize=4096)
def verb(action: str) -> Action | None:
    """What the words of an action say; None for nothing known.

    >>> verb("file-downloaded"), verb("DownloadFile"), verb("flush")
    ('export', 'export', None)
    """
    words = [word.lower() for word in _WORD.findall(action)]
    pairs = [first + second for first, second in pairwise(words)]
    return next((_ACTION_OF[word] for word in pairs + words if word in _ACTION_OF), None)
