"""What the name of an operation says it does, where no table knows the operation: by its words, or by its form."""

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


# In the order they are tried. What takes an export or a share back is none.
_FORMS: Final[tuple[tuple[Action, re.Pattern[str]], ...]] = (
    ("logout", re.compile(r"log_?out|sign_?out", re.IGNORECASE)),
    ("login", re.compile(r"log_?in(?![a-z])|sign_?in(?![a-z])|authenticate", re.IGNORECASE)),
    ("list", re.compile(r"(?:\A|[._:/])(?:list|search|describe|enumerate)|[a-z]List\Z", re.IGNORECASE)),
    ("export", re.compile(r"\A(?!.*(?:delete|remove|cancel)).*(?:export|download|dump|backup)", re.IGNORECASE)),
    ("share", re.compile(r"\A(?!.*(?:delete|remove|revoke|unshare)).*(?:share(?![dp])|make_?public)", re.IGNORECASE)),
    ("delete", re.compile(r"(?:\A|[._:/])(?:delete|remove|purge|cancel)", re.IGNORECASE)),
    ("write", re.compile(r"(?:\A|[._:/])(?:create|update|put|push|insert|write|patch|upload)", re.IGNORECASE)),
)


@lru_cache(maxsize=4096)
def called(operation: str) -> Action | None:
    """What the form of an API's operation says; None for nothing known.

    >>> called("customers.list"), called("deleteBackup"), called("watch")
    ('list', 'delete', None)
    """
    return next((action for action, form in _FORMS if form.search(operation)), None)
