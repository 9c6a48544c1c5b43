"""Which array module the scenarios are worked on with: CuPy where a GPU answers and can win, else NumPy.

A GPU earns its transfers from some five million numbers on; below that the processor is faster. A device can fail in
the middle of a request, by memory that another process has taken or by its driver, and can compute wrongly. Neither is
a reason to have no answer: the request begins again on the processor, with a warning, and the answer says so.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from itertools import pairwise
from typing import Any, TypeVar

import numpy as np

from ordinis.errors import SolverFailed
from ordinis.optimize.scenarios import Largest, largest_by_partition

logger = logging.getLogger(__name__)

T = TypeVar("T")
WORTH = 5_000_000
"""Numbers in the scenarios from which on a GPU can win."""


@dataclass(frozen=True)
class ArrayModule:
    """A rung of the ladder."""

    name: str
    module: Any
    """Of the Python array API standard."""
    largest: Largest = largest_by_partition
    failures: tuple[type[Exception], ...] = ()
    """What it raises when its device fails."""


CPU = ArrayModule("cpu", np)
DEVICE_FAILURES: tuple[type[Exception], ...] = (MemoryError, RuntimeError, OSError, ImportError)
"""Out of memory, errors of the driver and its libraries, libraries that cannot be loaded: bases of CuPy's errors."""

Ladder = Callable[[int], tuple[ArrayModule, ...]]
"""How many numbers the scenarios have, to the modules to try, the best first and the processor last."""


def ladder(numbers: int) -> tuple[ArrayModule, ...]:
    """The GPU where there is one and it can win, and the processor."""
    fast = gpu() if numbers >= WORTH else None
    return (CPU,) if fast is None else (fast, CPU)


def gpu() -> ArrayModule | None:
    """CuPy, where it is installed and a device answers."""
    try:
        module = import_module("array_api_compat.cupy")
        compiler = import_module("cupy.cuda.compiler")
    except ModuleNotFoundError:
        return None
    except DEVICE_FAILURES as failure:
        logger.warning("no gpu answers, the processor is used reason=%s", _told(failure))
        return None
    fast = ArrayModule("gpu", module, failures=(*DEVICE_FAILURES, compiler.CompileException))
    try:
        float(module.sum(module.ones(2)))
    except fast.failures as failure:
        logger.warning("no gpu answers, the processor is used reason=%s", _told(failure))
        return None
    return fast


def first_that_answers(
    rungs: tuple[ArrayModule, ...], solve: Callable[[ArrayModule], T]
) -> tuple[T, Mapping[str, object]]:
    """What `solve` finds on the first of `rungs` that does not fail, and a trace of which that was.

    Raises:
        SolverFailed: of the last rung.
    """
    fallen: dict[str, str] = {}
    for rung, below in pairwise(rungs):
        failures: tuple[type[Exception], ...] = (SolverFailed, *rung.failures)
        try:
            return solve(rung), _trace(rung, fallen)
        except failures as failure:
            fallen[rung.name] = _told(failure)
            logger.warning("solver fell from=%s to=%s reason=%s", rung.name, below.name, fallen[rung.name])
    return solve(rungs[-1]), _trace(rungs[-1], fallen)


def _trace(rung: ArrayModule, fallen: Mapping[str, str]) -> Mapping[str, object]:
    return {"arrays": rung.name} | ({"fallen": dict(fallen)} if fallen else {})


def _told(failure: Exception) -> str:
    return " ".join(f"{type(failure).__name__}: {failure}".split())
