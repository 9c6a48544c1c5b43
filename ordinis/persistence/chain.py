"""Append-only rows whose hashes cover the row before: a changed, missing or reordered row shows.

    hash = sha256(previous hash | canonical text of the row)

The text is ours, never the database's own rendering, so both databases give the same hash for the same row. Places
count 1, 2, 3, ... without a gap, so that the end of a chain can be written down as a length and a hash.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any
from weakref import WeakKeyDictionary

from sqlalchemy import Connection, Executable, Table, insert, select, text
from sqlalchemy.engine import Transaction

from ordinis.domain.canonical import canonical, plain_text
from ordinis.errors import LedgerDamaged
from ordinis.persistence.reading import column_names, plain_rows
from ordinis.persistence.statements import rows, write


@dataclass(frozen=True)
class Head:
    """The end of a chain: how many rows it has, and the hash of the last."""

    length: int
    hash: str


EMPTY = Head(0, "0" * 64)
LOCKED_HEAD = text("SELECT seq, hash FROM chain_head(:name)")
"""PostgreSQL: two appenders must not read the same head, so the second waits for the first to end."""
_heads: WeakKeyDictionary[Transaction, dict[str, Head]] = WeakKeyDictionary()
"""The heads that a transaction has appended to: until it ends nobody else can."""


def hold(connection: Connection, table: Table) -> dict[str, Head]:
    """Let nobody else append to `table` until this transaction ends; the ends of the chains that are held."""
    transaction = connection.get_transaction() or connection.begin()
    mine = _heads.setdefault(transaction, {})
    if table.name not in mine:
        # SQLite has one writer anyway.
        one_writer = connection.dialect.name == "sqlite"
        mine[table.name] = head(connection, table) if one_writer else _locked_head(connection, table)
    return mine


def append(connection: Connection, table: Table, values: Mapping[str, Any]) -> None:
    """Insert `values` as the next row of `table`."""
    held = hold(connection, table)
    last = held[table.name]
    content = {name: values.get(name) for name in _content_columns(table)}
    here = Head(last.length + 1, _hash(last.hash, canonical(content)))
    write(connection, _insert(table), {**content, "seq": here.length, "prev_hash": last.hash, "hash": here.hash})
    held[table.name] = here


def head(connection: Connection, table: Table) -> Head:
    """Where `table` ends now."""
    found = [Head(row["seq"], row["hash"]) for row in rows(connection, _last(table), {})]
    return found[0] if found else EMPTY


def _locked_head(connection: Connection, table: Table) -> Head:
    [row] = rows(connection, LOCKED_HEAD, {"name": table.name})
    return EMPTY if row["seq"] is None else Head(row["seq"], row["hash"])


def verified(connection: Connection, table: Table, anchored: Head = EMPTY) -> Iterator[dict[str, Any]]:
    """The rows of `table` from the first, each checked against the one before it; to be read to the end.

    Args:
        anchored: an end that the chain once had, and must still pass through.

    Raises:
        LedgerDamaged: names the first row that does not fit, or the last before a tail that was cut off.
    """
    last, content_columns = EMPTY, _content_columns(table)
    for row in plain_rows(connection, table, "seq"):
        place = last.length + 1
        if row["seq"] != place:
            raise LedgerDamaged(table.name, str(place), f"it is missing; the next is row {row['seq']}")
        if row["prev_hash"] != last.hash:
            raise LedgerDamaged(table.name, str(place), "the row before it was changed, removed or added")
        last = Head(place, _hash(last.hash, plain_text({name: row[name] for name in content_columns})))
        if row["hash"] != last.hash:
            raise LedgerDamaged(table.name, str(place), "its content does not match its hash")
        if place == anchored.length and last != anchored:
            raise LedgerDamaged(table.name, str(place), "it is not the row that the anchor file saw there")
        yield row
    if last.length < anchored.length:
        cut = f"it is missing: the anchor file saw {anchored.length} rows, {last.length} are left; the end was cut off"
        raise LedgerDamaged(table.name, str(last.length + 1), f"{cut}, or an older copy was put in place")


@cache
def _content_columns(table: Table) -> tuple[str, ...]:
    return tuple(name for name in column_names(table) if name not in ("seq", "prev_hash", "hash"))


@cache
def _insert(table: Table) -> Executable:
    return insert(table)


@cache
def _last(table: Table) -> Executable:
    return select(table.c.seq, table.c.hash).order_by(table.c.seq.desc()).limit(1)


def _hash(previous: str, content: str) -> str:
    return hashlib.sha256(f"{previous}|{content}".encode()).hexdigest()
