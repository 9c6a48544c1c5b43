"""What each program may know: settings without secrets, and nothing of ours that is not named."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from pydantic import SecretStr

from ordinis.operations.environments import everything, for_prefect, for_ray, ray_folder, token
from ordinis.settings import Settings


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(
        home=tmp_path,
        token=SecretStr("the-service-token"),
        ledger_database="postgresql://trader:hunter2@localhost/ledger",
    )


@pytest.fixture(autouse=True)
def brokers_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("APCA_API_SECRET_KEY", "canary")


def test_a_brokers_key_goes_to_the_programs_that_trade_and_nowhere_else(settings: Settings) -> None:
    assert everything(settings)["APCA_API_SECRET_KEY"] == "canary"
    assert "canary" not in for_prefect(settings).values()
    assert "canary" not in for_ray(settings).values()


def test_ray_knows_the_service_s_token_but_no_database(settings: Settings) -> None:
    environment = for_ray(settings)
    assert environment["ORDINIS_TOKEN"] == "the-service-token"
    assert not any("hunter2" in value for value in environment.values())


def test_flows_know_the_databases_but_not_the_service_s_token(settings: Settings) -> None:
    environment = for_prefect(settings)
    assert environment["ORDINIS_LEDGER_DATABASE"] == settings.ledger_database
    assert "the-service-token" not in environment.values()


def test_settings_cross_as_they_are(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in settings.environment().items():
        monkeypatch.setenv(name, value)
    assert Settings().environment() == settings.environment()


def test_a_token_is_made_once_and_only_its_owner_can_read_it(tmp_path: Path) -> None:
    path = tmp_path / "new" / "token"
    with ThreadPoolExecutor(8) as pool:
        made = set(pool.map(lambda _: token(path, "ordinis:"), range(16)))
    assert len(made) == 1
    assert made.pop().startswith("ordinis:")
    assert path.stat().st_mode & 0o777 == 0o600
    assert list(path.parent.iterdir()) == [path]


def test_rays_sockets_fit_whatever_the_home_is_called(tmp_path: Path) -> None:
    deep = Settings(home=tmp_path / ("deep" * 30))
    socket = ray_folder(deep) / "session_2026-11-21_04-12-04_155006_1234567" / "sockets" / "plasma_store"
    assert len(str(socket)) < 107
    assert ray_folder(deep) != ray_folder(Settings(home=tmp_path))
