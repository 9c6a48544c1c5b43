"""Which file system a folder is on, by the text of /proc/mounts."""

from __future__ import annotations

from pathlib import Path

import pytest

from ordinis.errors import ConfigurationError
from ordinis.persistence import mounts

TEXT = """\
/dev/vda / ext4 rw,relatime 0 0
proc /proc proc rw 0 0
server:/export /srv nfs4 rw,vers=4.2 0 0
/dev/vdb /srv/local ext4 rw 0 0
//nas/desk /mnt/the\\040desk cifs rw 0 0
tmpfs /scratch tmpfs rw 0 0
me@host: /scratch fuse.sshfs rw 0 0
broken line
"""


@pytest.mark.parametrize(
    ("folder", "kind"),
    [
        ("/home/me", "ext4"),
        ("/srv", "nfs4"),
        ("/srv/ledgers/deep", "nfs4"),
        ("/srv/local/ledgers", "ext4"),
        ("/srvice", "ext4"),
        ("/mnt/the desk/ledgers", "cifs"),
        ("/scratch/x", "fuse.sshfs"),
    ],
)
def test_the_deepest_and_latest_mount_counts(folder: str, kind: str) -> None:
    assert mounts.file_system(Path(folder), TEXT) == kind


def test_a_ledger_on_a_network_file_system_is_refused(tmp_path: Path) -> None:
    table = tmp_path / "mounts"
    table.write_text(f"{TEXT}server:/home {tmp_path.resolve()} nfs rw 0 0\n")
    with pytest.raises(ConfigurationError, match=r"network file system \(nfs\).*local disk, or use PostgreSQL"):
        mounts.refuse_network(tmp_path / "ledger.db", table)
    table.write_text(TEXT)
    mounts.refuse_network(tmp_path / "ledger.db", table)


def test_where_mounts_are_not_told_nothing_is_refused(tmp_path: Path) -> None:
    mounts.refuse_network(tmp_path / "ledger.db", tmp_path / "none")
