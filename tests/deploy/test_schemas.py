"""What helm renders, against the schemas of Kubernetes and of the custom resources."""

import json
import warnings
from pathlib import Path

import kubernetes_validate
import pytest

from tests import node_packages
from tests.deploy.chart import CHART, CI_FILES, Object, helm, render, run
from tests.servers import require

PACKAGES = {
    "monitoring.coreos.com": "@kubernetes-models/prometheus-operator@6.0.0",
    "keda.sh": "@kubernetes-models/keda@0.4.2",
    "gateway.networking.k8s.io": "@kubernetes-models/gateway-api@0.5.1",
}
CHECK = """
const object = JSON.parse(process.argv[2]);
new (require(process.argv[1])[object.kind])(object).validate();
"""


def test_helm_lints_it_strictly(values):
    helm("lint", "--strict", CHART, *values)


def test_objects_are_valid(values, version):
    for each in render(*values, version=version):
        if each["apiVersion"].partition("/")[0] in PACKAGES:
            continue
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            kubernetes_validate.validate(each, version.rpartition(".")[0], strict=True)


@pytest.fixture(scope="session")
def models() -> Path:
    """The schemas of the operators' resources, as npm has them; what they do not know, they let pass."""
    return node_packages.cached(*PACKAGES.values()) / "node_modules"


def check_custom(models: Path, each: Object, *, ok: bool = True) -> str:
    package = PACKAGES[each["apiVersion"].partition("/")[0]].rpartition("@")[0]
    path = models / package / each["apiVersion"] / f"{each['kind']}.js"
    return run(require("node"), "-e", CHECK, path, json.dumps(each), ok=ok)


def test_custom_resources_are_valid(models, objects):
    for each in objects:
        if each["apiVersion"].partition("/")[0] in PACKAGES:
            check_custom(models, each)


def test_custom_resource_that_is_wrong_is_found(models):
    wrong = {"apiVersion": "keda.sh/v1alpha1", "kind": "ScaledObject", "metadata": {"name": "x"}}
    assert "triggers" in check_custom(models, wrong | {"spec": {"scaleTargetRef": {"name": "x"}}}, ok=False)


def test_files_use_every_custom_resource():
    kinds = {each["kind"] for file in CI_FILES for each in render("--values", file)}
    assert {"HTTPRoute", "Ingress", "ScaledObject", "HorizontalPodAutoscaler"} <= kinds
    assert {"ServiceMonitor", "PodMonitor", "PrometheusRule"} <= kinds
