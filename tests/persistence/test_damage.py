"""Damage of every kind to a ledger's file shows at the next start, or is proved to have changed nothing."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from ordinis.errors import LedgerDamaged
from tests.persistence import damage
from tests.persistence.damage import Original


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Original:
    return damage.make(tmp_path_factory.mktemp("original"))


def sweep(
    original: Original, folder: Path, times: int, seed: int, hurt: Callable[[Path, random.Random], None]
) -> Counter[str]:
    """Hurt `times` fresh copies, and count how each was found."""
    counts: Counter[str] = Counter()
    for number in range(times):
        file = original.copy(folder)
        hurt(file, random.Random(f"{seed}-{number}"))
        how = damage.found(file, original)
        assert how != "PASSED", f"damage {seed}-{number} was not noticed"
        counts[how] += 1
    print(f"{times} of {getattr(hurt, '__name__', 'ends')}: {dict(counts.most_common())}")  # noqa: T201
    return counts


def cut(original: Original) -> Callable[[Path, random.Random], None]:
    return lambda file, rng: rng.choice(damage.ENDS)(file, original, rng)


def test_a_whole_ledger_starts(original: Original, tmp_path: Path) -> None:
    assert len(original.content["fill"]) > 200
    damage.start(original.copy(tmp_path))


def test_a_flip_anywhere_in_the_file_is_noticed_or_harmless(original: Original, tmp_path: Path) -> None:
    counts = sweep(original, tmp_path, 125, 1, damage.flip_in_file)
    assert counts["pages"] > 10
    assert counts["harmless"] < 60


def test_a_flip_in_any_value_is_noticed(original: Original, tmp_path: Path) -> None:
    counts = sweep(original, tmp_path, 125, 2, damage.flip_in_value)
    assert counts["harmless"] == 0
    assert len(counts) > 8


@pytest.mark.parametrize("hurt", damage.ENDS)
def test_an_end_that_was_cut_off_is_noticed(
    original: Original, tmp_path: Path, hurt: Callable[[Path, Original, random.Random], None]
) -> None:
    counts = sweep(original, tmp_path, 6, 3, lambda file, rng: hurt(file, original, rng))
    assert counts["harmless"] == 0


@pytest.mark.slow
def test_a_thousand_flips_and_a_hundred_cut_ends(original: Original, tmp_path: Path) -> None:
    sweep(original, tmp_path, 500, 4, damage.flip_in_file)
    sweep(original, tmp_path, 500, 5, damage.flip_in_value)
    assert sweep(original, tmp_path, 100, 6, cut(original))["harmless"] == 0


@pytest.mark.parametrize("hurt", [damage.put_back_older, damage.cut_chain, damage.cut_events])
def test_only_the_anchor_knows_of_a_clean_cut(
    original: Original, tmp_path: Path, hurt: Callable[[Path, Original, random.Random], None]
) -> None:
    file = original.copy(tmp_path)
    hurt(file, original, random.Random(7))
    with pytest.raises(LedgerDamaged, match="the end was cut off"):
        damage.start(file)
    damage.anchor_of(file).unlink()
    damage.start(file)
