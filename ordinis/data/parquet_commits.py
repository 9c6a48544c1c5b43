"""Parquet files that are added to and never changed, under a folder or URL.

    root/bars/year=2020/<name>.parquet     rows of one commit, sorted by symbol and session
    root/commits/<name>.json               what makes those files count: their names, sessions and hashes

A commit's files are written first, under names taken from their content; then one rename puts the commit's own file
in place. A process that is killed before the rename has stored nothing, and the same rows written again give the
same bytes under the same names. Two writers with different rows do not disturb each other.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.fs as pafs
import pyarrow.parquet as pq

from ordinis.errors import StoreUnavailable


@dataclass(frozen=True)
class _File:
    path: str
    first: str
    """First session, as ISO text: a reader skips the files that hold none of its sessions."""
    last: str
    rows: int
    sha256: str


class ParquetCommits:
    """Tables with a `session` column, in commits that are there whole or not at all."""

    def __init__(self, url: str) -> None:
        """Open a folder, or any URL that pyarrow or fsspec can address; it need not exist yet.

        Raises:
            StoreUnavailable: the URL is none that can be opened.
        """
        self.url = url
        self._files, self._root = _open(url)
        self._commits: dict[str, list[_File]] = {}

    def tables(self, first: date, last: date) -> list[pa.Table]:
        """Every committed table that may hold a session from `first` to `last`.

        Raises:
            StoreUnavailable: a file is missing or is not the one that was committed.
        """
        begin, end = first.isoformat(), last.isoformat()
        return [self._table(file) for file in self._committed() if file.first <= end and begin <= file.last]

    def add(self, table: pa.Table) -> None:
        """Commit the rows of `table`, one file a year."""
        years = pc.year(table["session"]).to_numpy()
        files = []
        for year in sorted(set(years.tolist())):
            part = table.filter(pa.array(years == year)).combine_chunks()
            sink = io.BytesIO()
            pq.write_table(part, sink, compression="zstd")
            digest = hashlib.sha256(sink.getvalue()).hexdigest()
            span = pc.min_max(part["session"]).as_py()
            file = _File(
                path=f"bars/year={year}/{digest[:32]}.parquet",
                first=span["min"].isoformat(),
                last=span["max"].isoformat(),
                rows=part.num_rows,
                sha256=digest,
            )
            self._put(file.path, sink.getvalue())
            files.append(file)
        content = json.dumps({"files": [asdict(file) for file in files]}, indent=1, sort_keys=True).encode()
        # From here on the rows count.
        self._put(f"commits/{hashlib.sha256(content).hexdigest()[:32]}.json", content)

    def _committed(self) -> list[_File]:
        listing = self._files.get_file_info(pafs.FileSelector(f"{self._root}/commits", allow_not_found=True))
        for info in sorted(listing, key=lambda info: info.base_name):
            name = info.base_name
            if name in self._commits or name.startswith(".") or not name.endswith(".json"):
                continue
            try:
                content = json.loads(self._get(f"commits/{name}"))
                self._commits[name] = [_File(**file) for file in content["files"]]
            except (ValueError, KeyError, TypeError) as error:
                raise StoreUnavailable(self.url, f"commits/{name} is damaged; restore it from a backup") from error
        return [file for name in sorted(self._commits) for file in self._commits[name]]

    def _table(self, file: _File) -> pa.Table:
        content = self._get(file.path)
        if hashlib.sha256(content).hexdigest() != file.sha256:
            raise StoreUnavailable(self.url, f"{file.path} is damaged; restore it from a backup")
        return pq.read_table(pa.BufferReader(content), partitioning=None)

    def _get(self, path: str) -> bytes:
        try:
            with self._files.open_input_stream(f"{self._root}/{path}") as stream:
                return bytes(stream.read())
        except OSError as error:
            raise StoreUnavailable(self.url, f"{path} cannot be read: {error}") from error

    def _put(self, path: str, content: bytes) -> None:
        """Write a file that is there whole or not at all."""
        target = f"{self._root}/{path}"
        folder, name = target.rsplit("/", 1)
        temporary = f"{folder}/.{name}"
        try:
            self._files.create_dir(folder, recursive=True)
            with self._files.open_output_stream(temporary) as stream:
                stream.write(content)
            self._sync(temporary)
            self._files.move(temporary, target)
            self._sync(folder)
        except OSError as error:
            raise StoreUnavailable(self.url, f"{path} cannot be written: {error}") from error

    def _sync(self, path: str) -> None:
        """On a disk, wait until the file or folder is on it: a power cut must not keep the commit and lose its rows."""
        if isinstance(self._files, pafs.LocalFileSystem):
            handle = os.open(path, os.O_RDONLY)
            try:
                os.fsync(handle)
            finally:
                os.close(handle)


def _open(url: str) -> tuple[pafs.FileSystem, str]:
    if "://" not in url:
        return pafs.LocalFileSystem(), str(Path(url).expanduser().absolute())
    try:
        try:
            files, root = pafs.FileSystem.from_uri(url)
        except pa.ArrowInvalid:
            files, root = pafs.FileSystem.from_uri(f"fsspec+{url}")
    except (pa.ArrowException, ImportError, OSError, ValueError) as error:
        raise StoreUnavailable(url, f"cannot be opened: {error}") from error
    return files, root.rstrip("/")
