"""Who reaches whom: the routes of a Gateway, and network policies."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from render_chart import CHART, RefusedError, render
from tests.deploy.test_chart import containers, served

pytestmark = pytest.mark.usefixtures("helm")
Object = dict[str, Any]
PAGE = Path(__file__).resolve().parents[2] / "docs/kubernetes.md"
ENDPOINT = ("--set", "publicEndpoint=https://bloomery.example")


@pytest.fixture(scope="module")
def managed() -> list[Object]:
    return render("--values", str(CHART / "ci/managed-values.yaml"))


@pytest.fixture(scope="module")
def embedded() -> list[Object]:
    return render(*ENDPOINT)


def policies(objects: list[Object]) -> dict[str, Object]:
    return {each["metadata"]["name"]: each["spec"] for each in objects if each["kind"] == "NetworkPolicy"}


def callers(rule: Object) -> set[str]:
    """The components that a rule lets in."""
    found: set[str] = set()
    for peer in rule["from"]:
        selector = peer.get("podSelector", {})
        found |= (
            {selector["matchLabels"].get("app.kubernetes.io/component", "")} if "matchLabels" in selector else set()
        )
        for expression in selector.get("matchExpressions", ()):
            found |= set(expression["values"])
    return found - {""}


def test_a_gateway_leads_every_call_to_its_service_in_place_of_nginx(managed: list[Object]) -> None:
    routed = {
        match["method"]["service"]
        for each in managed
        if each["kind"] == "GRPCRoute"
        for rule in each["spec"]["rules"]
        for match in rule["matches"]
    }
    assert routed == served() - {"bloomery.training.v1.WorkerService"}
    ports = {
        (each["metadata"]["name"], port["port"])
        for each in managed
        if each["kind"] == "Service"
        for port in each["spec"]["ports"]
    }
    backends = {
        (backend["name"], backend["port"])
        for each in managed
        if each["kind"] in {"GRPCRoute", "HTTPRoute"}
        for rule in each["spec"]["rules"]
        for backend in rule["backendRefs"]
    }
    assert backends <= ports
    trusted = {
        each["spec"]["targetRefs"][0]["name"]: each["spec"]["validation"]
        for each in managed
        if each["kind"] == "BackendTLSPolicy"
    }
    assert trusted.keys() == {name for name, _ in backends}
    assert all(about["hostname"] == f"{name}.bloomery.svc" for name, about in trusted.items())
    assert not [each for each in managed if each["metadata"]["name"] == "bloomery-proxy"]


def test_routes_need_a_gateway() -> None:
    with pytest.raises(RefusedError, match=r"gateway\.parentRefs is missing"):
        render(*ENDPOINT, "--set", "gateway.enabled=true")


def test_every_pod_has_a_policy_and_every_port_that_it_lets_in_is_there(embedded: list[Object]) -> None:
    found = policies(embedded)
    for each in embedded:
        if each["kind"] not in {"Deployment", "StatefulSet"}:
            continue
        policy = found[each["metadata"]["name"]]
        assert policy["podSelector"]["matchLabels"] == each["spec"]["selector"]["matchLabels"]
        pod = each["spec"]["template"]["spec"]
        there = {port["name"] for container in pod["containers"] for port in container["ports"]}
        let_in = {port["port"] for rule in policy["ingress"] for port in rule["ports"]}
        # Probes come from the node.
        assert let_in == there - {"health", "http"}


def test_only_who_calls_a_service_may(embedded: list[Object]) -> None:
    found = policies(embedded)

    def of(component: str, port: str) -> set[str]:
        (rule,) = [rule for rule in found[f"bloomery-{component}"]["ingress"] if {"port": port} in rule["ports"]]
        return callers(rule)

    assert of("annotation", "grpc") >= {"proxy", "dataset", "trainer", "inference"}
    assert of("dataset", "grpc") == {"proxy", "trainer", "inference"}
    assert of("trainer", "grpc") == {"proxy", "inference"}
    assert of("inference", "grpc") == {"proxy", "triton"}
    assert of("triton", "grpc") == {"inference"}
    assert "proxy" not in of("postgres", "postgres")
    assert of("minio", "s3") == of("postgres", "postgres") | {"proxy"}
    assert found["bloomery-workers"] == {
        "podSelector": {
            "matchLabels": {
                "app.kubernetes.io/managed-by": "bloomery-trainer",
                "app.kubernetes.io/instance": "bloomery",
            }
        },
        "policyTypes": ["Ingress"],
    }


def test_the_role_of_the_trainer_is_the_one_that_is_documented(embedded: list[Object]) -> None:
    (text,) = re.findall(r"^```yaml\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    (role,) = [each for each in embedded if each["kind"] == "Role"]
    assert role["rules"] == yaml.safe_load(text)["rules"]


def test_policies_can_be_left_out() -> None:
    assert not policies(render(*ENDPOINT, "--set", "networkPolicies.enabled=false"))


def test_replicas_that_are_scaled_are_not_set(managed: list[Object]) -> None:
    scaled = {each["spec"]["scaleTargetRef"]["name"] for each in managed if each["kind"] == "HorizontalPodAutoscaler"}
    assert scaled == {"bloomery-annotation", "bloomery-dataset", "bloomery-inference"}
    for each in managed:
        if each["kind"] == "Deployment":
            assert ("replicas" in each["spec"]) is (each["metadata"]["name"] not in scaled)


def test_each_component_has_an_account_and_the_trainer_alone_a_token(embedded: list[Object]) -> None:
    accounts = {each["metadata"]["name"] for each in embedded if each["kind"] == "ServiceAccount"}
    used = set()
    for each in embedded:
        if each["kind"] in {"Deployment", "StatefulSet", "Pod"}:
            pod = each["spec"] if each["kind"] == "Pod" else each["spec"]["template"]["spec"]
            used.add(pod["serviceAccountName"])
            assert pod["automountServiceAccountToken"] is (each["metadata"]["name"] == "bloomery-trainer")
    assert used == accounts
    assert list(containers(embedded))
