"""ray_cluster.yaml: accepted by Ray's own schema, behind a token, and without a secret in it."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def cluster() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((ROOT / "ray_cluster.yaml").read_text(encoding="utf-8"))
    return found


@pytest.fixture(scope="module")
def schema() -> dict[str, Any]:
    ray = importlib.util.find_spec("ray")
    assert ray is not None
    assert ray.origin is not None
    found: dict[str, Any] = json.loads((Path(ray.origin).parent / "autoscaler" / "ray-schema.json").read_text())
    return found


def test_rays_own_schema_accepts_it(cluster: dict[str, Any], schema: dict[str, Any]) -> None:
    jsonschema.validate(cluster, schema)


def test_rays_launcher_fills_in_the_rest_and_finds_no_fault(cluster: dict[str, Any]) -> None:
    from ray.autoscaler._private.util import prepare_config, validate_config

    validate_config(prepare_config(cluster))


def test_rays_own_schema_would_see_a_slip(cluster: dict[str, Any], schema: dict[str, Any]) -> None:
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(cluster | {"max_worker": 2}, schema)


def test_there_is_a_head_and_machines_with_and_without_gpu(cluster: dict[str, Any]) -> None:
    types = cluster["available_node_types"]
    assert cluster["head_node_type"] in types
    assert {"GPU" in each["resources"] for name, each in types.items() if name != cluster["head_node_type"]} == {
        True,
        False,
    }
    assert sum(each.get("max_workers", 0) for each in types.values()) <= cluster["max_workers"]
    assert all(each["node_config"]["MetadataOptions"]["HttpTokens"] == "required" for each in types.values())


def test_every_ray_that_is_started_asks_for_the_token(cluster: dict[str, Any]) -> None:
    starts = [
        command
        for which in ("head_start_ray_commands", "worker_start_ray_commands")
        for command in cluster[which]
        if "ray start" in command
    ]
    assert len(starts) == 2
    assert all("RAY_AUTH_MODE=token" in command for command in starts)
    assert not any("0.0.0.0" in command for command in starts)


def test_the_heads_commands_hold_no_key(cluster: dict[str, Any]) -> None:
    text = json.dumps(cluster).lower()
    assert not any(word in text for word in ("apca", "secret", "password", "aws_access", "ordinis_token"))
