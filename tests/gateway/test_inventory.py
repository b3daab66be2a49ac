"""What is said of routers and models, and that what is told to be added works."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from app.core.config import load_config
from app.core.errors import ModelNotFound
from app.gateway.configured import catalog_from_config
from app.gateway.decide import Decider
from app.gateway.entries import build_entries, build_rules
from app.gateway.health import Fleet, HealthRules
from app.gateway.inventory import default_reason, facts_of, installed_routers, model_facts, router_facts
from routers import Router, registry
from routers.knn import KnnRouter
from tests.routers import toy
from tests.routers.test_card import CARD
from tests.serving import models


def decided(folder: Path, routing: dict[str, Any], given: dict[str, Router] | None = None) -> tuple[Any, Decider]:
    """A config and its decider, over four models of which one has no key."""
    entries = models("http://127.0.0.1:9/v1", *toy.MODELS)
    del entries[1]["litellm_params"]["api_key"]
    path = folder / "hullspeed.yaml"
    path.write_text(yaml.safe_dump({"model_list": entries, "routing": routing}))
    config = load_config(path, {})
    catalog = catalog_from_config(config, {})
    routers = build_entries(config, given)
    return config, Decider(Fleet(catalog, HealthRules()), routers, build_rules(config, catalog, routers))


def trained(folder: Path) -> str:
    router = KnnRouter.fit(toy.outcomes_once(), k=7)
    router.card = CARD
    router.save(folder / "knn")
    return "knn"


def test_routers_with_the_default_first(tmp_path: Path) -> None:
    routers = {"spread": {"router": "uniform"}, "near": {"artifact": trained(tmp_path), "tradeoff": 0.2}}
    config, decider = decided(tmp_path, {"default": "near", "routers": routers})
    facts = router_facts(decider, config)
    assert [one.name for one in facts][:2] == ["near", "spread"]
    near = facts[0]
    assert (near.router, near.tradeoff, near.is_default, near.is_own) == ("knn", 0.2, True, True)
    assert near.trained_on is not None
    assert (near.trained_on.suite, len(near.trained_on.items), near.models) == ("toy", 240, toy.MODELS)
    assert near.card == CARD
    assert near.artifact == tmp_path / "knn"
    assert near.problems == ()
    assert "Cosine" in near.summary
    assert not next(one for one in facts if one.name == "cheapest").is_own
    assert "routing.default" in default_reason(config)
    with pytest.raises(ModelNotFound, match="near, spread"):
        facts_of(decider, config, "nope")


def test_what_does_not_fit_is_said(tmp_path: Path) -> None:
    router = KnnRouter.fit(toy.outcomes_once())
    _, decider = decided(tmp_path, {"models": ["small", "large"]}, {"knn": router})
    config, _ = decided(tmp_path, {"models": ["small", "large"]})
    found = facts_of(decider, config, "knn").problems
    assert any("not served here: coder, poet" in problem for problem in found)
    assert any("not validated" in problem for problem in found)
    assert any("untrained" in problem for problem in facts_of(decider, config, "length").problems)
    assert facts_of(decider, config, "bandit").trained_on is None
    assert "names no router" in default_reason(config)


def test_every_installed_router_is_told_of(tmp_path: Path) -> None:
    config, decider = decided(tmp_path, {"routers": {"mine": {"router": "uniform"}}})
    found = {one.name: one for one in installed_routers(decider, config)}
    assert set(found) == set(registry.names()) - {"uniform"}
    assert found["oracle"].state == "bench only"
    assert found["knn"].state == "needs training"
    assert found["knn"].command == "hullspeed train knn --suite SUITE -o artifacts/knn"
    assert all(one.summary for one in found.values())
    assert "the first of" in default_reason(config)


@pytest.mark.parametrize("name", [name for name in registry.names() if name != "oracle"])
def test_the_yaml_that_adds_a_router_works(tmp_path: Path, name: str) -> None:
    config, decider = decided(tmp_path, {})
    (installed,) = [one for one in installed_routers(decider, config) if one.name == name]
    routing = yaml.safe_load(installed.yaml)["routing"]
    if installed.state == "needs training":
        assert routing == {"routers": {name: {"artifact": f"artifacts/{name}"}}}
        return
    _, decider = decided(tmp_path, routing)
    assert decider.rules.default == name
    assert decider.entries[name].router().name == name


def test_models_with_their_state(tmp_path: Path) -> None:
    _, decider = decided(tmp_path, {"models": ["small", "coder"]})
    for health in decider.fleet.of("small"):
        health.limited(30.0)
    found = {one.model.name: one for one in model_facts(decider)}
    assert list(found) == list(toy.MODELS)
    assert (found["small"].standing.state, found["coder"].standing.state) == ("down", "up")
    assert (found["small"].key, found["coder"].key) == ("set", "missing")
    assert (found["coder"].is_routed, found["large"].is_routed) == (True, False)
