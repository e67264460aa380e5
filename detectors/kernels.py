"""What every compiled kernel is made with and made of.

Kernels are numba functions over numpy arrays: no allocation, no exception, one pass in the order of the events, so that
where a batch is cut changes nothing. They are compiled once and cached on disk beside their source.

Since they allocate nothing, nothing in them is counted (`_nrt`): else each helper that is given an array counts it up
and down again, atomically, which took longer than most of them do. What would allocate does not compile.
"""

from __future__ import annotations

import importlib
import math
import sys
from collections.abc import Callable
from typing import Any, TypeVar, cast

F = TypeVar("F", bound=Callable[..., Any])


def _load_numba() -> Any:
    """Import numba whole, hiding scipy from it: it would only look there for BLAS, which no kernel uses, in 0.25 s."""
    hidden = {"scipy": sys.modules.get("scipy")}
    sys.modules["scipy"] = None  # type: ignore[assignment]  # the documented way to make an import fail
    try:
        numba = importlib.import_module("numba")
        target = importlib.import_module("numba.core.registry").cpu_target
        target.typing_context.refresh()
        target.target_context.refresh()
    finally:
        if hidden["scipy"] is None:
            del sys.modules["scipy"]
        else:
            sys.modules["scipy"] = hidden["scipy"]
    return numba


_numba = _load_numba()
_cgutils, _extending, _types = (importlib.import_module(f"numba.core.{n}") for n in ("cgutils", "extending", "types"))
_ir = importlib.import_module("llvmlite.ir")


_COMPILED: dict[str, Any] = {"cache": True, "error_model": "numpy", "_nrt": False}


def kernel(function: F) -> F:
    """Compile `function` with numba, cached on disk; division follows C (a kernel checks its own denominators)."""
    return cast(F, _numba.njit(**_COMPILED)(function))


def unlocked(function: F) -> F:
    """As `kernel`, for passes over gigabytes: the interpreter's lock is free meanwhile, so an event loop goes on."""
    return cast(F, _numba.njit(**_COMPILED, nogil=True)(function))


def inline(function: F) -> F:
    """As `kernel`, for small helpers that belong inside the loops of others."""
    return cast(F, _numba.njit(**_COMPILED, inline="never")(function))


AHEAD = 8  # rows before a row is needed that it is asked for
LINE = 64  # bytes that memory hands out at a time


def _prefetch() -> Any:
    """The LLVM intrinsic, over every cache line of one row."""
    byte, word = _ir.IntType(8).as_pointer(), _ir.IntType(32)
    hint = _ir.FunctionType(_ir.VoidType(), [byte, word, word, word])

    def prefetch(_typing: Any, array: Any, index: Any) -> Any:
        if not isinstance(array, _types.Array):
            return None

        def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            kind = signature.args[0]
            row = builder.bitcast(_at(context, builder, signature, arguments), byte)
            ask = _cgutils.get_or_insert_function(builder.module, hint, "llvm.prefetch.p0i8")
            for offset in range(0, context.get_abi_sizeof(context.get_data_type(kind.dtype)), LINE):
                line = builder.gep(row, [_ir.IntType(64)(offset)])
                builder.call(ask, [line, word(1), word(3), word(1)])  # to write it; to keep it near; data
            return context.get_dummy_value()

        return _types.void(array, index), code

    return _extending.intrinsic(prefetch)


def _word() -> Any:
    """One load of eight bytes, wherever they lie: put together byte by byte it is eight, and as many shifts."""

    def word(_typing: Any, array: Any, index: Any) -> Any:
        if not isinstance(array, _types.Array):
            return None

        def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            eight = _ir.IntType(64)
            place = builder.bitcast(_at(context, builder, signature, arguments), eight.as_pointer())
            return builder.load(place, align=1)

        return _types.uint64(array, index), code

    return _extending.intrinsic(word)


def _at(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
    """The pointer to array[index], of an array and an index that are the arguments."""
    kind = signature.args[0]
    where = context.cast(builder, arguments[1], signature.args[1], _types.intp)
    return _cgutils.get_item_pointer(
        context, builder, kind, context.make_array(kind)(context, builder, arguments[0]), [where]
    )


# prefetch(rows, i) asks for rows[i] before it is needed; an i that is out of bounds does nothing. What is looked up by
# entity lies anywhere in memory, and a loop that waits for each row does little else.
prefetch = _prefetch()

# word(bytes, p) is bytes[p : p + 8], all of which have to be there, as one number with the first byte lowest.
word = _word()

LN2 = math.log(2.0)
LN_SQRT_2PI = 0.5 * math.log(2.0 * math.pi)


@inline
def normal_tail_bits(z: float) -> float:
    """-log2 P(Z > z) of a standard normal, by its asymptotic bound: within 0.4 bits from z = 1.5 on, and 0 below."""
    if z < 1.5:
        return 0.0
    return (0.5 * z * z + LN_SQRT_2PI + math.log(z)) / LN2


@inline
def level_of(bits: float) -> int:
    """The level of a score: quarters of the normal deviate z that is as surprising, z^2 / 2 = bits ln 2."""
    return int(4.0 * math.sqrt(2.0 * LN2 * bits))


@inline
def student_to_normal(t: float, dof: float) -> float:
    """The normal deviate about as surprising as t of Student's t: Wallace (1959), for t >= 0."""
    return (8.0 * dof + 1.0) / (8.0 * dof + 3.0) * math.sqrt(dof * math.log(1.0 + t * t / dof))


@inline
def student_tail_bits(t: float, dof: float) -> float:
    """-log2 P(T > t) of Student's t, one-sided, through a normal deviate; 0 below t = 1.5."""
    return normal_tail_bits(student_to_normal(t, dof)) if t >= 1.5 else 0.0


@inline
def share_bits(hits: float, trials: float, share: float) -> float:
    """Bits against `hits` of `trials` being an ordinary draw at `share`: Chernoff's n KL(hits/trials || share).

    A bound for any trials that are independent, also of unequal shares with this mean (Hoeffding 1963). 0 when the
    observed share is not above the expected one.
    """
    if trials <= 0.0:
        return 0.0
    observed = min(hits / trials, 1.0)
    expected = min(max(share, 1e-6), 1.0 - 1e-6)
    if observed <= expected:
        return 0.0
    nats = observed * math.log(observed / expected)
    if observed < 1.0:
        nats += (1.0 - observed) * math.log((1.0 - observed) / (1.0 - expected))
    return trials * nats / LN2
