"""Joining: the token stays secret, names of allocators are resolved, own files too."""

from __future__ import annotations

import io
import logging
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import SecretStr

from ordinis import bootstrap
from ordinis.allocation.optimal import MeanCVaR
from ordinis.bootstrap.deciding import ALLOCATORS
from ordinis.costs.models import ProportionalCost
from ordinis.domain.limits import Limits
from ordinis.errors import ConfigurationError
from ordinis.settings import Settings, load

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def log() -> Iterator[io.StringIO]:
    logger = logging.getLogger("ordinis")
    before = (logger.handlers, logger.propagate, logger.level)
    stream = io.StringIO()
    bootstrap.logging_to(stream)
    yield stream
    logger.handlers, logger.propagate, logger.level = before


def test_a_token_is_made_once_and_only_its_owner_can_read_it(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path)
    token = bootstrap.token(settings)
    assert token == bootstrap.token(settings)
    assert len(token) >= 32
    assert stat.S_IMODE((tmp_path / "token").stat().st_mode) == 0o600


def test_a_token_reaches_no_log_not_even_in_a_traceback(tmp_path: Path, log: io.StringIO) -> None:
    token = bootstrap.token(Settings(home=tmp_path, token=SecretStr("canary-4711-canary")))
    logger = logging.getLogger("ordinis.test")
    logger.info("the token is %s", token)
    try:
        raise RuntimeError(f"Bearer {token}")
    except RuntimeError:
        logger.exception("it failed")
    assert "canary" not in log.getvalue()
    assert log.getvalue().count("***") >= 2
    assert "RuntimeError" in log.getvalue()


def test_settings_show_no_secret() -> None:
    settings = Settings(token=SecretStr("canary-4711-canary"))
    assert "canary" not in repr(settings) + str(settings.model_dump()) + str(settings.environment())


@pytest.mark.parametrize("name", ALLOCATORS)
def test_every_name_gives_an_allocator_whose_version_follows_from_its_parameters(name: str) -> None:
    first, again = bootstrap.allocator(name, Limits()), bootstrap.allocator(name, Limits())
    assert first.name
    assert first.version == again.version
    assert len({bootstrap.allocator(other, Limits()).version for other in ALLOCATORS}) == len(ALLOCATORS)


def test_an_allocator_knows_the_limits_costs_and_volumes_of_a_home(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path)
    asked = bootstrap.allocator_for(settings, "mean-cvar-after-costs")
    assert isinstance(asked, MeanCVaR)
    assert asked.costs == bootstrap.costs(settings)
    assert asked.limits == bootstrap.rulebook(settings).limits
    told = bootstrap.reference_volumes(settings)
    assert asked.adv == {symbol: told[symbol] for symbol in bootstrap.universe(settings)}
    assert asked.adv.keys() < told.keys(), "of an index that is not held nobody's answer depends"
    own = bootstrap.allocators(settings)("mean-cvar-after-costs", ProportionalCost(7.0))
    assert isinstance(own, MeanCVaR)
    assert own.costs == ProportionalCost(7.0)


def test_the_allocator_of_the_contributing_page_works_as_it_stands_there(tmp_path: Path) -> None:
    page = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    file = tmp_path / "my_allocator.py"
    file.write_text(page.split("```python\n")[1].split("```")[0])
    assert bootstrap.allocator(f"{file}:Momentum", Limits()).name == "momentum"
    with pytest.raises(ConfigurationError, match="has no class 'Moment'"):
        bootstrap.allocator(f"{file}:Moment", Limits())


def test_a_value_that_cannot_be_read_names_its_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ORDINIS_SERVE_PORT", "eight thousand")
    with pytest.raises(ConfigurationError, match="ORDINIS_SERVE_PORT"):
        load()
