"""Dtypes as JSON, and back from JSON that nobody vouches for."""

from __future__ import annotations

import re
from contextlib import suppress
from typing import Any, Final

import numpy as np
import orjson
from numpy.lib.format import descr_to_dtype, dtype_to_descr

DEPTH_MAX: Final = 16  # structures in structures; ours have two
# Only plain scalars reach numpy, whose own reader of dtype strings takes whole expressions.
_SCALAR: Final = re.compile(r"[<>|][biufcmMSUV][0-9]{1,9}(\[[0-9]{0,9}[A-Za-z]{1,7}\])?")


class NoDtype(Exception):  # noqa: N818 - it is a verdict
    """What a description is not."""


def described(name: str, dtype: np.dtype[Any]) -> Any:
    """A dtype as JSON; TypeError where it could not be read back."""
    if not dtype.hasobject:
        with suppress(ValueError, NoDtype):  # fields that overlap have no description
            descr = dtype_to_descr(dtype)
            if dtype_of(orjson.loads(orjson.dumps(descr))) == dtype:
                return descr
    raise TypeError(f"array {name}: a snapshot cannot hold dtype {dtype}")


def dtype_of(descr: Any) -> np.dtype[Any]:
    """The dtype of a description; NoDtype."""
    try:
        dtype = descr_to_dtype(_numpy_descr(descr))
    except (ValueError, TypeError, OverflowError, MemoryError) as why:
        raise NoDtype("a dtype that is none") from why
    if dtype.hasobject or dtype.itemsize == 0:
        raise NoDtype("a dtype that is not one of snapshots")
    return dtype


def _numpy_descr(descr: Any, depth: int = 0) -> Any:
    """What JSON made of a description, tuples turned into lists, as numpy takes it."""
    if isinstance(descr, str) and _SCALAR.fullmatch(descr):
        return descr
    if not isinstance(descr, list) or depth == DEPTH_MAX:
        raise NoDtype("a dtype that is not one of snapshots")
    fields: list[tuple[Any, ...]] = []
    for field in descr:
        match field:
            case [str(name), form]:
                fields.append((name, _numpy_descr(form, depth + 1)))
            case [str(name), form, [*shape]] if all(type(n) is int and n >= 0 for n in shape):
                fields.append((name, _numpy_descr(form, depth + 1), tuple(shape)))
            case _:
                raise NoDtype("a dtype that is not one of snapshots")
    return fields
