"""The records database, one transaction at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Connection, Engine, Row
from sqlalchemy.exc import OperationalError, ProgrammingError

from ordinis.errors import StoreUnavailable
from ordinis.persistence.engine import shown


class RecordDatabase:
    """Its tables exist."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def _rows(self, query: Any) -> Sequence[Row[Any]]:
        with self._begin(write=False) as connection:
            return connection.execute(query).all()

    @contextmanager
    def _begin(self, *, write: bool = True) -> Iterator[Connection]:
        try:
            with self._engine.connect().execution_options(read_only=not write) as connection, connection.begin():
                yield connection
        except (OperationalError, ProgrammingError) as error:
            raise StoreUnavailable(shown(self._engine), str(error.orig)) from error
