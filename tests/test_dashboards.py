"""Dashboard and rules against a real scrape: every metric and label they use is there, and every query parses."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import promql_parser as promql
import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from tests.fakes.openai_server import FakeOpenAI
from tests.fakes.replies import HttpError
from tests.serving import StartProxy, models

ROOT = Path(__file__).parents[1]
DASHBOARDS = ROOT / "app/pages/dashboards"
RULES = DASHBOARDS / "rules.yml"
OF_THE_SCRAPE = {"job", "instance"}
"""Labels that Prometheus adds."""
MACROS = {"$__rate_interval": "5m", "$__range": "1h", "$router": ".*", "$model": ".*"}
"""What Grafana puts in place of its variables."""

Series = dict[str, set[str]]
"""Labels by the name of a series."""


def dashboard() -> Any:
    return json.loads((DASHBOARDS / "grafana/hullspeed.json").read_text())


def targets() -> list[tuple[str, str, str]]:
    """Title, expression and legend of every query."""
    return [
        (panel["title"], target["expr"], target["legendFormat"])
        for panel in dashboard()["panels"]
        for target in panel.get("targets", ())
    ]


def rules() -> list[dict[str, Any]]:
    return [rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]]


def parsed(expression: str) -> Any:
    for name, value in MACROS.items():
        expression = expression.replace(name, value)
    return promql.parse(expression)


def parts(node: Any) -> Iterator[Any]:
    """Every expression within one."""
    yield node
    for name in ("lhs", "rhs", "expr", "param", "vector_selector"):
        inner = getattr(node, name, None)
        if inner is not None and not isinstance(inner, str | float | int):
            yield from parts(inner)
    for inner in getattr(node, "args", None) or ():
        yield from parts(inner)


def selectors(node: Any) -> list[Any]:
    return [part for part in parts(node) if isinstance(part, promql.VectorSelector)]


def grouping(node: Any) -> set[str]:
    """Labels that aggregations keep and that vectors are matched on."""
    kept: set[str] = set()
    for part in parts(node):
        modifier = getattr(part, "modifier", None)
        if isinstance(part, promql.AggregateExpr) and modifier is not None:
            kept |= set(modifier.labels)
        if isinstance(part, promql.BinaryExpr) and modifier is not None and modifier.matching is not None:
            kept |= set(modifier.matching.labels)
    return kept


def check(expression: str, known: Series) -> None:
    """Every series is there, and every label is one of a series that the expression reads."""
    node = parsed(expression)
    found = selectors(node)
    there: set[str] = set()
    for selector in found:
        assert selector.name in known, expression
        labels = known[selector.name] | OF_THE_SCRAPE
        used = {matcher.name for matcher in selector.matchers.matchers}
        assert used <= labels, f"{used - labels} in {expression}"
        there |= labels
    assert found, expression
    assert grouping(node) <= there, expression


@pytest.fixture
async def scraped(start_proxy: StartProxy, openai_server: FakeOpenAI) -> Series:
    """What a proxy shows that has answered, streamed, failed, fallen back and been asked for an unpriced model."""
    unpriced = {"model_name": "free", "litellm_params": {"model": "hosted_vllm/x", "api_base": openai_server.url}}
    proxy = await start_proxy({"model_list": [*models(openai_server.url, "small", "large"), unpriced]})
    await proxy.chat("auto")
    await proxy.chat("auto", stream=True, stream_options={"include_usage": True})
    await proxy.chat("free")
    openai_server.on("small-target", HttpError(500))
    await proxy.chat("auto")
    assert await proxy.proxy.ledger.flush(10)
    text = (await proxy.http.get("/metrics")).text
    found: Series = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            found.setdefault(sample.name, set()).update(sample.labels)
    return found


def with_recorded(known: Series) -> Series:
    """With what Prometheus makes of it: the recorded series, `up` and `ALERTS`."""
    recorded = {rule["record"]: grouping(parsed(rule["expr"])) - {"le"} for rule in rules() if "record" in rule}
    alerts = {"alertname", "alertstate", *(label for rule in rules() for label in rule.get("labels", ()))}
    return {**known, **recorded, "up": set(), "ALERTS": alerts}


async def test_dashboard_and_rules_use_what_a_scrape_has(scraped: Series) -> None:
    known = with_recorded(scraped)
    for _, expression, _ in targets():
        check(expression, known)
    for variable in dashboard()["templating"]["list"]:
        found = re.fullmatch(r"label_values\((\w+), (\w+)\)", variable["definition"])
        assert found is not None
        assert found[2] in known[found[1]]
    for rule in rules():
        check(rule["expr"], known)
    # And the other way round: nothing is measured that nobody sees.
    shown = {selector.name for _, expression, _ in targets() for selector in selectors(parsed(expression))}
    families = {re.sub(r"_(bucket|count|sum|created)$", "", name) for name in scraped if name.startswith("hullspeed_")}
    unseen = {name for name in families if not any(one.startswith(name) for one in shown)}
    assert unseen == {"hullspeed_build_info"}, "which is a variable of the dashboard"


def test_a_wrong_name_or_label_is_found() -> None:
    known: Series = {"hullspeed_calls_total": {"model"}}
    check('sum by (model) (rate(hullspeed_calls_total{model="a"}[5m]))', known)
    for wrong in (
        "rate(hullspeed_call_total[5m])",
        'rate(hullspeed_calls_total{modle="a"}[5m])',
        "sum by (modle) (rate(hullspeed_calls_total[5m]))",
        "hullspeed_calls_total / on (modle) hullspeed_calls_total",
        "vector(1)",
    ):
        with pytest.raises(AssertionError):
            check(wrong, known)
    with pytest.raises(ValueError, match="unclosed"):
        parsed("sum(rate(hullspeed_calls_total[5m])")


def test_rules_are_whole() -> None:
    allowed = {"record": {"record", "expr"}, "alert": {"alert", "expr", "for", "labels", "annotations"}}
    names = [rule.get("record") or rule["alert"] for rule in rules()]
    assert len(set(names)) == len(names)
    for rule in rules():
        kind = "record" if "record" in rule else "alert"
        assert rule.keys() <= allowed[kind]
        if kind == "record":
            assert re.fullmatch(r"job(_model)?:hullspeed_\w+:\w+", rule["record"])
            continue
        assert re.fullmatch(r"Hullspeed\w+", rule["alert"])
        assert rule["labels"]["severity"] in ("warning", "critical")
        assert re.fullmatch(r"\d+[mh]", rule.get("for", "1m"))
        # A template may name only labels that are left.
        kept = grouping(parsed(rule["expr"])) | OF_THE_SCRAPE
        assert set(re.findall(r"\$labels\.(\w+)", rule["annotations"]["summary"])) <= kept


def test_alerts_fire_when_they_should(tmp_path: Path) -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("needs promtool (Debian's package prometheus)")
    (tmp_path / "rules.yml").write_text(RULES.read_text())
    (tmp_path / "tests.yml").write_text((ROOT / "tests/alerts.yml").read_text())
    done = subprocess.run([promtool, "test", "rules", "tests.yml"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_alert_is_tried() -> None:
    cases = yaml.safe_load((ROOT / "tests/alerts.yml").read_text())["tests"]
    tried = {alert["alertname"] for case in cases for alert in case["alert_rule_test"] if alert["exp_alerts"]}
    assert tried == {rule["alert"] for rule in rules() if "alert" in rule}


def test_legends_name_labels_of_the_expression() -> None:
    for title, expression, legend in targets():
        for label in re.findall(r"{{(\w+)}}", legend):
            assert "by (" not in expression or label in grouping(parsed(expression)), title


def test_panels_do_not_overlap() -> None:
    panels = dashboard()["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert not cells & taken, panel["title"]
        assert at["x"] + at["w"] <= 24
        taken |= cells
