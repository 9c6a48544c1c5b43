"""A small file beside the ledger that says how far each chain had come.

A chain shows a row that was changed or removed inside it; that its end was cut off, or that an older copy lies in
its place, shows only from outside. The file is replaced whole after each session's valuation and at a clean start,
always after the rows that it names were committed: the ledger may be ahead of it, never behind.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path

from ordinis.domain.canonical import canonical, sha256
from ordinis.errors import LedgerDamaged, StoreUnavailable
from ordinis.persistence.chain import Head


def write(path: Path, heads: Mapping[str, Head]) -> None:
    """Replace the file at `path`; after a crash there is the old one or the new one, whole."""
    chains = {table: {"length": head.length, "hash": head.hash} for table, head in heads.items()}
    fresh = path.with_name(f"{path.name}.new")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with fresh.open("w", encoding="utf-8") as file:
            file.write(canonical({"chains": chains, "sha256": sha256(chains)}) + "\n")
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(path)
        sync_folder(path.parent)
    except OSError as error:
        raise StoreUnavailable(str(path), f"the ledger's anchor cannot be written: {error.strerror}") from error


def read(path: Path) -> Mapping[str, Head] | None:
    """What the file at `path` says, by table; None when there is no file.

    Raises:
        LedgerDamaged: the file is not as it was written.
    """
    try:
        body = json.loads(path.read_text(encoding="utf-8"))
        chains, known = body["chains"], body["sha256"]
        if sha256(chains) != known:
            raise ValueError("its content does not match its hash")
        return {table: Head(head["length"], head["hash"]) for table, head in chains.items()}
    except FileNotFoundError:
        return None
    except OSError as error:
        raise StoreUnavailable(str(path), f"the ledger's anchor cannot be read: {error.strerror}") from error
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        problem = f"cannot be read ({error}), so that a cut tail would not be noticed"
        raise LedgerDamaged(f"anchor {path}", "", problem) from error


def sync_folder(folder: Path) -> None:
    """Make renames in `folder` outlive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
