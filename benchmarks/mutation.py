"""What the fast tests notice when the code of the order path is changed, one small change at a time.

    make mutation

mutmut makes the changes, called mutants: a comparison turned round, a constant moved, an argument dropped. Each is run
against the tests that reach the changed function. One that no test fails on has survived: either the tests leave
something open, or the change makes no difference that can be observed. This program counts, and holds each survivor
against `mutation_survivors.yaml`, where people wrote why it may live, by function and changed line. It fails when the
share that was noticed is below 85 %, or when a survivor has no reason.

A mutant that ran into the time limit was noticed. One that no test reaches, or on which pytest itself fell over, was
not.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import yaml

from benchmarks import machine

LEAST = 0.85
"""Share of the mutants that must be noticed."""
NOTICED = frozenset({"killed", "timeout"})
UNFINISHED = frozenset({"not checked", "check was interrupted by user"})
REASONS = Path(__file__).with_name("mutation_survivors.yaml")


@dataclass(frozen=True)
class Mutant:
    module: str
    function: str
    """With its class, where it has one."""
    status: str
    before: str
    """The changed line as it is in the code."""
    after: str


def mutants(folder: Path = Path("mutants")) -> Iterator[Mutant]:
    """Every mutant of the last run, as mutmut left it under `folder`; its lines only where it was not noticed."""
    from mutmut.mutation.data import SourceFileMutationData
    from mutmut.mutation.diff_apply import get_diff_for_mutant
    from mutmut.stats import status_by_exit_code
    from mutmut.utils.format_utils import orig_function_and_class_names_from_key

    for file in sorted(folder.rglob("*.py.meta")):
        source = file.relative_to(folder).with_suffix("")
        data = SourceFileMutationData(path=source)
        data.load()
        for name, exit_code in data.exit_code_by_key.items():
            function, class_name = orig_function_and_class_names_from_key(name)
            status = status_by_exit_code[exit_code]
            diff = [] if status in NOTICED else get_diff_for_mutant(name, path=source).splitlines()[2:]
            yield Mutant(
                ".".join(source.with_suffix("").parts),
                f"{class_name}.{function}" if class_name else function,
                status,
                *(" ".join(line[1:].strip() for line in diff if line.startswith(sign)) for sign in "-+"),
            )


def counted(found: Sequence[Mutant]) -> dict[str, Any]:
    noticed = sum(mutant.status in NOTICED for mutant in found)
    return {
        "mutants": len(found),
        "killed": noticed,
        "survived": len(found) - noticed,
        "score": round(noticed / len(found), 4),
    }


def reason(mutant: Mutant, reasons: Mapping[str, Mapping[str, str]]) -> str:
    """Why this survivor may live; empty where nobody said so."""
    return reasons.get(f"{mutant.module}.{mutant.function}", {}).get(mutant.after, "")


def main() -> None:
    found = list(mutants())
    if not found or any(mutant.status in UNFINISHED for mutant in found):
        sys.exit("there is no finished run of mutmut under mutants/: run `make mutation`")
    reasons = yaml.safe_load(REASONS.read_text(encoding="utf-8")) or {}
    survivors = [mutant for mutant in found if mutant.status not in NOTICED]
    modules = sorted({mutant.module for mutant in found})
    figures = {
        **counted(found),
        "modules": {module: counted([m for m in found if m.module == module]) for module in modules},
        "survivors": [asdict(mutant) | {"reason": reason(mutant, reasons)} for mutant in survivors],
    }
    machine.write("mutation", figures)
    for module, figure in figures["modules"].items():
        print(f"{module:34} {figure['killed']:5} of {figure['mutants']:5} noticed, {figure['score']:7.1%}")
    print(f"{'in all':34} {figures['killed']:5} of {figures['mutants']:5} noticed, {figures['score']:7.1%}")
    unexplained = [mutant for mutant in survivors if not reason(mutant, reasons)]
    for mutant in unexplained:
        print(f"\nno reason ({mutant.status}): {mutant.module}.{mutant.function}\n- {mutant.before}\n+ {mutant.after}")
    lines = {(f"{mutant.module}.{mutant.function}", mutant.after) for mutant in survivors}
    for function, line in ((function, line) for function, said in reasons.items() for line in said):
        if (function, line) not in lines:
            print(f"\na reason that no survivor needs any more: {function}\n+ {line}")
    if figures["score"] < LEAST or unexplained:
        sys.exit(f"noticed {figures['score']:.1%}, at least {LEAST:.0%} is asked; {len(unexplained)} without a reason")


if __name__ == "__main__":
    main()
