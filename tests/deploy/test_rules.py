"""The alerts: each fires when it should, alone, and none while all is well."""

import json
import re
from pathlib import Path

import pytest
import yaml

from sanic_ws.http.metrics import NodeCollector
from sanic_ws.node import Node
from sanic_ws.settings import read_settings
from tests.deploy.chart import CHART, CI_FILES, only, render, run, tool

MINUTES = 30
SERIES = 'sanic_ws_{name}{{namespace="push",pod="sanic-ws-abc-{pod}"{labels}}}'
HEALTHY = {
    ("ready", ""): "1x{n}",
    ("draining", ""): "0x{n}",
    ("redis_up", ""): "1x{n}",
    ("rabbitmq_up", ""): "1x{n}",
    ("connections", ""): "9000x{n}",
    ("pushes_total", ',route="direct",outcome="delivered"'): "0+6000x{n}",
    ("pushes_total", ',route="direct",outcome="unknown"'): "0+6x{n}",
    ("pushes_total", ',route="direct",outcome="overloaded"'): "0+6x{n}",
    ("fallbacks_total", ',cause="miss"'): "0+60x{n}",
    ("receipt_seconds_bucket", ',le="0.1"'): "0+6000x{n}",
    ("receipt_seconds_bucket", ',le="1"'): "0+6000x{n}",
    ("receipt_seconds_bucket", ',le="+Inf"'): "0+6000x{n}",
    ("closes_total", ',code="4408"'): "0+1x{n}",
    ("closes_total", ',code="1012"'): "0+600x{n}",
    ("handshakes_total", ',outcome="accepted"'): "0+600x{n}",
    ("handshakes_total", ',outcome="too_many_handshakes"'): "0+6x{n}",
    ("set_aside_total", ""): "3x{n}",
    ("events_total", ',outcome="dropped"'): "3x{n}",
}
HURT = {
    "SanicWsNotReady": {("ready", "", 3): "0x{n}"},
    "SanicWsRedisAway": {("redis_up", "", 3): "0x{n}"},
    "SanicWsRabbitmqAway": {("rabbitmq_up", "", 3): "0x{n}"},
    "SanicWsReceiptsUnknown": {("pushes_total", ',route="direct",outcome="unknown"', 3): "0+600x{n}"},
    "SanicWsOverloaded": {("pushes_total", ',route="direct",outcome="overloaded"', 3): "0+600x{n}"},
    "SanicWsFallbacks": {("fallbacks_total", ',cause="miss"', 3): "0+6000x{n}"},
    "SanicWsReceiptsSlow": {("receipt_seconds_bucket", ',le="0.1"', 3): "0+3000x{n}"},
    "SanicWsNearlyFull": {("connections", "", 3): "15400x{n}"},
    "SanicWsSlowConsumers": {("closes_total", ',code="4408"', 3): "0+120x{n}"},
    "SanicWsHandshakesRefused": {("handshakes_total", ',outcome="too_many_handshakes"', 3): "0+1800x{n}"},
    "SanicWsEventsLost": {("events_total", ',outcome="dropped"', 3): "3+1x{n}"},
    "SanicWsSetAside": {("set_aside_total", "", 3): "3+1x{n}"},
}
ALSO = {"SanicWsNotReady": ["SanicWsNodesMissing"]}


@pytest.fixture(scope="module")
def rules(tmp_path_factory) -> Path:
    spec = only(render("--values", CI_FILES[0], "--set", "config.MAX_CONNECTIONS=18000"), "PrometheusRule")
    path = tmp_path_factory.mktemp("rules") / "rules.yaml"
    path.write_text(yaml.safe_dump(spec["spec"]))
    return path


@pytest.fixture(scope="module")
def alerts(rules) -> list[dict]:
    (group,) = yaml.safe_load(rules.read_text())["groups"]
    return group["rules"]


@pytest.fixture
async def known() -> set[str]:
    """The metrics of a node."""
    return {family.name for family in NodeCollector(Node(read_settings("dev"))).collect()}


def play(series: dict, fire: list[str]) -> dict:
    """Return a test of promtool: exactly these alerts fire at the end."""
    values = [{"series": name, "values": text.format(n=MINUTES)} for name, text in series.items()]
    samples = [{"labels": f'{{alertname="{name}"}}', "value": 1} for name in sorted(fire)]
    expression = 'count by (alertname) (ALERTS{alertstate="firing"})'
    expected = {"expr": expression, "eval_time": f"{MINUTES - 1}m", "exp_samples": samples}
    return {"interval": "1m", "input_series": values, "promql_expr_test": [expected]}


def described(hurt: dict | None = None, pods: tuple[int, ...] = (1, 2, 3)) -> dict:
    hurt = hurt or {}
    return {
        SERIES.format(name=name, pod=pod, labels=labels): hurt.get((name, labels, pod), text)
        for pod in pods
        for (name, labels), text in HEALTHY.items()
    }


def test_alerts_fire_when_it_hurts_and_only_then(rules, tmp_path):
    tests = [play(described(), [])]
    tests += [play(described(hurt), [name, *ALSO.get(name, [])]) for name, hurt in HURT.items()]
    tests.append(play(described(pods=(1, 2)), ["SanicWsNodesMissing"]))
    tests.append(play({}, ["SanicWsNodesMissing"]))
    leaving = {("ready", "", 3): "0x{n}", ("draining", "", 3): "1x{n}"}
    tests.append(play(described(leaving), ["SanicWsNodesMissing"]))
    path = tmp_path / "test.yaml"
    path.write_text(yaml.safe_dump({"rule_files": [str(rules)], "evaluation_interval": "1m", "tests": tests}))
    run(tool("promtool"), "test", "rules", path)


def test_promtool_takes_the_rules(rules):
    run(tool("promtool"), "check", "rules", rules)


def test_every_alert_is_played_and_has_a_runbook(alerts):
    names = [each["alert"] for each in alerts]
    assert sorted(names) == sorted([*HURT, "SanicWsNodesMissing"])
    for each in alerts:
        page, _, anchor = each["annotations"]["runbook_url"].partition("#")
        assert page == "https://docs.example.com/sanic-ws/README.md"
        assert anchor == each["alert"].lower()


def test_without_a_page_there_is_no_link():
    (group,) = only(render("--set", "prometheusRule.enabled=true"), "PrometheusRule")["spec"]["groups"]
    assert all("runbook_url" not in each["annotations"] for each in group["rules"])


def test_nodes_missing_counts_what_is_asked_for():
    for options, nodes in (
        ([], 3),
        (["replicaCount=5"], 5),
        (["keda.enabled=true", "keda.minReplicas=2"], 2),
    ):
        sets = [part for one in ["prometheusRule.enabled=true", *options] for part in ("--set", one)]
        (group,) = only(render(*sets), "PrometheusRule")["spec"]["groups"]
        (alert,) = [each for each in group["rules"] if each["alert"] == "SanicWsNodesMissing"]
        assert alert["expr"].endswith(f"< {nodes}")


def test_dashboard_asks_what_prometheus_understands(tmp_path, known):
    dashboard = json.loads((CHART / "files" / "dashboard.json").read_text())
    queries = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    rules = [
        {"record": f"panel:{number}", "expr": query.replace("$__rate_interval", "5m")}
        for number, query in enumerate(queries)
    ]
    path = tmp_path / "panels.yaml"
    path.write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": rules}]}))
    run(tool("promtool"), "check", "rules", path)
    assert names("\n".join(queries)) <= known


def test_rules_use_only_metrics_of_a_node(alerts, known):
    assert names("\n".join(each["expr"] for each in alerts)) <= known


def names(text: str) -> set[str]:
    """Return the names of metrics, as families have them."""
    return set(re.findall(r"\b(sanic_ws_\w+?)(?:_total|_bucket|_sum|_count)?\{", text))
