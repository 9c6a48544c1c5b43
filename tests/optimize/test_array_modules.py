"""A device that fails in the middle, or computes wrongly, costs time and no answer."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import array_api_strict as strict
import numpy as np
import pytest

from ordinis.domain.limits import Limits
from ordinis.errors import SolverFailed
from ordinis.optimize.array_modules import CPU, DEVICE_FAILURES, WORTH, ArrayModule, Ladder, gpu, ladder
from ordinis.optimize.mean_cvar import mean_cvar
from ordinis.optimize.scenarios import largest_by_sort
from ordinis.ports import FloatArray

SYMBOLS, LIMITS = [f"S{i}" for i in range(8)], Limits()
RETURNS = np.random.default_rng(0).standard_t(4, (1_500, 8)) * np.linspace(0.004, 0.02, 8)


class Device:
    """array-api-strict, of which one function is not what it should be from one of its calls on."""

    def __init__(self, name: str, spoil: Callable[[Any], Any], after: int) -> None:
        self._name, self._spoil, self._left = name, spoil, after

    def __getattr__(self, name: str) -> Any:
        honest = getattr(strict, name)
        if name != self._name:
            return honest

        def spoiled(*given: Any, **named: Any) -> Any:
            self._left -= 1
            found = honest(*given, **named)
            return found if self._left >= 0 else self._spoil(found)

        return spoiled


def out_of_memory(found: Any) -> Any:
    raise MemoryError("out of memory: 4096 bytes wanted, 0 left")


def driver_error(found: Any) -> Any:
    raise RuntimeError("cudaErrorLaunchFailure: unspecified launch failure")


def on(device: object) -> Ladder:
    return lambda numbers: (ArrayModule("gpu", device, largest_by_sort, DEVICE_FAILURES), CPU)


def answered(chosen: Ladder) -> tuple[FloatArray, dict[str, Any]]:
    found = mean_cvar(RETURNS, SYMBOLS, LIMITS, mean_weight=0.1, ladder=chosen)
    return found.weights, dict(found.trace)


def test_a_device_that_works_answers_as_the_processor_does() -> None:
    weights, trace = answered(on(strict))
    assert trace == {"arrays": "gpu"}
    alone, told = answered(ladder)
    assert told == {"arrays": "cpu"}
    np.testing.assert_allclose(weights, alone, atol=1e-7)


@pytest.mark.parametrize("after", [0, 1, 3])
@pytest.mark.parametrize("name", ["sum", "asarray", "take"])
@pytest.mark.parametrize(
    ("failure", "reason"), [(out_of_memory, "MemoryError: out of memory"), (driver_error, "RuntimeError: cudaError")]
)
def test_a_device_that_fails_in_the_middle_leaves_the_request_to_the_processor(
    failure: Callable[[Any], Any], reason: str, name: str, after: int, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        weights, trace = answered(on(Device(name, failure, after)))
    assert trace["arrays"] == "cpu"
    assert trace["fallen"]["gpu"].startswith(reason)
    assert "solver fell from=gpu to=cpu" in caplog.text
    assert reason in caplog.text
    assert weights.tobytes() == answered(ladder)[0].tobytes()


@pytest.mark.parametrize("name", ["sum", "sort"])
def test_a_device_that_computes_wrongly_is_caught_by_the_processor(name: str) -> None:
    weights, trace = answered(on(Device(name, lambda found: found * 0.9, 0)))
    assert trace["arrays"] == "cpu"
    assert "SolverFailed" in trace["fallen"]["gpu"]
    assert weights.tobytes() == answered(ladder)[0].tobytes()


def test_an_error_of_our_own_is_not_taken_for_one_of_the_device() -> None:
    def wrong(found: Any) -> Any:
        raise KeyError("a slip")

    with pytest.raises(KeyError, match="a slip"):
        answered(on(Device("sum", wrong, 0)))


def test_what_the_last_rung_cannot_answer_is_said() -> None:
    lying = ArrayModule("cpu", Device("sort", lambda found: found * 0.9, 0), largest_by_sort)
    with pytest.raises(SolverFailed, match=r"its weights risk|gap|bound"):
        answered(lambda numbers: (lying,))


def a_cupy(folder: Path, answers: str) -> None:
    """Packages of CuPy's names; `answers` is what happens when the device is asked for something."""
    for name, text in {
        "array_api_compat/__init__.py": "",
        "array_api_compat/cupy.py": f"from array_api_strict import *\ndef ones(count):\n    {answers}\n",
        "cupy/__init__.py": "",
        "cupy/cuda/__init__.py": "",
        "cupy/cuda/compiler.py": "class CompileException(Exception):\n    pass\n",
    }.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[str], None]:
    def install(answers: str) -> None:
        a_cupy(tmp_path, answers)
        for name in [name for name in sys.modules if name.partition(".")[0] in ("cupy", "array_api_compat")]:
            monkeypatch.delitem(sys.modules, name)
        monkeypatch.syspath_prepend(tmp_path)

    yield install
    for name in [name for name in sys.modules if name.partition(".")[0] in ("cupy", "array_api_compat")]:
        del sys.modules[name]


def test_a_gpu_is_chosen_where_one_answers_and_can_win(installed: Callable[[str], None]) -> None:
    installed("import array_api_strict as xp; return xp.asarray([1.0] * count)")
    assert [rung.name for rung in ladder(WORTH)] == ["gpu", "cpu"]
    assert ladder(WORTH - 1) == (CPU,)


@pytest.mark.parametrize(
    "answers",
    [
        "raise RuntimeError('cudaErrorNoDevice: no CUDA-capable device is detected')",
        "raise MemoryError('cudaErrorMemoryAllocation')",
        "from cupy.cuda.compiler import CompileException; raise CompileException('no headers')",
    ],
)
def test_a_gpu_that_does_not_answer_is_not_chosen(
    installed: Callable[[str], None], answers: str, caplog: pytest.LogCaptureFixture
) -> None:
    installed(answers)
    assert gpu() is None
    assert ladder(WORTH) == (CPU,)
    assert "no gpu answers, the processor is used" in caplog.text


def test_without_cupy_nothing_is_said(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setitem(sys.modules, "array_api_compat.cupy", None)
    assert gpu() is None
    assert not caplog.text
