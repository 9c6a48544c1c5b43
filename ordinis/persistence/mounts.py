"""Whether a file lies on a network file system, where SQLite's locks and syncs do not hold what they promise."""

from __future__ import annotations

import re
from pathlib import Path

from ordinis.errors import ConfigurationError

MOUNTS = Path("/proc/mounts")
NETWORK = frozenset(
    {"nfs", "nfs4", "cifs", "smb3", "smbfs", "ncpfs", "afs", "coda", "ceph", "glusterfs", "lustre", "beegfs", "gpfs",
     "ocfs2", "gfs2", "davfs", "fuse.sshfs", "fuse.ceph", "fuse.glusterfs", "fuse.davfs2", "fuse.s3fs", "fuse.rclone",
     "fuse.gcsfuse", "fuse.goofys", "fuse.juicefs"}
)  # fmt: skip


def refuse_network(file: Path, mounts: Path = MOUNTS) -> None:
    """Refuse a `file` that is, or would be, on a network file system; without `mounts` nothing is known or refused.

    Raises:
        ConfigurationError: it is on one.
    """
    if not mounts.exists():
        return
    kind = file_system(file.parent.resolve(), mounts.read_text(encoding="utf-8", errors="surrogateescape"))
    if kind in NETWORK:
        raise ConfigurationError(
            "ORDINIS_LEDGER_DATABASE",
            f"{file} is on a network file system ({kind}), where a committed order may be lost; put the ledger on a "
            "local disk, or use PostgreSQL",
        )


def file_system(folder: Path, mounts: str) -> str:
    """The type of the file system that `folder` is on, by the text of /proc/mounts; empty when it names none.

    Of two mounts on one folder the later hides the earlier.
    """
    kind, depth = "", -1
    for line in mounts.splitlines():
        fields = line.split(" ")
        if len(fields) < 3:
            continue
        point = Path(_unescaped(fields[1]))
        if folder.is_relative_to(point) and len(point.parts) >= depth:
            kind, depth = fields[2], len(point.parts)
    return kind


def _unescaped(text: str) -> str:
    """Blanks and backslashes are written there as octal numbers."""
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), text)
