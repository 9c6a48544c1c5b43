"""Shocks that a person imagines, from a file.

    - name: Oil halves
      market: -0.05
      sectors: {energy: -0.30}
      symbols: {XOM: -0.35}

Moves are fractions: -0.30 is a fall of 30 %. What is named closest wins; the market reaches every other symbol by its
beta.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import yaml
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from ordinis.errors import ConfigurationError
from ordinis.risk.stress import Shock

Move = Annotated[float, Field(ge=-1.0, le=10.0, allow_inf_nan=False)]


class _Shock(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    name: Annotated[str, Field(min_length=1)]
    market: Move = 0.0
    sectors: Mapping[str, Move] = Field(default_factory=dict)
    symbols: Mapping[str, Move] = Field(default_factory=dict)


def read_shocks(path: Path) -> tuple[Shock, ...]:
    """The shocks in the file, in its order.

    Raises:
        ConfigurationError: it cannot be read, or a value in it is wrong; names which.
    """
    try:
        told = yaml.safe_load(path.read_text(encoding="utf-8"))
        found = TypeAdapter(list[_Shock]).validate_python(told)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise ConfigurationError(f"shocks {path}", f"{place}: {first['msg']}") from error
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigurationError(f"shocks {path}", f"cannot be read: {error}") from error
    return tuple(Shock(each.name, each.market, dict(each.sectors), dict(each.symbols)) for each in found)
