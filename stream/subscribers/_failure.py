"""Why an attempt failed: a word for a metric, whether another may succeed, and when it is welcome."""

from __future__ import annotations

from typing import Final

REASONS: Final = (
    "connection", "timeout", "tls", "secret", "busy", "denied", "server_error", "unexpected", "refused", "file",
    "broker",
)  # fmt: skip


class Failed(Exception):  # noqa: N818 - it is a value: the attempt failed, the program did not
    """One attempt that failed.

    reason: one of REASONS, a metric label; its text never holds an address, a name of the alert or a secret. final:
    this alert will never be accepted as it is, so that the next is due. after_s: what the system asked to wait, or 0.
    """

    def __init__(self, reason: str, detail: str = "", *, final: bool = False, after_s: float = 0.0) -> None:
        super().__init__(f"{reason}{f' ({detail})' if detail else ''}")
        self.reason = reason
        self.final = final
        self.after_s = after_s
