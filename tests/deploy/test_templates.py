"""What matters in what helm renders."""

import json

from tests.deploy.chart import CI_FILES, of_kind, only, pods, render

SECRET_NAMES = ("REDIS_URL", "AMQP_URL", "API_KEYS", "JWT_SECRET", "PASSWORD")


def deployment(*arguments: object, **options: str) -> dict:
    return only(render(*arguments, **options), "Deployment")["spec"]


def container(*arguments: object, **options: str) -> dict:
    (one,) = deployment(*arguments, **options)["template"]["spec"]["containers"]
    return one


def test_no_secret_is_made_and_none_is_in_a_config_map(objects):
    assert not of_kind(objects, "Secret")
    for each in of_kind(objects, "ConfigMap"):
        for name, text in each.get("data", {}).items():
            assert not any(secret in name for secret in SECRET_NAMES), name
            assert "://" not in text or name.endswith(("JWKS_URL", "ORIGINS", ".json")), name


def test_selectors_match_the_nodes_and_not_the_test(objects):
    spec = only(objects, "Deployment")["spec"]
    labels = spec["template"]["metadata"]["labels"].items()
    services = of_kind(objects, "Service")
    selectors = [spec["selector"]["matchLabels"], *(each["spec"]["selector"] for each in services)]
    selectors += [each["spec"]["selector"]["matchLabels"] for each in of_kind(objects, "PodDisruptionBudget")]
    selectors += [each["spec"]["selector"]["matchLabels"] for each in of_kind(objects, "PodMonitor")]
    selectors += [each["spec"]["podSelector"]["matchLabels"] for each in of_kind(objects, "NetworkPolicy")]
    for constraint in spec["template"]["spec"].get("topologySpreadConstraints", []):
        selectors.append(constraint["labelSelector"]["matchLabels"])
    for selector in selectors:
        assert selector
        assert selector.items() <= labels
        for test in of_kind(objects, "Pod"):
            assert not selector.items() <= test["metadata"]["labels"].items()
    for monitor in of_kind(objects, "ServiceMonitor"):
        wanted = monitor["spec"]["selector"]["matchLabels"].items()
        (matched,) = [each for each in services if wanted <= each["metadata"]["labels"].items()]
        assert matched["metadata"]["name"].endswith("-internal")


def test_only_ws_is_public(objects):
    for route in of_kind(objects, "HTTPRoute"):
        for rule in route["spec"]["rules"]:
            assert rule["matches"] == [{"path": {"type": "Exact", "value": "/ws"}}]
    for ingress in of_kind(objects, "Ingress"):
        assert "defaultBackend" not in ingress["spec"]
        for rule in ingress["spec"]["rules"]:
            assert [(path["path"], path["pathType"]) for path in rule["http"]["paths"]] == [("/ws", "Exact")]
    for service in of_kind(objects, "Service"):
        assert service["spec"]["type"] != "LoadBalancer"
        if service["metadata"]["name"].endswith("-internal"):
            assert service["spec"]["type"] == "ClusterIP"


def test_network_policy_lets_in_whom_the_values_name_and_nobody_else():
    for arguments in ([], ["--values", CI_FILES[0]], ["--values", CI_FILES[1]]):
        spec = only(render(*arguments), "NetworkPolicy")["spec"]
        (rule,) = spec["ingress"]
        assert rule["from"][0] == {"podSelector": {"matchLabels": {"sanic-ws-client": "true"}}}
        assert all(peer for peer in rule["from"])
        assert rule["ports"] == [{"port": "http", "protocol": "TCP"}]
    assert len(only(render(), "NetworkPolicy")["spec"]["ingress"][0]["from"]) == 1
    # A namespace and a pod selector in one peer are both required.
    assert {"namespaceSelector", "podSelector"} <= set(rule["from"][1])


def test_pods_are_confined(objects):
    for spec in pods(objects):
        assert spec["automountServiceAccountToken"] is False
        assert spec["securityContext"]["runAsNonRoot"] is True
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        for one in spec["containers"]:
            assert one["securityContext"]["readOnlyRootFilesystem"] is True
            assert one["securityContext"]["allowPrivilegeEscalation"] is False
            assert one["securityContext"]["capabilities"] == {"drop": ["ALL"]}
            assert one["resources"]["limits"]["memory"]


def test_pod_is_one_process_named_after_the_pod(objects):
    (one,) = only(objects, "Deployment")["spec"]["template"]["spec"]["containers"]
    env = {each["name"]: each for each in one["env"]}
    assert env["SANIC_WS_NODE_NAME"]["valueFrom"]["fieldRef"]["fieldPath"] == "metadata.name"
    assert env["SANIC_WS_WORKERS"]["value"] == "1"
    assert one["args"] == ["serve"]


def test_service_of_this_name_does_not_set_the_port(objects):
    spec = only(objects, "Deployment")["spec"]["template"]["spec"]
    assert spec["enableServiceLinks"] is False
    assert {"name": "SANIC_WS_PORT", "value": "8000"} in spec["containers"][0]["env"]


def test_pre_stop_sleeps_by_itself_where_kubernetes_can():
    assert container()["lifecycle"]["preStop"] == {"sleep": {"seconds": 5}}
    assert container(version="1.30.0")["lifecycle"]["preStop"] == {"sleep": {"seconds": 5}}
    command = container(version="1.28.0")["lifecycle"]["preStop"]["exec"]["command"]
    assert command == ["python", "-c", "import time; time.sleep(5)"]
    assert "lifecycle" not in container("--set", "preStopSeconds=0")


def test_probes_ask_what_they_should():
    one = container()
    paths = {name: one[f"{name}Probe"]["httpGet"]["path"] for name in ("startup", "liveness", "readiness")}
    assert paths == {"startup": "/livez", "liveness": "/livez", "readiness": "/readyz"}


def test_rollout_takes_no_node_before_its_successor_is_ready():
    assert deployment()["strategy"]["rollingUpdate"] == {"maxSurge": 1, "maxUnavailable": 0}


def test_new_settings_roll_the_pods():
    before, after = (
        deployment("--set", f"config.LEASE_S={seconds}")["template"]["metadata"]["annotations"]
        for seconds in (10, 20)
    )
    assert before["checksum/config"] != after["checksum/config"]


def test_replicas_are_left_to_who_scales():
    assert deployment()["replicas"] == 3
    assert "replicas" not in deployment("--set", "autoscaling.enabled=true")
    assert "replicas" not in deployment("--set", "keda.enabled=true")


def test_keda_is_given_the_total():
    (trigger,) = only(render("--set", "keda.enabled=true"), "ScaledObject")["spec"]["triggers"]
    assert trigger["metricType"] == "AverageValue"
    query = trigger["metadata"]["query"]
    assert query == 'sum(sanic_ws_connections{namespace="push",pod=~"sanic-ws-[a-z0-9]+-[a-z0-9]+"})'
    assert trigger["metadata"]["threshold"] == "12000"


def test_autoscaler_counts_connections_of_a_pod():
    (metric,) = only(render("--set", "autoscaling.enabled=true"), "HorizontalPodAutoscaler")["spec"][
        "metrics"
    ]
    assert metric["pods"]["metric"]["name"] == "sanic_ws_connections"
    assert metric["pods"]["target"] == {"type": "AverageValue", "averageValue": "12000"}


def test_names_stay_within_what_kubernetes_takes():
    for each in render("--set", f"fullnameOverride={'n' * 80}", "--set", "dashboards.enabled=true"):
        assert len(each["metadata"]["name"]) <= 63


def test_image_by_digest_wins():
    assert container("--values", CI_FILES[1])["image"].startswith(
        "registry.example.com/push/sanic-ws@sha256:"
    )


def test_monitors_show_the_key_that_metrics_ask_for():
    options = ["networkPolicy.metricsFrom=[{}]", 'metricsKey={"name": "keys", "key": "metrics"}']
    for kind, name in (("ServiceMonitor", "endpoints"), ("PodMonitor", "podMetricsEndpoints")):
        asked = [*options, f"{kind[0].lower()}{kind[1:]}.enabled=true"]
        sets = [part for one in asked for part in ("--set-json", one)]
        (endpoint,) = only(render(*sets), kind)["spec"][name]
        assert endpoint["path"] == "/metrics"
        assert endpoint["authorization"] == {"credentials": {"name": "keys", "key": "metrics"}}


def test_dashboard_is_json():
    dashboard = next(
        each
        for each in render("--set", "dashboards.enabled=true")
        if each["metadata"]["name"] == "sanic-ws-dashboards"
    )
    assert json.loads(dashboard["data"]["sanic-ws.json"])["panels"]


def test_operators_secrets_make_the_urls():
    env = {each["name"]: each for each in container("--values", CI_FILES[3])["env"]}
    names = list(env)
    # Kubernetes replaces $(…) by variables that stand before only.
    assert names.index("VALKEY_PASSWORD") < names.index("SANIC_WS_REDIS_URL")
    assert env["SANIC_WS_AMQP_URL"]["valueFrom"]["secretKeyRef"] == {
        "name": "rabbitmq-default-user",
        "key": "connection_string",
    }
