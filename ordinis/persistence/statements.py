"""Statements of the ledger, compiled once a process and run by the driver itself.

On its way from a statement to rows SQLAlchemy spends some fifty microseconds, ten times what SQLite needs to answer,
and an order is forty statements. So a statement is compiled once for each dialect; its values go in and come out
through the library's own types, and an error of the driver is raised as the library's. The transaction stays the
library's too. Only statements that live as long as the process belong here: what was compiled is never forgotten.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, Dialect, Executable, Select
from sqlalchemy.exc import DBAPIError
from sqlalchemy.sql.compiler import SQLCompiler

Values = Mapping[str, Any]
Row = dict[str, Any]
Convert = Callable[[Any], Any]
CHUNK = 1_000
"""Rows fetched at once: one by one they take twice as long."""


class Statement:
    """One statement in one dialect: its text, and how values go in and come out."""

    def __init__(self, dialect: Dialect, statement: Executable, names: tuple[str, ...]) -> None:
        compiled: SQLCompiler = statement.compile(  # type: ignore[attr-defined]
            dialect=dialect, column_keys=names, compile_kwargs={"render_postcompile": True}
        )
        self.text = compiled.string
        self._places: Sequence[str] | None = compiled.positiontup
        self._given = {name: value for name, value in compiled.params.items() if name not in names}
        found = {
            name: bind.type.dialect_impl(dialect).bind_processor(dialect) for bind, name in compiled.bind_names.items()
        }
        self._into: dict[str, Convert] = {name: convert for name, convert in found.items() if convert is not None}
        self._types = [column.type for column in statement.selected_columns] if isinstance(statement, Select) else []
        self._out: dict[str, Convert] = {}
        self._names: tuple[str, ...] = ()

    def values(self, given: Values) -> Any:
        """`given` as the driver takes it."""
        both = {**self._given, **given}
        for name, convert in self._into.items():
            both[name] = convert(both[name])
        return both if self._places is None else [both[name] for name in self._places]

    def rows(self, cursor: Any, dialect: Dialect) -> Iterator[Row]:
        """What `cursor` has found, by column, as Python's values."""
        if not self._names:
            self._learn(cursor.description, dialect)
        names, out = self._names, self._out.items()
        more = True
        while more:
            found = cursor.fetchmany(CHUNK)
            more = len(found) == CHUNK
            for fields in found:
                row = dict(zip(names, fields, strict=True))
                for name, convert in out:
                    row[name] = convert(row[name])
                yield row

    def _learn(self, described: Sequence[Sequence[Any]], dialect: Dialect) -> None:
        """How to read the columns depends on what the driver says that they are; it says the same every time."""
        for column, kind in zip(described, self._types, strict=False):
            convert = kind.dialect_impl(dialect).result_processor(dialect, column[1])
            if convert is not None:
                self._out[column[0]] = convert
        self._names = tuple(column[0] for column in described)


_known: dict[tuple[Executable, str, tuple[str, ...]], Statement] = {}


def rows(connection: Connection, statement: Executable, values: Values) -> Iterator[Row]:
    """The rows that `statement` finds, by column."""
    known = _statement(connection, statement, tuple(values))
    given = known.values(values)
    dialect = connection.dialect
    try:
        cursor = _cursor(connection)
        cursor.execute(known.text, given)
        # A page may turn out to be damaged, or a text to be none, when it is fetched.
        yield from known.rows(cursor, dialect)
    except dialect.loaded_dbapi.Error as error:
        raise _as_the_library_says(error, known.text, given, dialect) from error


def write(connection: Connection, statement: Executable, *values: Values) -> int:
    """Run `statement` once for each of `values`, which have the same names; return how many rows it changed."""
    known = _statement(connection, statement, tuple(values[0]))
    given = [known.values(each) for each in values]
    dialect = connection.dialect
    try:
        cursor = _cursor(connection)
        if len(given) == 1:
            cursor.execute(known.text, given[0])
        else:
            cursor.executemany(known.text, given)
    except dialect.loaded_dbapi.Error as error:
        raise _as_the_library_says(error, known.text, given, dialect) from error
    return int(cursor.rowcount)


def _statement(connection: Connection, statement: Executable, names: tuple[str, ...]) -> Statement:
    key = (statement, connection.dialect.name, names)
    known = _known.get(key)
    if known is None:
        known = _known[key] = Statement(connection.dialect, statement, names)
    return known


def _cursor(connection: Connection) -> Any:
    if not connection.in_transaction():
        connection.begin()
    return connection.connection.cursor()


def _as_the_library_says(error: Exception, text: str, given: Any, dialect: Dialect) -> BaseException:
    return DBAPIError.instance(text, given, error, dialect.loaded_dbapi.Error, dialect=dialect)
