"""values.yaml, what is made from it, and what it refuses."""

import sys

import pytest

from sanic_ws.settings import Settings
from tests.deploy.chart import CHART, ROOT, only, refused, render

sys.path.insert(0, str(ROOT / "scripts"))

import chart as made


def test_readme_and_schema_are_what_the_script_writes():
    for path, text in made.files().items():
        assert path.read_text() == text, f"run `python scripts/chart.py`: {path.name} is out of date"


def test_values_stay_short():
    assert len((CHART / "values.yaml").read_text().splitlines()) < 250


def test_value_without_a_comment_is_refused():
    with pytest.raises(ValueError, match=r"group\.bare"):
        made.read_values("group:\n  bare: 1\n")


def test_chart_has_the_version_of_the_package():
    from sanic_ws import __version__

    chart = (CHART / "Chart.yaml").read_text()
    assert f"version: {__version__}\n" in chart
    assert f'appVersion: "{__version__}"\n' in chart


def test_every_setting_is_a_value_a_secret_or_the_charts_own():
    config = made.make_schema(made.read_values((CHART / "values.yaml").read_text()))["properties"]["config"]
    known = {name.lower() for name in config["properties"]}
    assert known.isdisjoint(made.SECRET)
    assert known | made.SECRET | made.OWN == set(Settings.model_fields)


@pytest.mark.parametrize(
    ("sets", "said"),
    [
        (["terminationGracePeriodSeconds=25"], "not more than"),
        (['config={"DRAIN_S": 15}'], "not more than"),
        (['config={"DRAIN_S": 14.5}', "preStopSeconds=6"], "not more than"),
        (["terminationMarginSeconds=4"], "terminationMarginSeconds"),
        (['config={"JWT_SECRET": "s"}'], "JWT_SECRET"),
        (['config={"REDIS_URL": "redis://redis"}'], "REDIS_URL"),
        (['config={"NODE_NAME": "n"}'], "NODE_NAME"),
        (['config={"DRAINS_S": 1}'], "DRAINS_S"),
        (['service.type="LoadBalancer"'], "service"),
        (["replicas=3"], "replicas"),
        (['existingSecret=""'], "SANIC_WS_REDIS_URL"),
        (['extraEnv=[{"name": "SANIC_WS_DRAIN_S", "value": "900"}]'], "SANIC_WS_DRAIN_S"),
        (["autoscaling.enabled=true", "keda.enabled=true"], "keda.enabled"),
        (
            ["networkPolicy.enabled=false", "serviceMonitor.enabled=true", "podMonitor.enabled=true"],
            "podMonitor",
        ),
        (["httpRoute.enabled=true", 'httpRoute.parentRefs=[{"name": "g"}]'], "networkPolicy.publicFrom"),
        (["httpRoute.enabled=true", "networkPolicy.enabled=false"], "httpRoute.parentRefs"),
        (["ingress.enabled=true", "networkPolicy.enabled=false"], "ingress.hosts"),
        (["serviceMonitor.enabled=true"], "networkPolicy.metricsFrom"),
    ],
)
def test_what_would_hurt_is_refused_by_name(sets, said):
    assert said in refused(*sets)


def test_drain_that_just_fits_is_taken():
    assert render("--set", "terminationGracePeriodSeconds=26")
    assert render("--set", "config.DRAIN_S=0,preStopSeconds=0,terminationGracePeriodSeconds=11")


def test_large_numbers_and_lists_come_as_settings_are_read():
    options = ["config.MAX_QUEUE_BYTES=1073741824", 'config.SUBPROTOCOLS=["a","b"]', "config.LEASE_S=2.5"]
    data = only(
        [
            each
            for each in render(*[part for one in options for part in ("--set-json", one)])
            if each["kind"] == "ConfigMap"
        ],
        "ConfigMap",
    )["data"]
    assert data["SANIC_WS_MAX_QUEUE_BYTES"] == "1073741824"
    assert data["SANIC_WS_SUBPROTOCOLS"] == "a,b"
    assert data["SANIC_WS_LEASE_S"] == "2.5"
