from __future__ import annotations

from pathlib import Path

import pytest

from ordinis.execution.reconcile import reconcile
from tests.execution.world import World


@pytest.fixture
def world(tmp_path: Path) -> World:
    world = World(tmp_path)
    reconcile(world.engine())
    return world
