"""What was installed by the chart that was released last can be upgraded to the present one."""

import tarfile
from pathlib import Path
from typing import Any

import pytest
import yaml

import render_chart
from render_chart import render, variants

RELEASED = Path(__file__).with_name("released") / "bloomery-0.1.0.tgz"
ENDPOINT = ("--set", "publicEndpoint=https://bloomery.example")
# What Kubernetes refuses to change in an object that is there.
FIXED = {
    "Deployment": ("selector",),
    "StatefulSet": ("selector", "serviceName", "podManagementPolicy", "volumeClaimTemplates"),
    "Service": ("clusterIP",),
}

pytestmark = pytest.mark.usefixtures("helm")


@pytest.fixture(params=variants(), ids=lambda path: path.name.removesuffix("-values.yaml"))
def variant(request: pytest.FixtureRequest) -> Path:
    found: Path = request.param
    return found


def fixed(objects: list[dict[str, Any]]) -> dict[tuple[str, str], dict[str, Any]]:
    """What must stay as it is, by kind and name."""
    return {
        (each["kind"], each["metadata"]["name"]): {name: each["spec"].get(name) for name in FIXED[each["kind"]]}
        for each in objects
        if each["kind"] in FIXED
    }


def test_the_values_of_the_last_release_are_still_taken(tmp_path: Path) -> None:
    with tarfile.open(RELEASED) as archive:
        member = archive.extractfile("bloomery/values.yaml")
        assert member is not None
        values = tmp_path / "values.yaml"
        values.write_bytes(member.read())
    assert yaml.safe_load(values.read_text())
    assert render("--values", str(values), *ENDPOINT)


def test_nothing_is_changed_that_kubernetes_does_not_let_change(variant: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = fixed(render("--values", str(variant)))
    monkeypatch.setattr(render_chart, "CHART", RELEASED)
    # It knows no values that are newer than it.
    before = fixed(render("--values", str(variant), "--skip-schema-validation"))
    both = before.keys() & now.keys()
    assert both
    assert {each: now[each] for each in both} == {each: before[each] for each in both}
