"""What every result says of the machine it was measured on."""

from __future__ import annotations

import json
import os
import platform
from pathlib import Path
from typing import Any

import numpy as np

RESULTS = Path(__file__).parent / "results"


def description() -> dict[str, Any]:
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "load": round(os.getloadavg()[0], 2),
        "python": platform.python_version(),
        "numpy": np.__version__,
    }


def write(name: str, figures: Any, folder: Path = RESULTS) -> None:
    """Keep `figures` under `folder`, beside the machine's description."""
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps({"machine": description(), "figures": figures}, indent=2)
    (folder / f"{name}.json").write_text(text + "\n", encoding="utf-8")


def read(name: str) -> dict[str, Any]:
    """The figures that were kept under `name`; empty when there are none."""
    file = RESULTS / f"{name}.json"
    kept: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))["figures"] if file.exists() else {}
    return kept


def _processor() -> str:
    information = Path("/proc/cpuinfo")
    if information.exists():
        for line in information.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
