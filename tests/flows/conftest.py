"""The running stack, shared with the tests of operations."""

from __future__ import annotations

import pytest

from tests.operations.running import Running, running


@pytest.fixture(scope="session")
def up(request: pytest.FixtureRequest) -> Running:
    return running(request.config)
