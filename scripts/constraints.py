"""Write constraints.txt: one complete set of versions that install together.

    python scripts/constraints.py [--upgrade]

Asks pip to resolve the project with every extra, without installing anything, and writes what it chose. Without
--upgrade the versions that are already pinned stay where they still fit, so that a new dependency changes only what
it must. torch is named outright: other versions bring gigabytes of libraries for GPUs that most machines lack.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PINNED = ROOT / "constraints.txt"
EXTRAS = "alpaca,ib,ccxt,postgres,dev,mutation"
HEADER = "# Made by scripts/constraints.py: do not edit. One complete set of versions that install together.\n"
NAMED = {"torch": "2.13.0"}


def resolve(upgrade: bool) -> dict[str, str]:
    """Ask pip which versions it would install, by normalised name."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.json"
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--dry-run", "--ignore-installed"]
        command += ["--report", str(report), f"{ROOT}[{EXTRAS}]"]
        if PINNED.exists() and not upgrade:
            command += ["--constraint", str(PINNED)]
        subprocess.run(command, check=True)
        chosen = json.loads(report.read_text(encoding="utf-8"))["install"]
    versions = {item["metadata"]["name"].lower().replace("_", "-"): item["metadata"]["version"] for item in chosen}
    versions.pop("ordinis", None)
    return versions | NAMED


def main() -> None:
    versions = resolve("--upgrade" in sys.argv[1:])
    lines = [f"{name}=={version}\n" for name, version in sorted(versions.items())]
    PINNED.write_text(HEADER + "".join(lines), encoding="utf-8")
    sys.stdout.write(f"{len(versions)} versions written to {PINNED.name}\n")


if __name__ == "__main__":
    main()
