"""Files that others read: after a crash or a power cut there is the old one or the new one, whole."""

from __future__ import annotations

import os
import time
from contextlib import suppress
from pathlib import Path
from threading import get_ident

ABANDONED = 3600.0
"""Seconds after which what a writer has left beside the file is nobody's: it was killed."""


def replace_text(path: Path, text: str) -> None:
    """Put `text` in the place of the file at `path`, or make it; who reads meanwhile sees the one or the other.

    Raises:
        OSError: it cannot be written, and the file is as it was; or it is written and may not outlive a power cut.
    """
    _clear(path)
    # Of this thread alone, so that two that write at once do not write into one file.
    fresh = path.with_name(f"{path.name}.{os.getpid()}-{get_ident()}.new")
    try:
        with fresh.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(path)
    except BaseException:
        with suppress(OSError):
            fresh.unlink()
        raise
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make what was put into `folder`, or renamed there, outlive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _clear(path: Path) -> None:
    for left in path.parent.glob(f"{path.name}.*.new"):
        with suppress(OSError):
            if time.time() - left.stat().st_mtime > ABANDONED:
                left.unlink()
