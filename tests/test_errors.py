"""Every error is one line, has a stable code, and survives the way to another process."""

from __future__ import annotations

import inspect
import pickle
from decimal import Decimal

import pytest

from ordinis import errors
from ordinis.errors import OrdinisError

KINDS = [
    kind
    for _, kind in inspect.getmembers(errors, inspect.isclass)
    if issubclass(kind, OrdinisError) and kind is not OrdinisError
]
VALUES = {"Decimal": Decimal("1.50"), "Sequence[str]": ["first", "second"], "float": 1.5}


def made(kind: type[OrdinisError]) -> OrdinisError:
    parameters = list(inspect.signature(kind.__init__).parameters.values())[1:]
    return kind(*(VALUES.get(str(parameter.annotation), f"<{parameter.name}>") for parameter in parameters))


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_an_error_survives_the_way_to_another_process(kind: type[OrdinisError]) -> None:
    error = made(kind)
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is kind
    assert str(again) == str(error)
    assert {k: v for k, v in vars(again).items() if k != "_given"} == {
        k: v for k, v in vars(error).items() if k != "_given"
    }


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_an_error_is_one_line_with_a_code_and_an_exit_code(kind: type[OrdinisError]) -> None:
    error = made(kind)
    assert "\n" not in str(error)
    assert error.code == error.code.lower()
    assert error.exit_code > 0
