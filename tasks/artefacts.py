"""What a step of a night leaves in Prefect's pages.

Pages are a courtesy: a night that is done is done, whether or not the server was there to be shown it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from typing import TypeVar
from uuid import UUID

import httpx
from prefect.artifacts import (
    create_image_artifact,
    create_markdown_artifact,
    create_progress_artifact,
    create_table_artifact,
    update_progress_artifact,
)
from prefect.exceptions import PrefectException

from ordinis.monitoring.artefacts import Artefacts

logger = logging.getLogger(__name__)
T = TypeVar("T")


def publish(made: Artefacts) -> None:
    """Show Markdown, table and pictures under the step's key, and a warning of its own where something is missing."""
    told = f"As of the close of {made.session}."
    _shown(partial(create_markdown_artifact, made.markdown, key=made.key, description=told))
    if made.table:
        _shown(partial(create_table_artifact, list(made.table), key=f"{made.key}-table", description=told))
    for number, (words, address) in enumerate(made.pictures.items(), start=1):
        _shown(partial(create_image_artifact, address, key=f"{made.key}-picture-{number}", description=words))
    if made.warning:
        _shown(partial(create_markdown_artifact, made.warning, key=f"{made.key}-warning", description=told))


class Progress:
    """How far a long run is, in the server's pages."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._id: UUID | None = None
        self.move(0.0)

    def move(self, share: float) -> None:
        """Show that `share` of the work is done."""
        if self._id is None:
            made = _shown(lambda: create_progress_artifact(100.0 * share, description=self._what))
            self._id = made if isinstance(made, UUID) else None
        else:
            _shown(lambda: update_progress_artifact(self._id, progress=100.0 * share))  # type: ignore[arg-type]


def _shown(make: Callable[[], T]) -> T | None:
    try:
        return make()
    except (httpx.HTTPError, PrefectException) as error:
        logger.warning("not shown in Prefect's pages: %s", error)
        return None
