"""Fuzz each target in a process of its own, one after the other, and say what came of it.

What is left of the time is shared by the targets that are left, so one that ends early gives its rest to the others.
Inputs that reached something new are kept in out/fuzz/TARGET/corpus and used the next time; an input that a target
failed at is kept beside them, and the exit status is 1.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from tests.fuzz.engine import as_python
from tests.fuzz.target import Target, homes, targets

OUT: Final = Path("out/fuzz")
# By form (see `tests.fuzz.engine`) the variables that make it.
FORMS: Final[dict[str, dict[str, str]]] = {
    "python": {"NUMBA_DISABLE_JIT": "1"},
    "checked": {"NUMBA_BOUNDSCHECK": "1", "NUMBA_CACHE_DIR": str(OUT / "kernels")},
    "compiled": {},
}
INPUT_S_MAX: Final = 10  # a second of the slowest input, and ten for a machine that is busy
MEMORY_MB_MAX: Final = 2_048
GRACE_S: Final = 600  # to start, where kernels may have to be compiled, and to end
FOUND: Final = re.compile(r"(?:cov: (?P<cov>\d+) )?ft: (?P<features>\d+)")


@dataclass
class Row:
    """What came of one target: inputs tried, seconds, features reached, seconds of its slowest input, failures."""

    name: str
    runs: int = 0
    seconds: float = 0.0
    features: int = 0
    slowest_s: float = 0.0
    crashes: list[Path] = field(default_factory=list)


def main() -> int:
    """1 where a target failed, 2 where there is nothing to fuzz with."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("target", nargs="*", help="all of them where none is named; the beginning of a name will do")
    parser.add_argument("--seconds", type=float, default=600.0, help="for all of them together")
    parser.add_argument("--form", choices=FORMS, action="append", help="this one alone; may be repeated")
    parser.add_argument("--list", action="store_true", help="say what targets there are")
    parser.add_argument("--replay", action="store_true", help="TARGET FILE: the input once more, with its traceback")
    given = parser.parse_args()
    if given.replay:
        as_python()
        name, file = given.target
        targets()[name].check(Path(file).read_bytes())
        print(f"{name}: {file} does what it may")
        return 0
    chosen = [t for t in targets().values() if not given.target or t.name.startswith(tuple(given.target))]
    if given.list or not chosen:
        print("\n".join(targets()))
        return 0 if given.list else 2
    if find_spec("atheris") is None:
        print("fuzz: atheris is not there; `make fuzz` gets it", file=sys.stderr)
        return 2
    rows = fuzzed(chosen, given.form or list(FORMS), given.seconds)
    print(table(rows))
    return 1 if any(row.crashes for row in rows) else 0


def fuzzed(chosen: list[Target], forms: Sequence[str], seconds: float) -> list[Row]:
    """Each target, in both forms where compiled loops read its input."""
    ends = time.monotonic() + seconds
    rows = {target.name: Row(target.name) for target in chosen}
    turns = [(target, form) for target in chosen for form in forms if form == "python" or target.compiled]
    for number, (target, form) in enumerate(turns):
        if not rows[target.name].crashes:
            share = max(1.0, (ends - time.monotonic()) / (len(turns) - number))
            print(f"{target.name}, {form}, {share:.0f} s", file=sys.stderr, flush=True)
            run(target, rows[target.name], form, share)
    return list(rows.values())


def run(target: Target, row: Row, form: str, seconds: float) -> None:
    """One target in a process of its own."""
    folder = OUT / target.name
    corpus, seeds = folder / "corpus", folder / "seeds"
    for each in (corpus, seeds):
        each.mkdir(parents=True, exist_ok=True)
    begin = target.seeds()
    for number, seed in enumerate(begin):
        (seeds / f"{number:03}").write_bytes(seed)
    before = set(folder.glob("*-*"))
    arguments = [
        str(corpus), str(seeds), f"-timeout={INPUT_S_MAX}",
        f"-rss_limit_mb={MEMORY_MB_MAX}", f"-max_len={max(4_096, 2 * max(map(len, begin)))}",
        f"-artifact_prefix={folder}/", "-print_final_stats=1",
    ]  # fmt: skip
    home = homes()[target.name]
    command = [sys.executable, "-m", "tests.fuzz.engine", home, target.name, str(seconds), *arguments]
    began = time.monotonic()
    with (folder / f"{form}.log").open("wb") as log:
        try:
            status = subprocess.run(
                command,
                env=os.environ | FORMS[form],
                stdout=log,
                stderr=subprocess.STDOUT,
                timeout=seconds + GRACE_S,
                check=False,
            ).returncode
        except subprocess.TimeoutExpired:
            status = 1
    row.seconds += time.monotonic() - began
    said = (folder / f"{form}.log").read_text(errors="replace")
    numbers = dict(re.findall(r"^stat::(\w+): +(\d+)$", said, re.MULTILINE))
    row.runs += int(numbers.get("number_of_executed_units", 0))
    row.slowest_s = max(row.slowest_s, float(numbers.get("slowest_unit_time_sec", 0)))
    row.features = max([row.features, *(int(found["features"]) for found in FOUND.finditer(said))])
    crashes = sorted(path for path in set(folder.glob("*-*")) - before if not path.name.startswith("slow-unit-"))
    row.crashes += crashes
    if status and not crashes:
        row.crashes.append(folder / f"{form}.log")
    if row.crashes:
        print(_tail(said), file=sys.stderr)
        variables = "".join(f"{name}={value} " for name, value in FORMS[form].items())
        for path in row.crashes:
            again = f"{variables}{sys.executable} -m tests.fuzz --replay {target.name} {path}"
            print(f"{target.name} failed: {again}", flush=True)


def _tail(said: str) -> str:
    """What libFuzzer said before its own traces and figures."""
    lines = said.split("\n==", 1)[0].splitlines()
    return "\n".join(line for line in lines if not line.startswith(("#", "INFO:")))[-3_000:]


def table(rows: list[Row]) -> str:
    """The rows below their names."""
    head = f"{'target':26}{'runs':>10}{'runs/s':>8}{'features':>10}{'slowest s':>11}{'seconds':>9}  failures"
    body = [
        f"{r.name:26}{r.runs:>10,}{r.runs / max(r.seconds, 1e-9):>8.0f}{r.features:>10,}{r.slowest_s:>11.0f}"
        f"{r.seconds:>9.0f}  {', '.join(p.name for p in r.crashes) or '-'}"
        for r in rows
    ]
    total = f"{'all':26}{sum(r.runs for r in rows):>10,}{'':29}{sum(r.seconds for r in rows):>9.0f}"
    return "\n".join([head, *body, total])


if __name__ == "__main__":
    sys.exit(main())
