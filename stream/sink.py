"""Where lines go: a file, a pipe or standard output, whose failures are told in words.

A run that goes on after another cuts its files to the length that one recorded: what is behind it will be written
again. Only regular files named by a path are cut or overwritten; a pipe or a device is written as it is.
"""

from __future__ import annotations

import errno
import os
import stat
import sys
from contextlib import suppress
from types import TracebackType
from typing import Final, Self

from stream.errors import TriplineError

STDOUT: Final = ("-", "/dev/stdout")  # opening the latter anew would overwrite what `>>` was to keep
BUFFER_BYTES: Final = 1 << 16


class ClosedPipe(TriplineError):  # noqa: N818 - often it is no error: `tripline ... | head`
    """Nobody reads any more what is written."""


class LineSink:
    """Lines of bytes for `target`: a path, or "-" for standard output. `what` they are names them in errors.

    position: bytes of the file to keep, as `position` gave them; None overwrites the file. Raises TriplineError where
    the target cannot be opened or written, or holds fewer bytes than that; ClosedPipe where it has no reader left. A
    sink that failed stays failed: nothing can be written behind a gap.
    """

    def __init__(self, target: str, what: str, position: int | None = None) -> None:
        self.target = "standard output" if target in STDOUT else target
        self.what = what
        self._error: TriplineError | None = None
        try:
            descriptor = self._standard_output() if target in STDOUT else self._open(target, position)
            self._regular = stat.S_ISREG(os.fstat(descriptor).st_mode)
        except OSError as why:
            raise TriplineError(
                f"{what}: {self.target} cannot be opened: {why.strerror}; name a file that can be written, in a "
                "directory that exists"
            ) from why
        self._file = open(descriptor, "wb", BUFFER_BYTES, closefd=descriptor != 1)  # noqa: SIM115 - as long as the run

    def write(self, line: bytes) -> None:
        """Write a line, or several, each with its newline; they may be held back until `flush`."""
        self._check()
        try:
            self._file.write(line)
        except OSError as why:
            raise self._failed(why) from why

    def flush(self) -> None:
        """Hand what is held back to the operating system: it survives this process, not a power loss."""
        self._check()
        try:
            self._file.flush()
        except OSError as why:
            raise self._failed(why) from why

    def sync(self) -> None:
        """Flush, and wait until a regular file is on the disk."""
        self.flush()
        if self._regular:
            try:
                os.fsync(self._file.fileno())
            except OSError as why:
                raise self._failed(why) from why

    def position(self) -> int:
        """Flush; the bytes of the file up to here, 0 for what is not a regular file."""
        self.flush()
        return self._file.tell() if self._regular else 0

    def close(self) -> None:
        """Flush and close; standard output stays open. A failure is raised once, here or where it happened."""
        if self._file.closed:
            return
        try:
            if self._error is None:
                self.flush()
        finally:
            self._file.close()

    def _standard_output(self) -> int:
        if sys.stdout is not None:
            sys.stdout.flush()  # what was printed before stands before
        return 1

    def _open(self, path: str, position: int | None) -> int:
        if not position:  # where nothing was written nothing can be missing
            return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
        again = "put the file back, or begin anew with another --state directory"
        try:
            descriptor = os.open(path, os.O_WRONLY)
        except FileNotFoundError as why:
            raise TriplineError(
                f"{self.what}: {path} is missing, but {position} bytes of it were written before; {again}"
            ) from why
        try:
            status = os.fstat(descriptor)
            if stat.S_ISREG(status.st_mode):
                if status.st_size < position:
                    raise TriplineError(
                        f"{self.what}: {path} has {status.st_size} bytes, but {position} were written before; {again}"
                    )
                os.ftruncate(descriptor, position)
                os.lseek(descriptor, position, os.SEEK_SET)
        except BaseException:
            os.close(descriptor)
            raise
        return descriptor

    def _check(self) -> None:
        if self._error is not None:
            raise self._error

    def _failed(self, why: OSError) -> TriplineError:
        """The error for `why`; what is still held back goes nowhere, so that nothing fails again at exit."""
        if isinstance(why, BrokenPipeError):
            self._error = ClosedPipe(f"{self.what}: nobody reads {self.target} any more; start its reader again")
        else:
            full = why.errno in (errno.ENOSPC, errno.EDQUOT)
            remedy = "free some space there, or name another file" if full else "name another file"
            self._error = TriplineError(f"{self.what}: {self.target} cannot be written: {why.strerror}; {remedy}")
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, self._file.fileno())
        os.close(nowhere)
        return self._error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self.close()
        else:
            with suppress(TriplineError):  # the first failure is the one to tell
                self.close()
