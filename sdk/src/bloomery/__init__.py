"""Bloomery: from labelled images to a model that answers predictions.

    from bloomery import Client

    with Client() as client:
        project = client.create_project("cells")
        project.import_folder("blood-cells")
        version = project.build_dataset("cells-v", split="70/20/10", seed=7).wait()
        job = version.train("yolo-detect", epochs=5, imgsz=320).wait()
        model = job.model_version()
        print(model.predict("image.jpg"))

`AsyncClient` is the same with `await`. The messages and stubs of the services are in `bloomery.annotation.v1` and its
neighbours. What is public here is loaded when it is first used, so that services import the stubs alone.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bloomery._access import Account, IssuedToken, Member, Token
    from bloomery._aio.alias import AsyncModelAlias
    from bloomery._aio.client import AsyncClient
    from bloomery._aio.data import AsyncAsset, AsyncImport, AsyncLabel
    from bloomery._aio.dataset import AsyncDataset, AsyncDatasetVersion
    from bloomery._aio.deployment import AsyncDeployment
    from bloomery._aio.group import AsyncJobGroup
    from bloomery._aio.job import AsyncJob, AsyncModelVersion
    from bloomery._aio.model import AsyncModel
    from bloomery._aio.project import AsyncProject
    from bloomery._aio.recipe import AsyncRecipe
    from bloomery._aio.variant import AsyncModelVariant
    from bloomery._benchmark import Benchmark
    from bloomery._better import MetricDifference, Verdict
    from bloomery._card import ModelCard
    from bloomery._comparison import ModelComparison
    from bloomery._evaluations import ConfusionCell, Evaluation, ReliabilityBin, WorstImage
    from bloomery._frames import Frame
    from bloomery._images import Blob
    from bloomery._predicted_images import PredictedImage
    from bloomery._quotas import Quota, Share
    from bloomery._results import (
        AliasChange,
        Checkpoint,
        Contents,
        Difference,
        Epoch,
        Estimate,
        Event,
        Predicted,
        Prediction,
        Sample,
        Step,
        Validation,
    )
    from bloomery._session import Timeouts
    from bloomery._sync.alias import ModelAlias
    from bloomery._sync.client import Client
    from bloomery._sync.data import Asset, Import, Label
    from bloomery._sync.dataset import Dataset, DatasetVersion
    from bloomery._sync.deployment import Deployment
    from bloomery._sync.group import JobGroup
    from bloomery._sync.job import Job, ModelVersion
    from bloomery._sync.model import Model
    from bloomery._sync.project import Project
    from bloomery._sync.recipe import Recipe
    from bloomery._sync.variant import ModelVariant
    from bloomery.errors import BloomeryError

__all__ = [
    "Account",
    "AliasChange",
    "Asset",
    "AsyncAsset",
    "AsyncClient",
    "AsyncDataset",
    "AsyncDatasetVersion",
    "AsyncDeployment",
    "AsyncImport",
    "AsyncJob",
    "AsyncJobGroup",
    "AsyncLabel",
    "AsyncModel",
    "AsyncModelAlias",
    "AsyncModelVariant",
    "AsyncModelVersion",
    "AsyncProject",
    "AsyncRecipe",
    "Benchmark",
    "Blob",
    "BloomeryError",
    "Checkpoint",
    "Client",
    "ConfusionCell",
    "Contents",
    "Dataset",
    "DatasetVersion",
    "Deployment",
    "Difference",
    "Epoch",
    "Estimate",
    "Evaluation",
    "Event",
    "Frame",
    "Import",
    "IssuedToken",
    "Job",
    "JobGroup",
    "Label",
    "Member",
    "MetricDifference",
    "Model",
    "ModelAlias",
    "ModelCard",
    "ModelComparison",
    "ModelVariant",
    "ModelVersion",
    "Predicted",
    "PredictedImage",
    "Prediction",
    "Project",
    "Quota",
    "Recipe",
    "ReliabilityBin",
    "Sample",
    "Share",
    "Step",
    "Timeouts",
    "Token",
    "Validation",
    "Verdict",
    "WorstImage",
]

_HOMES = {
    "alias": ("ModelAlias",),
    "client": ("Client",),
    "data": ("Asset", "Import", "Label"),
    "dataset": ("Dataset", "DatasetVersion"),
    "deployment": ("Deployment",),
    "group": ("JobGroup",),
    "job": ("Job", "ModelVersion"),
    "model": ("Model",),
    "project": ("Project",),
    "recipe": ("Recipe",),
    "variant": ("ModelVariant",),
}
_RESULTS = (
    "AliasChange",
    "Checkpoint",
    "Contents",
    "Difference",
    "Epoch",
    "Estimate",
    "Event",
    "Predicted",
    "Prediction",
    "Sample",
    "Step",
    "Validation",
)
_ACCESS = ("Account", "IssuedToken", "Member", "Token")
_EVALUATIONS = ("ConfusionCell", "Evaluation", "ReliabilityBin", "WorstImage")
_WHERE = {
    **{name: f"bloomery._sync.{module}" for module, names in _HOMES.items() for name in names},
    **{f"Async{name}": f"bloomery._aio.{module}" for module, names in _HOMES.items() for name in names},
    **dict.fromkeys(_RESULTS, "bloomery._results"),
    **dict.fromkeys(_ACCESS, "bloomery._access"),
    **dict.fromkeys(_EVALUATIONS, "bloomery._evaluations"),
    "Blob": "bloomery._images",
    "BloomeryError": "bloomery.errors",
    "Benchmark": "bloomery._benchmark",
    "Frame": "bloomery._frames",
    "MetricDifference": "bloomery._better",
    "ModelCard": "bloomery._card",
    "ModelComparison": "bloomery._comparison",
    "PredictedImage": "bloomery._predicted_images",
    "Quota": "bloomery._quotas",
    "Share": "bloomery._quotas",
    "Timeouts": "bloomery._session",
    "Verdict": "bloomery._better",
}


if not TYPE_CHECKING:
    # Type checkers see the imports above, and nothing else.
    def __getattr__(name: str) -> object:
        if name not in _WHERE:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(import_module(_WHERE[name]), name)
