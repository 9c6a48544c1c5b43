"""The file of a data contract: columns with types and units, a key, and what is expected of them.

Each expectation is one of Great Expectations' own with its arguments as they stand, the reason that a person reads
when it is broken, and whether a breach rejects the row or the whole batch. A column that may not be null needs no
expectation that says so. The file is checked on loading: an expectation about a column that does not exist would
otherwise be found on the night on which it matters.
"""

from __future__ import annotations

from pathlib import Path
from string import Formatter
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from ordinis.data.derived import DERIVED
from ordinis.errors import ConfigurationError

Scope = Literal["row", "batch"]
FACTS = ("row_no", "missing", "extra")
"""What a reason may name besides the row's columns."""


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Column(_Part):
    name: str
    type: Literal["number", "text", "date", "instant", "truth"]
    unit: str | None
    meaning: str
    nullable: bool = False


class Expectation(_Part):
    name: str
    expect: str
    """Name of the Great Expectations class, in snake case."""
    arguments: dict[str, Any] = Field(alias="with")
    breach: Scope
    reason: str
    """What to tell a person; may name any column of the row."""
    decisive: bool = False
    """A row that fails this one is not asked the rest."""


class Contract(_Part):
    name: str = Field(alias="contract")
    version: int
    description: str
    key: tuple[str, ...]
    columns: tuple[Column, ...]
    missing: Scope
    """What a null rejects in a column that is not nullable."""
    derived: dict[str, str]
    expectations: tuple[Expectation, ...]

    @model_validator(mode="after")
    def _consistent(self) -> Contract:
        names = [column.name for column in self.columns]
        known = {*names, *self.derived}
        for name in self.key:
            if name not in names:
                raise ValueError(f"key {name!r} is not a column")
        for name in self.derived:
            if name not in DERIVED and name != "wrong_type":
                raise ValueError(f"derived column {name!r} is not one of wrong_type, {', '.join(sorted(DERIVED))}")
        for expectation in self.expectations:
            for argument in ("column", "column_A", "column_B"):
                name = expectation.arguments.get(argument, names[0])
                if name not in known:
                    raise ValueError(f"expectation {expectation.name!r} speaks of {name!r}, which is no column")
            for _, spoken, _, _ in Formatter().parse(expectation.reason):
                if spoken is not None and spoken not in {*known, *FACTS}:
                    raise ValueError(f"the reason of expectation {expectation.name!r} names {spoken!r}: no such column")
        return self

    @property
    def all_expectations(self) -> tuple[Expectation, ...]:
        """Those of the file, and one for each column that may not be null."""
        there = [
            Expectation.model_validate(
                {
                    "name": f"every row has {column.name}",
                    "expect": "expect_column_values_to_not_be_null",
                    "with": {"column": column.name},
                    "breach": self.missing,
                    "reason": f"{column.name} is missing or NaN",
                }
            )
            for column in self.columns
            if not column.nullable
        ]
        return (*self.expectations, *there)


def load_contract(folder: Path, name: str) -> Contract:
    """Read `name`.yaml in `folder`.

    Raises:
        ConfigurationError: the file is missing or does not say what a contract must.
    """
    path = folder / f"{name}.yaml"
    try:
        return Contract.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise ConfigurationError(f"contract {path}", f"cannot be read: {error.strerror}") from error
    except yaml.YAMLError as error:
        raise ConfigurationError(f"contract {path}", f"is not YAML: {error}") from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(step) for step in first["loc"])
        raise ConfigurationError(f"contract {path}", f"{where}: {first['msg']}" if where else first["msg"]) from error
