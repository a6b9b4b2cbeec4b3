"""What predictions are measured by. Labels are bounded: those of models that were not used lately are forgotten."""

from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from prometheus_client import Counter, Gauge, Histogram

from bloomery_kit.errors import BloomeryError
from bloomery_kit.metrics import REGISTRY

if TYPE_CHECKING:
    from bloomery_inference.question import Question

_MODEL = ("model", "variant")
STAGES = ("queue", "load", "decode", "preprocess", "inference", "postprocess", "total")
STAGE_SECONDS = Histogram(
    "bloomery_prediction_stage_seconds",
    "Time of predictions that were answered, by stage.",
    (*_MODEL, "stage"),
    buckets=(0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
    registry=REGISTRY,
)
PREDICTIONS = Counter(
    "bloomery_predictions_total", "Predictions by the code that they ended with.", (*_MODEL, "code"), registry=REGISTRY
)
ADMITTED = Gauge("bloomery_predictions_admitted", "Predictions that run or wait, but for frames.", registry=REGISTRY)
LIMIT = Gauge("bloomery_predictions_limit", "How many of them may; more are refused.", registry=REGISTRY)
RUNNING = Gauge("bloomery_predictions_running", "Predictions that run, frames of streams too.", registry=REGISTRY)
STREAMS = Gauge("bloomery_prediction_streams", "Open streams of frames.", registry=REGISTRY)


@dataclass(frozen=True)
class _InUse:
    """The measurements of one model and variant: those by code, and those by stage once it has answered."""

    codes: dict[str, Counter] = field(default_factory=dict)
    stages: dict[str, Histogram] = field(default_factory=dict)


class ModelsInUse:
    """The models and variants that have labels: the `most` that were used last."""

    def __init__(self, most: int = 50) -> None:
        self._most = most
        self._known: OrderedDict[tuple[str, str], _InUse] = OrderedDict()

    @contextmanager
    def measured(self, question: "Question") -> Iterator[None]:
        """Count a prediction, and observe its stages once it is answered."""
        version = question.version
        labels = f"{version.project}/{version.title}", question.variant.id
        code = "OK"
        try:
            yield
        except BaseException as error:
            code = error.code.name if isinstance(error, BloomeryError) else type(error).__name__
            raise
        finally:
            in_use = self._use(labels, code)
            in_use.codes[code].inc()
            if code == "OK":
                for stage, seconds in in_use.stages.items():
                    seconds.observe(question.watch.stages.get(f"{stage}_ms", 0.0) / 1000)

    def _use(self, labels: tuple[str, str], code: str) -> _InUse:
        in_use = self._known.setdefault(labels, _InUse())
        self._known.move_to_end(labels)
        if code not in in_use.codes:
            in_use.codes[code] = PREDICTIONS.labels(*labels, code)
            if code == "OK":
                in_use.stages.update({stage: STAGE_SECONDS.labels(*labels, stage) for stage in STAGES})
        while len(self._known) > self._most:
            gone, had = self._known.popitem(last=False)
            for one in had.codes:
                PREDICTIONS.remove(*gone, one)
            for stage in had.stages:
                STAGE_SECONDS.remove(*gone, stage)
        return in_use
