"""checkov on all that the chart renders: it finds what is excepted here, with a reason, and nothing else."""

import json

import yaml

from tests.deploy.chart import CI_FILES, ROOT, render, run, tool

EXCEPTIONS = {
    ("CKV_K8S_11", "Deployment"): "no limit of CPU: throttling would delay every push on the node",
    ("CKV_K8S_35", "Deployment"): "settings are read from the environment",
    ("CKV_K8S_43", "Deployment"): "image.digest is the user's to set: a default would pin a foreign image",
    ("CKV_K8S_15", "Deployment"): "IfNotPresent: a tag does not change what it means",
    ("CKV_K8S_8", "Pod"): "the test runs once, to its end",
    ("CKV_K8S_9", "Pod"): "the same",
    ("CKV_K8S_11", "Pod"): "the same",
    ("CKV_K8S_15", "Pod"): "as for the Deployment",
    ("CKV_K8S_43", "Pod"): "as for the Deployment",
    ("CKV2_K8S_6", "Pod"): "the policy is for nodes: nobody connects to the test",
}


def test_checkov_finds_what_is_excepted_and_nothing_else(tmp_path):
    checkov = tool("checkov", ROOT / ".cache" / "checkov" / "bin")
    for name, arguments in (("default", []), ("gateway", ["--values", CI_FILES[0]])):
        (tmp_path / f"{name}.yaml").write_text(yaml.safe_dump_all(render(*arguments)))
    command = [checkov, "--directory", tmp_path, "--framework", "kubernetes", "--output", "json"]
    text = run(*command, "--skip-download", "--soft-fail", "--quiet")
    report = json.loads(text[text.index("{") :])
    failed = report["results"]["failed_checks"]
    assert {(each["check_id"], each["resource"].partition(".")[0]) for each in failed} == set(EXCEPTIONS)
