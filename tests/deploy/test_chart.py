"""The chart: what it refuses, and that what it renders fits Kubernetes, the services' settings and the contracts."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from google.protobuf import descriptor_pool
from pydantic_settings import BaseSettings

import bloomery.access.v1
import bloomery.annotation.v1
import bloomery.dataset.v1
import bloomery.inference.v1
import bloomery.training.v1
from bloomery_access.settings import AccessSettings
from bloomery_annotation.settings import AnnotationSettings
from bloomery_dataset.settings import DatasetSettings
from bloomery_inference.agent.app import HEALTH
from bloomery_inference.agent.settings import AgentSettings
from bloomery_inference.settings import InferenceSettings
from bloomery_kit.settings import PREFIX, S3StoreSettings, load_settings
from bloomery_trainer.settings import KubernetesLauncherSettings, TrainerSettings
from render_chart import CHART, RefusedError, render, rendered, text, variants

ENDPOINT = ("--set", "publicEndpoint=https://bloomery.example")
SETTINGS: Mapping[str, type[BaseSettings]] = {
    "access": AccessSettings,
    "annotation": AnnotationSettings,
    "dataset": DatasetSettings,
    "trainer": TrainerSettings,
    "inference": InferenceSettings,
    "agent": AgentSettings,
}
CONTRACTS = (
    bloomery.access.v1,
    bloomery.annotation.v1,
    bloomery.dataset.v1,
    bloomery.inference.v1,
    bloomery.training.v1,
)
Object = dict[str, Any]
CUSTOM = {"cert-manager.io/v1", "gateway.networking.k8s.io/v1"}
"""Whose schemas come with what a cluster has beside Kubernetes."""
FILES = ("/etc/bloomery/credentials", "/etc/bloomery/tls")

pytestmark = pytest.mark.usefixtures("helm")


@pytest.fixture(scope="module", params=variants(), ids=lambda path: path.name.removesuffix("-values.yaml"))
def variant(request: pytest.FixtureRequest) -> Path:
    found: Path = request.param
    return found


@pytest.fixture(scope="module")
def objects(variant: Path) -> list[Object]:
    return render("--values", str(variant))


def pods(objects: list[Object]) -> Iterator[Object]:
    for each in objects:
        if each["kind"] in {"Deployment", "StatefulSet", "Job"}:
            yield each["spec"]["template"]["spec"]
        if each["kind"] == "Pod":
            yield each["spec"]


def containers(objects: list[Object]) -> Iterator[Object]:
    for pod in pods(objects):
        yield from (*pod.get("initContainers", ()), *pod["containers"])


def find(objects: list[Object], kind: str, name: str) -> Object:
    (found,) = [each for each in objects if each["kind"] == kind and each["metadata"]["name"] == name]
    return found


def test_what_is_rendered_is_what_was_looked_at(variant: Path) -> None:
    kept = rendered(variant)
    assert kept.exists(), "run `make chart`, look at what it wrote, and commit it"
    assert kept.read_text() == text(variant), "run `make chart`, look at what it changed, and commit it"


@pytest.mark.parametrize("version", ["1.30", "1.34"])
def test_kubernetes_knows_every_field(objects: list[Object], version: str) -> None:
    for each in filter(lambda each: each["apiVersion"] not in CUSTOM, objects):
        kubernetes_validate.validate(each, version, strict=True)


def test_all_but_what_workers_need_lies_in_the_namespace_of_the_release(objects: list[Object]) -> None:
    of_workers = [each for each in objects if each["metadata"]["namespace"] != "bloomery"]
    assert {each["metadata"]["namespace"] for each in of_workers} <= {"bloomery-workers"}
    assert {each["kind"] for each in of_workers} <= {"ConfigMap", "NetworkPolicy", "Role", "RoleBinding"}
    names = [(each["kind"], each["metadata"]["namespace"], each["metadata"]["name"]) for each in objects]
    assert len(set(names)) == len(names)


def test_pods_keep_to_the_restricted_standard(objects: list[Object]) -> None:
    for pod in pods(objects):
        security = pod["securityContext"]
        assert security["runAsNonRoot"]
        assert security["runAsUser"] > 0
        assert security["seccompProfile"] == {"type": "RuntimeDefault"}
        assert pod["enableServiceLinks"] is False
        assert pod["automountServiceAccountToken"] is (pod["containers"][0]["name"] == "trainer")
    for container in containers(objects):
        own = container["securityContext"]
        assert own["allowPrivilegeEscalation"] is False
        assert own["readOnlyRootFilesystem"] is True
        assert own["capabilities"] == {"drop": ["ALL"]}
        assert "memory" in container["resources"]["limits"]


def test_every_volume_that_is_mounted_is_there(objects: list[Object]) -> None:
    claims = {
        claim["metadata"]["name"]
        for each in objects
        if each["kind"] == "StatefulSet"
        for claim in each["spec"].get("volumeClaimTemplates", ())
    }
    for pod in pods(objects):
        there = {volume["name"] for volume in pod["volumes"]} | claims
        for container in (*pod.get("initContainers", ()), *pod["containers"]):
            assert {mount["name"] for mount in container["volumeMounts"]} <= there


def test_secrets_are_taken_from_secrets_alone(objects: list[Object]) -> None:
    for container in containers(objects):
        for variable in container.get("env", ()):
            if any(word in variable["name"] for word in ("TOKEN", "PASSWORD", "SECRET", "ACCESS_KEY")):
                if variable["name"].endswith("_FILE"):
                    assert variable["value"].startswith(FILES)
                else:
                    assert "secretKeyRef" in variable["valueFrom"], variable["name"]


def test_what_variables_name_is_mounted(objects: list[Object]) -> None:
    """Every file of credentials that a setting names lies in a volume of the pod, under that name."""
    for pod in pods(objects):
        volumes = {volume["name"]: volume for volume in pod["volumes"]}
        for container in pod["containers"]:
            mounts = [mount for mount in container["volumeMounts"] if mount["name"] in volumes]
            mounted = {mount["mountPath"]: volumes[mount["name"]] for mount in mounts}
            for variable in container.get("env", ()):
                folder, _, name = variable.get("value", "").rpartition("/")
                if folder not in FILES:
                    continue
                volume = mounted[folder]
                parts = [volume] if "secret" in volume else volume["projected"]["sources"]
                items = [part["secret"].get("items") for part in parts]
                listed = {item["path"] for each in items if each for item in each}
                assert name in (listed or {"tls.crt", "tls.key", "ca.crt"}), variable["name"]


def test_services_accept_their_settings(objects: list[Object], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    seen, there = set(), tmp_path / "file"
    there.write_text("secret")
    for container in containers(objects):
        kind = SETTINGS.get(container["name"])
        if kind is None:
            continue
        seen.add(container["name"])
        with monkeypatch.context() as environment:
            for variable in container["env"]:
                value = variable.get("value", "postgresql+asyncpg://secret")
                environment.setenv(variable["name"], str(there) if value.startswith(FILES) else value)
                if variable["name"].startswith(PREFIX):
                    field = variable["name"].removeprefix(PREFIX).split("__")[0].lower()
                    assert field in kind.model_fields, variable["name"]
            settings = load_settings(kind)
        assert settings.model_dump()["token_file"] == there
    assert seen >= SETTINGS.keys() - {"agent"}


def test_the_schema_knows_the_settings_of_the_launcher() -> None:
    schema = yaml.safe_load((CHART / "values.schema.json").read_text())
    known = schema["properties"]["workers"]["properties"]["launcher"]["propertyNames"]["enum"]
    trainer = find(render(*ENDPOINT), "Deployment", "bloomery-trainer")
    (container,) = trainer["spec"]["template"]["spec"]["containers"]
    (launcher,) = [variable["value"] for variable in container["env"] if variable["name"] == "BLOOMERY_LAUNCHER"]
    ours = json.loads(launcher).keys() | {"kubeconfig"}
    assert set(known) | ours == KubernetesLauncherSettings.model_fields.keys()
    assert not set(known) & ours


def test_signed_urls_lead_where_clients_are(objects: list[Object]) -> None:
    values = {
        variable["name"]: variable.get("value", "") for each in containers(objects) for variable in each.get("env", ())
    }
    public = values["BLOOMERY_OBJECT_STORE__PUBLIC_ENDPOINT"]
    assert public.startswith("https://")
    assert set(S3StoreSettings.model_fields) - {"access_key", "secret_key"} - {"ca_certs"} == {
        name.rpartition("__")[2].lower() for name in values if name.startswith("BLOOMERY_OBJECT_STORE__")
    } - {"ca_certs"}


def served() -> set[str]:
    """The full names of all services in the contracts that clients call."""
    pool = descriptor_pool.Default()  # type: ignore[no-untyped-call]
    names = {
        f"{package.__name__}.{name.removesuffix('Servicer')}"
        for package in CONTRACTS
        for name in dir(package)
        if name.endswith("ServiceServicer")
    }
    for name in names:
        pool.FindServiceByName(name)
    return names


def test_readiness_asks_for_services_that_exist(objects: list[Object]) -> None:
    asked = {
        container["readinessProbe"]["grpc"]["service"]
        for container in containers(objects)
        if "grpc" in container.get("readinessProbe", {})
    }
    assert asked <= served() | {HEALTH}
    assert len(asked - {HEALTH}) == 5


def test_the_proxy_leads_every_call_to_its_service(objects: list[Object]) -> None:
    if any(each["kind"] == "GRPCRoute" for each in objects):
        return
    conf = find(objects, "ConfigMap", "bloomery-proxy")["data"]["nginx.conf"]
    there = {each["metadata"]["name"] for each in objects if each["kind"] == "Service"}
    places = {
        words[1]: words[4].removeprefix("grpcs://").partition(".")[0]
        for words in (line.split() for line in conf.splitlines())
        if "grpc_pass" in words
    }
    assert set(places.values()) <= there
    for name in served():
        assert [place for place in places if f"/{name}/".startswith(place)], name


@pytest.mark.parametrize(
    ("values", "said"),
    [
        (["replicas=2"], "additional properties 'replicas' not allowed"),
        (["services.annotation.replica=2"], "additional properties 'replica' not allowed"),
        (["services.trainer.environment.POLICY=2"], "POLICY"),
        (["database.mode=cnpg"], "database/mode"),
        (["publicEndpoint=bloomery.example"], "publicEndpoint"),
        (["publicEndpoint=https://bloomery.example/path"], "publicEndpoint"),
        (["publicEndpoint="], "publicEndpoint=https://bloomery.example.com"),
        (["database.mode=external"], "database.existingSecret is missing"),
        (["tls.rotation=now"], "tls/rotation"),
        (["workers.launcher.authority_config_map=x"], "authority_config_map"),
    ],
)
def test_wrong_values_are_refused_with_what_to_write(values: list[str], said: str) -> None:
    with pytest.raises(RefusedError) as caught:
        render(*ENDPOINT, *(word for value in values for word in ("--set-string", value)))
    assert said in str(caught.value)


def test_everything_that_is_missing_is_said_at_once() -> None:
    with pytest.raises(RefusedError) as caught:
        render("--set", "objectStore.mode=external")
    said = [line.split()[1] for line in str(caught.value).splitlines() if line.startswith("- ")]
    assert said == [
        "publicEndpoint",
        "objectStore.endpoint",
        "objectStore.publicEndpoint",
        "objectStore.existingSecret",
    ]


def test_every_value_has_its_place_in_the_schema() -> None:
    schema = yaml.safe_load((CHART / "values.schema.json").read_text())

    def compare(values: object, place: Object, path: str) -> None:
        place = schema["definitions"][place["$ref"].rpartition("/")[2]] if "$ref" in place else place
        if isinstance(values, dict) and "properties" in place:
            assert place["additionalProperties"] is False, path
            assert values.keys() <= place["properties"].keys(), path
            for name, value in values.items():
                compare(value, place["properties"][name], f"{path}.{name}")

    compare(yaml.safe_load((CHART / "values.yaml").read_text()), schema, "")


def test_images_that_are_named_by_their_digests_are_all_that_is_pulled(variant: Path) -> None:
    parts = ("control", "worker", "minio", "triton", "postgres", "proxy")
    pinned = {part: f"mirror.example/bloomery/{part}@sha256:{number:064x}" for number, part in enumerate(parts)}
    options = [word for part, image in pinned.items() for word in ("--set", f"images.{part}={image}")]
    rendered = render("--values", str(variant), *options)
    used = {container["image"] for container in containers(rendered)}
    assert used <= set(pinned.values())
    assert {container["imagePullPolicy"] for container in containers(rendered)} == {"IfNotPresent"}
    trainer = find(rendered, "Deployment", "bloomery-trainer")["spec"]["template"]["spec"]["containers"][0]
    (launcher,) = [each["value"] for each in trainer["env"] if each["name"] == "BLOOMERY_LAUNCHER"]
    assert json.loads(launcher)["image"] == pinned["worker"]
    assert json.loads(launcher)["image_pull_policy"] == "IfNotPresent"
