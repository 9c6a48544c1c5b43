"""A file that others read is whole at every moment, whatever becomes of its writer."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ordinis.files import replace_text

LONG = 200_000
WRITER = f"""
import sys
from pathlib import Path
from ordinis.files import replace_text
while True:
    for letter in "ab":
        replace_text(Path(sys.argv[1]), letter * {LONG})
"""


def test_the_new_text_takes_the_place_of_the_old_and_leaves_nothing_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "told.json"
    for text in ("first\n", "second, Überraschung\n"):
        replace_text(path, text)
        assert path.read_text(encoding="utf-8") == text
    assert list(tmp_path.iterdir()) == [path]


def test_what_cannot_be_written_leaves_the_old(tmp_path: Path) -> None:
    path = tmp_path / "told.json"
    replace_text(path, "kept")
    with pytest.raises(UnicodeEncodeError):
        replace_text(path, "half \ud800")
    assert path.read_text() == "kept"
    assert list(tmp_path.iterdir()) == [path]
    folder = tmp_path / "folder"
    folder.mkdir()
    with pytest.raises(OSError, match="folder"):
        replace_text(folder, "text")
    assert sorted(tmp_path.iterdir()) == [folder, path]


def test_what_a_killed_writer_left_is_cleared_away_after_a_while(tmp_path: Path) -> None:
    path, old, young = tmp_path / "told", tmp_path / "told.123-4.new", tmp_path / "told.125-6.new"
    for left in (old, young):
        left.write_text("half")
    os.utime(old, (time.time() - 4000, time.time() - 4000))
    replace_text(path, "whole")
    assert sorted(tmp_path.iterdir()) == [path, young], "the younger may be somebody's who is writing now"


def test_a_reader_never_sees_a_part_and_neither_does_a_crash(tmp_path: Path) -> None:
    path = tmp_path / "told"
    replace_text(path, "a" * LONG)
    writer = subprocess.Popen([sys.executable, "-c", WRITER, str(path)])
    seen = set()
    ends = time.monotonic() + 30
    try:
        while len(seen) < 2 and time.monotonic() < ends:
            text = path.read_text()
            assert len(text) == LONG
            assert len(set(text)) == 1
            seen.add(text[0])
    finally:
        os.kill(writer.pid, signal.SIGKILL)
        writer.wait()
    assert seen == {"a", "b"}
    assert path.read_text() in ("a" * LONG, "b" * LONG)
