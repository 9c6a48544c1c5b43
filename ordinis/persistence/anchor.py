"""A small file beside the ledger that says how far each chain had come.

A chain shows a row that was changed or removed inside it; that its end was cut off, or that an older copy lies in
its place, shows only from outside. The file is replaced whole after each session's valuation and at a clean start,
always after the rows that it names were committed: the ledger may be ahead of it, never behind.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from ordinis.domain.canonical import canonical, sha256
from ordinis.errors import LedgerDamaged, StoreUnavailable
from ordinis.files import replace_text
from ordinis.persistence.chain import Head


def write(path: Path, heads: Mapping[str, Head]) -> None:
    """Replace the file at `path`; after a crash there is the old one or the new one, whole."""
    chains = {table: {"length": head.length, "hash": head.hash} for table, head in heads.items()}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        replace_text(path, canonical({"chains": chains, "sha256": sha256(chains)}) + "\n")
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
