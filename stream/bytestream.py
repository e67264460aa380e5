"""The bytes of a file, unpacked: plain, gzip and Zstandard, told apart by their first bytes, in bounded blocks."""

from __future__ import annotations

import io
import zlib
from collections.abc import Iterator
from typing import Final

import zstandard

from stream.events import BadRecord

GZIP_MAGIC: Final = b"\x1f\x8b"
ZSTD_MAGIC: Final = b"\x28\xb5\x2f\xfd"
_ZSTD_STEP_BYTES: Final = 512  # 4 bytes can unpack to 128 KiB, so this is 16 MiB at most in one go


def is_packed(file: io.BufferedReader) -> bool:
    """Whether the file, at its beginning, is compressed."""
    return file.peek(4)[:4].startswith((GZIP_MAGIC, ZSTD_MAGIC))


def blocks(file: io.BufferedReader, block_bytes: int, skip: int = 0) -> Iterator[bytes]:
    """The unpacked bytes of a file at its beginning, some at a time, without the first `skip` of them.

    Raises BadRecord (truncated_file, corrupt_file) where they break off.
    """
    magic = file.peek(4)[:4]
    if magic.startswith(GZIP_MAGIC):
        yield from _without(_gzip(file, block_bytes), skip)
    elif magic == ZSTD_MAGIC:
        yield from _without(_zstandard(file, block_bytes), skip)
    else:
        if skip:
            file.seek(skip)
        yield from plain(file, block_bytes)


def plain(file: io.BufferedReader, block_bytes: int) -> Iterator[bytes]:
    """The bytes of a file from where it stands, as they lie there."""
    while block := file.read1(block_bytes):
        yield block


def _without(parts: Iterator[bytes], skip: int) -> Iterator[bytes]:
    for part in parts:
        if len(part) > skip:
            yield part[skip:]
        skip = max(skip - len(part), 0)


def _gzip(file: io.BufferedReader, block_bytes: int) -> Iterator[bytes]:
    member = zlib.decompressobj(wbits=31)
    data = file.read1(block_bytes)
    while data:
        try:
            block = member.decompress(data, block_bytes)
        except zlib.error as why:
            raise BadRecord("corrupt_file", f"gzip: {why}") from None
        if block:
            yield block
        if member.eof:  # another member may follow, or padding
            data = (member.unused_data or file.read1(block_bytes)).lstrip(b"\0")
            if not data:
                return
            member = zlib.decompressobj(wbits=31)
        else:
            data = member.unconsumed_tail or file.read1(block_bytes)
    if block := member.flush():
        yield block
    if not member.eof:
        raise BadRecord("truncated_file", "gzip: the file ends in the middle of its data")


def _zstandard(file: io.BufferedReader, block_bytes: int) -> Iterator[bytes]:
    unpacker = zstandard.ZstdDecompressor()
    frame = unpacker.decompressobj()
    data = b""
    fresh = True
    parts: list[bytes] = []
    size = 0
    try:
        while data := data or file.read1(block_bytes):
            step, data = data[:_ZSTD_STEP_BYTES], data[_ZSTD_STEP_BYTES:]
            parts.append(frame.decompress(step))
            fresh = False
            size += len(parts[-1])
            if frame.eof:
                data = frame.unused_data + data
                frame, fresh = unpacker.decompressobj(), True
            if size >= block_bytes:
                yield b"".join(parts)
                parts, size = [], 0
    except zstandard.ZstdError as why:
        if size:
            yield b"".join(parts)
        raise BadRecord("corrupt_file", f"zstd: {why}") from None
    if size:
        yield b"".join(parts)
    if not fresh:
        raise BadRecord("truncated_file", "zstd: the file ends in the middle of its data")
