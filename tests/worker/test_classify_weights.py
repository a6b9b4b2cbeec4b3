"""Where classifiers of timm start from, and what their published file says."""

import os
import subprocess
import threading
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from bloomery_recipe_timm import networks, published, weights
from bloomery_worker.bases import SCRATCH, Base
from bloomery_worker.context import Context
from bloomery_worker.failures import ConfigError, DataError
from tests.worker.test_parts import JOB

pytestmark = pytest.mark.timeout(300)
NAME = "resnet18.a1_in1k"


@pytest.fixture(scope="module")
def resnet() -> networks.Classifier:
    torch.manual_seed(0)
    return networks.build("resnet18", 3)


def context(place: Path, **changes: object) -> Context:
    job = replace(
        JOB, task="classify", bases=(NAME, SCRATCH), cache_dir=str(place / "cache"), work_dir=str(place / "w")
    )
    return Context(replace(job, **changes), lambda _: None, threading.Event())  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "file",
    ["resnet18.a1_in1k.safetensors", "resnet18.pth", "resnet18-f37072fd.pth", "resnet18.a1_in1k/model.safetensors"],
)
def test_a_name_is_found_among_the_weights(file: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "weights"
    (folder / file).parent.mkdir(parents=True)
    (folder / file).write_bytes(b"w")
    (folder / "resnet18d.pth").write_bytes(b"another network")
    monkeypatch.setenv("BLOOMERY_WEIGHTS", str(folder))
    base = weights.find_base(context(tmp_path, base=""))
    assert base.file is not None
    assert (base.file.read_bytes(), base.name, base.license) == (b"w", NAME, "Apache-2.0")
    assert base.digest.startswith("sha256:")
    assert weights.find_base(context(tmp_path, base=SCRATCH)) == Base(None, SCRATCH)


def test_two_workers_download_the_same_weights_side_by_side(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The other one is done while this one writes, and this one breaks off."""
    monkeypatch.delenv("BLOOMERY_WEIGHTS", raising=False)
    written: list[str] = []

    def download(command: list[str], **_: object) -> None:
        part = Path(command[-1])
        written.append(part.name)
        part.write_bytes(b"half of the")
        (part.parent / f"{NAME}.safetensors").write_bytes(b"other's")
        raise subprocess.CalledProcessError(1, command)

    monkeypatch.setattr(subprocess, "run", download)
    base = weights.find_base(context(tmp_path, base=NAME))
    assert base.file is not None
    assert base.file.read_bytes() == b"other's"
    assert str(os.getpid()) in written[0]
    assert [path.name for path in (tmp_path / "cache" / "weights").iterdir()] == [f"{NAME}.safetensors"]


def test_several_files_for_a_name_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("resnet18-a.pth", "resnet18-b.pth"):
        (tmp_path / name).touch()
    monkeypatch.setenv("BLOOMERY_WEIGHTS", str(tmp_path))
    with pytest.raises(ConfigError, match=r"could be resnet18.a1_in1k: resnet18-a.pth, resnet18-b.pth"):
        weights.find_base(context(tmp_path))


def test_the_network_is_that_of_the_file_or_of_the_name(tmp_path: Path, resnet: networks.Classifier) -> None:
    file = tmp_path / "cells"
    about = published.About("resnet34", ("a", "b", "c"), 64, "center-crop", "softmax", (0.0, 0.0, 0.0))
    published.write(file, resnet.state_dict(), about)
    assert weights.architecture(Base(file, "cells@1"), "", "resnet18") == "resnet34"
    assert weights.architecture(Base(tmp_path / "x", "resnet50-0676ba61.pth"), "", "resnet18") == "resnet50"
    assert weights.architecture(Base(None, SCRATCH), "resnet26", "resnet18") == "resnet26"
    with pytest.raises(ConfigError, match="network: the base weights are of resnet34, not of resnet18"):
        weights.architecture(Base(file, "cells@1"), "resnet18", "resnet18")
    with pytest.raises(ConfigError, match=r"best.pth do not say of which network they are") as unknown:
        weights.architecture(Base(tmp_path / "x", "best.pth"), "", "resnet18")
    assert unknown.value.hint == "give the parameter network"


def test_weights_fit_whatever_classes_they_were_trained_for(tmp_path: Path, resnet: networks.Classifier) -> None:
    """As timm writes them, without our prefix, in a pickle of tensors."""
    file = tmp_path / "resnet18.pth"
    torch.save({"state_dict": networks.build("resnet18", 1000).body.state_dict()}, file)
    given = published.read_weights(file)
    weights.take(resnet, Base(file, "resnet18.pth"), context(tmp_path))
    assert torch.equal(resnet.state_dict()["body.conv1.weight"], given["conv1.weight"])
    assert resnet.state_dict()["body.fc.weight"].shape == (3, 512)


def test_a_checkpoint_of_a_training_can_be_started_from(tmp_path: Path, resnet: networks.Classifier) -> None:
    file = tmp_path / "weights.pt"
    about = published.About("resnet18", ("a", "b", "c"), 64, "center-crop", "softmax", (0.0, 0.0, 0.0))
    published.write(file, resnet.state_dict(), about)
    fresh = networks.build("resnet18", 3)
    weights.take(fresh, Base(file, "jobs/j/checkpoints/7"), context(tmp_path))
    assert all(torch.equal(value, resnet.state_dict()[name]) for name, value in fresh.state_dict().items())


def test_weights_of_another_network_are_refused(tmp_path: Path, resnet: networks.Classifier) -> None:
    file = tmp_path / "other.pth"
    torch.save({"conv1.weight": torch.zeros(64, 3, 7, 7)}, file)
    with pytest.raises(ConfigError, match="of another network: 119 of its 122 tensors are missing"):
        weights.take(resnet, Base(file, "other.pth"), context(tmp_path))


def test_a_file_that_would_run_code_or_holds_no_numbers_is_refused(tmp_path: Path) -> None:
    torch.save({"a": Path("code")}, tmp_path / "code.pth")
    torch.save({"a": torch.tensor([float("nan")])}, tmp_path / "nan.pth")
    (tmp_path / "none").write_bytes(b"nothing of the kind")
    for name in ("code.pth", "none"):
        with pytest.raises(ConfigError, match="the file holds no weights"):
            published.read_weights(tmp_path / name)
    with pytest.raises(DataError, match="weights are no finite numbers: a"):
        published.read_weights(tmp_path / "nan.pth")


def test_the_published_file_is_the_same_for_the_same_model(tmp_path: Path, resnet: networks.Classifier) -> None:
    about = published.About("resnet18", ("a", "b", "c"), 64, "center-crop", "softmax", (0.0, 0.5, 0.0))
    for name in ("one", "two"):
        published.write(tmp_path / name, resnet.state_dict(), about)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()
    assert published.read_about(tmp_path / "one") == about


@pytest.mark.parametrize("name", ["resnet18", "resnet50", "efficientnet_b0"])
def test_every_parameter_has_a_layer_and_the_head_is_the_last(name: str) -> None:
    network = networks.build(name, 2)
    layers = networks.layers(network)
    assert layers.keys() == dict(network.named_parameters()).keys()
    last = max(layers.values())
    head = {one.rsplit(".", 1)[0] for one, layer in layers.items() if layer == last}
    assert head in ({"body.fc"}, {"body.classifier"})
    assert set(layers.values()) == set(range(last + 1))
