"""Rules of adapters that hold for any model: where they sit, what they leave alone, and what their files hold."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from torch import nn

from bloomery_recipe_yolo.lora import injecting
from bloomery_recipe_yolo.lora.adapter import Adapter, Origin, read, write
from bloomery_recipe_yolo.lora.spec import Spec
from bloomery_worker.failures import ConfigError

pytestmark = pytest.mark.timeout(300)

KINDS = ("lora", "loha", "lokr")
SPECS = st.builds(
    Spec,
    kind=st.sampled_from(KINDS),
    rank=st.integers(1, 12),
    alpha=st.floats(0.5, 64.0),
    dropout=st.sampled_from([0.0, 0.3]),
    targets=st.sampled_from(["all", "pointwise", "backbone"]),
)


class Block(nn.Module):
    """As the library wraps all convolutions but those that predict."""

    def __init__(self, given: Mapping[str, Any]) -> None:
        super().__init__()
        self.conv = nn.Conv2d(8, 8, bias=False, **given)
        self.bn = nn.BatchNorm2d(8)

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        """[B, 8, H, W], in and out."""
        normal: torch.Tensor = self.bn(self.conv(values))
        return normal


class Head(nn.Module):
    """One hidden convolution, one that predicts, and a constant."""

    def __init__(self, *, classify: bool) -> None:
        super().__init__()
        self.hidden = Block({"kernel_size": 1})
        self.predict: nn.Module = nn.Linear(8, 3) if classify else nn.Conv2d(8, 3, 1)
        self.dfl = Block({"kernel_size": 1}).requires_grad_(False)
        self._classify = classify

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        """[B, 8, H, W] in; [B, 3] or [B, 3, H, W] out."""
        hidden = self.hidden(values)
        seen: torch.Tensor = self.predict(hidden.mean((2, 3)) if self._classify else hidden)
        return seen


class Model(nn.Module):
    """A chain of layers under the library's names: the head is the last."""

    def __init__(self, blocks: list[nn.Module], *, classify: bool) -> None:
        super().__init__()
        self.model = nn.Sequential(*blocks, Head(classify=classify))

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        """[B, 8, H, W] in; what the head gives out."""
        seen: torch.Tensor = self.model(values)
        return seen


@st.composite
def models(draw: st.DrawFn) -> Model:
    """Models of plain, grouped, dilated and mirrored convolutions, with or without a neck."""
    kernels: st.SearchStrategy[dict[str, Any]] = st.sampled_from([{"kernel_size": 1}, {"kernel_size": 3, "padding": 1}])
    odd: st.SearchStrategy[dict[str, Any]] = st.sampled_from(
        [{}, {"groups": 4}, {"groups": 8}, {"dilation": 2}, {"padding_mode": "reflect"}]
    )
    blocks: list[nn.Module] = []
    for _ in range(draw(st.integers(1, 3))):
        given: dict[str, Any] = {**draw(kernels), **draw(odd)}
        if given.get("dilation"):
            given |= {"kernel_size": 3, "padding": 2}
        blocks.append(Block(given))
    if draw(st.booleans()):
        blocks += [nn.Upsample(scale_factor=2), Block({"kernel_size": 1})]
    return Model(blocks, classify=draw(st.booleans())).eval()


def disturbed(model: nn.Module) -> None:
    """As if it had been trained."""
    own = set(injecting.own_names(model))
    with torch.no_grad():
        for name, value in model.named_parameters():
            if name in own:
                value.add_(torch.randn_like(value), alpha=0.1)


PROPERTY = settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])


# Property 14: an adapter sits on convolutions and linear layers before training, and nothing else of the model is its.
@PROPERTY
@given(models(), SPECS)
def test_adapters_sit_on_convolutions_and_linear_layers_that_can_be_merged(model: Model, spec: Spec) -> None:
    plain = dict(model.named_modules())
    head = f"model.{len(model.model) - 1}."
    before = {name: value.clone() for name, value in model.state_dict().items()}
    if not injecting.targets(model, spec):
        with pytest.raises(ConfigError, match="no layer"):
            injecting.inject(model, spec)
        return
    names = injecting.inject(model, spec)
    assert names == list(injecting.adapter_layers(model))
    for name in names:
        layer = plain[name]
        assert isinstance(layer, nn.Conv2d | nn.Linear)
        assert name not in (f"{head}predict", f"{head}dfl.conv")
        if spec.kind == "lora" and isinstance(layer, nn.Conv2d):
            assert (layer.groups, layer.dilation, layer.padding_mode) == (1, (1, 1), "zeros")
    own = set(injecting.own_names(model))
    assert {name for name in own if name.startswith(f"{head}predict")} == {
        f"{head}predict.weight",
        f"{head}predict.bias",
    }
    for name, value in model.state_dict().items():
        if name not in own:
            assert value.equal(before[injecting.base_name(name)])


# Property: what is folded in answers as what lies beside, and holds no class of the adapters' library.
@PROPERTY
@given(models(), SPECS, st.integers(0, 100))
def test_a_merged_model_answers_as_the_unmerged_one(model: Model, spec: Spec, seed: int) -> None:
    assume(injecting.targets(model, spec))
    torch.manual_seed(seed)
    injecting.inject(model, spec)
    disturbed(model)
    model.eval()
    images = torch.rand(2, 8, 6, 6)
    with torch.no_grad():
        beside = model(images)
        injecting.merge(model)
        folded = model(images)
    assert not injecting.is_adapted(model)
    assert torch.allclose(beside, folded, rtol=1e-4, atol=1e-4)


# Property 19: the file of an adapter has all that is needed to use it: what it is, its base, its classes.
@PROPERTY
@given(
    models(),
    SPECS,
    st.lists(st.text(st.characters(exclude_categories=["Cs"]), min_size=1), min_size=1, unique=True),
    st.dictionaries(st.sampled_from(["imgsz", "lr0", "task"]), st.integers(1, 640)),
)
def test_a_file_of_an_adapter_says_what_it_is_and_comes_back_to_the_bit(
    tmp_path_factory: pytest.TempPathFactory, model: Model, spec: Spec, classes: list[str], arguments: dict[str, int]
) -> None:
    assume(injecting.targets(model, spec))
    injecting.inject(model, spec)
    disturbed(model)
    adapter = Adapter.taken(model, spec)
    origin = Origin(
        base="yolov8n.pt", base_digest=f"sha256:{0:064}", task="detect", classes=tuple(classes), arguments=arguments
    )
    path = tmp_path_factory.getbasetemp() / "property.safetensors"
    write(path, adapter, origin)
    again, said = read(path)
    assert said == origin
    assert (again.spec, list(again.layers)) == (spec, adapter.layers)
    assert again.tensors.keys() == adapter.tensors.keys()
    assert all(value.equal(again.tensors[name]) for name, value in adapter.tensors.items())


def test_what_is_no_adapter_is_refused_by_name(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    path = tmp_path / "adapter.safetensors"
    for content in (b"", b"PK\x03\x04", b"\xff" * 100):
        path.write_bytes(content)
        with pytest.raises(ConfigError, match="no adapter"):
            read(path)
    for said in ({}, {"bloomery": "{"}, {"bloomery": json.dumps({"format": 1})}, {"bloomery": json.dumps([1])}):
        save_file({"a": torch.zeros(1)}, str(path), metadata=said)
        with pytest.raises(ConfigError, match="no adapter"):
            read(path)
    save_file({"a": torch.zeros(1)}, str(path), metadata={"bloomery": json.dumps({"format": 9})})
    with pytest.raises(ConfigError, match="format 9"):
        read(path)


def test_an_adapter_fits_no_other_layers() -> None:
    spec = Spec("lora", 4, 8.0, 0.0, "all")
    model = Model([Block({"kernel_size": 1})], classify=False)
    injecting.inject(model, spec)
    adapter = Adapter.taken(model, spec)
    with pytest.raises(ConfigError, match="does not fit"):
        adapter.on(Model([Block({"kernel_size": 1}), Block({"kernel_size": 1})], classify=False))
    with pytest.raises(ConfigError, match="does not fit"):
        adapter.on(Model([Block({"kernel_size": 3})], classify=False))
