"""Certificates of a release: who has which, for what, and how they are exchanged."""

import base64
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from render_chart import CHART, RefusedError, render

pytestmark = pytest.mark.usefixtures("helm")
Object = dict[str, Any]
ENDPOINT = ("--set", "publicEndpoint=https://bloomery.example:8443")
MANAGED = ("--values", str(CHART / "ci/managed-values.yaml"))


@pytest.fixture(scope="module")
def made() -> list[Object]:
    return render(*ENDPOINT)


@pytest.fixture(scope="module")
def managed() -> list[Object]:
    return render(*MANAGED)


def decoded(secret: Object, key: str) -> bytes:
    return base64.b64decode(secret["data"][key])


def of_kind(objects: list[Object], kind: str) -> dict[str, Object]:
    return {each["metadata"]["name"]: each for each in objects if each["kind"] == kind}


def said(command: list[str]) -> str:
    return str(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def test_every_service_shows_a_certificate_of_the_authority_for_its_own_names(
    made: list[Object], tmp_path: Path
) -> None:
    secrets = {name: each for name, each in of_kind(made, "Secret").items() if name.endswith("-tls")}
    keys = {decoded(each, "tls.key") for each in secrets.values()}
    assert len(keys) == len(secrets), "none can pass for another"
    (authority,) = {decoded(each, "ca.crt") for each in secrets.values()}
    (tmp_path / "ca.crt").write_bytes(authority)
    leaves = [tmp_path / name for name in secrets]
    for leaf in leaves:
        leaf.write_bytes(decoded(secrets[leaf.name], "tls.crt"))
    # One process for all: to begin one takes seconds on a busy machine.
    said(["openssl", "verify", "-CAfile", str(tmp_path / "ca.crt"), *map(str, leaves)])
    (tmp_path / "all").write_bytes(b"".join(leaf.read_bytes() for leaf in leaves))
    printed = said(["openssl", "storeutl", "-text", str(tmp_path / "all")])
    _, *texts = re.split(r"^\d+: Certificate$", printed, flags=re.MULTILINE)
    for name, text in zip(secrets, texts, strict=True):
        component = name.removesuffix("-tls")
        assert ("bloomery.example" if component == "bloomery" else f"DNS:{component}.bloomery.svc") in text
    mounted = {
        volume["secret"]["secretName"]
        for each in made
        if each["kind"] in {"Deployment", "StatefulSet"}
        for volume in each["spec"]["template"]["spec"]["volumes"]
        if "secret" in volume
    }
    assert mounted >= secrets.keys()


def test_the_key_of_the_authority_is_mounted_nowhere(made: list[Object]) -> None:
    authority = of_kind(made, "Secret")["bloomery-authority"]
    assert {"ca.crt", "ca.key"} == authority["data"].keys()
    for each in made:
        if each["kind"] in {"Deployment", "StatefulSet", "Pod"}:
            assert "'secretName': 'bloomery-authority'" not in str(each)
            assert "'name': 'bloomery-authority', 'key'" not in str(each)


def test_before_an_authority_is_exchanged_everybody_trusts_the_next_one_too() -> None:
    prepared = render(*ENDPOINT, "--set", "tls.rotation=prepare")
    authority = of_kind(prepared, "Secret")["bloomery-authority"]
    both = decoded(authority, "ca.crt") + decoded(authority, "next.crt")
    trusted = of_kind(prepared, "ConfigMap")["bloomery-authority"]["data"]["ca.crt"]
    assert trusted.encode() == both
    for name, secret in of_kind(prepared, "Secret").items():
        if name.endswith("-tls"):
            assert decoded(secret, "ca.crt") == both


def test_workers_trust_the_authority_in_their_own_namespace() -> None:
    objects = render(*ENDPOINT, "--set", "workers.namespace=elsewhere")
    there = [each for each in objects if each["kind"] == "ConfigMap" and each["metadata"]["namespace"] == "elsewhere"]
    assert [each["metadata"]["name"] for each in there] == ["bloomery-authority"]
    assert '"authority_config_map":"bloomery-authority"' in str(of_kind(objects, "Deployment")["bloomery-trainer"])


def test_cert_manager_makes_the_same_certificates(made: list[Object], managed: list[Object]) -> None:
    certificates = of_kind(managed, "Certificate")
    assert not [name for name in of_kind(managed, "Secret") if name.endswith("-tls")]
    secrets = {name for name in of_kind(made, "Secret") if name.endswith("-tls")}
    external = {"bloomery-postgres-tls", "bloomery-triton-tls", "bloomery-proxy-tls"}
    assert certificates.keys() == secrets - external
    for name, certificate in certificates.items():
        assert certificate["spec"]["secretName"] == name
        assert certificate["spec"]["issuerRef"]["name"] == "example-internal"


def test_without_an_issuer_cert_manager_makes_an_authority_for_the_release() -> None:
    objects = render(*MANAGED, "--set", "tls.certManager.issuer.name=")
    issuers = of_kind(objects, "Issuer")
    assert issuers.keys() == {"bloomery-self-signed", "bloomery-authority"}
    authority = of_kind(objects, "Certificate")["bloomery-authority"]["spec"]
    assert authority["isCA"]
    assert authority["secretName"] == issuers["bloomery-authority"]["spec"]["ca"]["secretName"]


def test_whom_workers_trust_must_be_named_with_cert_manager() -> None:
    with pytest.raises(RefusedError, match=r"tls\.certManager\.authorityConfigMap is missing"):
        render(*ENDPOINT, "--set", "tls.certManager.enabled=true")
