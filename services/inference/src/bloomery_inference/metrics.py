"""What predictions are measured by. Labels are bounded: those of models that were not used lately are forgotten."""

from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from prometheus_client import Counter, Gauge, Histogram

from bloomery_kit.errors import BloomeryError
from bloomery_kit.metrics import REGISTRY

if TYPE_CHECKING:
    from bloomery_inference.predictor import Question

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


class ModelsInUse:
    """The models and variants that have labels: the `most` that were used last."""

    def __init__(self, most: int = 50) -> None:
        self._most = most
        self._codes: OrderedDict[tuple[str, str], set[str]] = OrderedDict()

    @contextmanager
    def measured(self, question: "Question") -> Iterator[None]:
        """Count a prediction, and observe its stages once it is answered."""
        version = question.version
        labels = f"{version.project}/{version.model}@{version.number}", question.variant.id
        code = "OK"
        try:
            yield
        except BaseException as error:
            code = error.code.name if isinstance(error, BloomeryError) else type(error).__name__
            raise
        finally:
            self._use(labels, code)
            PREDICTIONS.labels(*labels, code).inc()
            if code == "OK":
                for stage in STAGES:
                    STAGE_SECONDS.labels(*labels, stage).observe(question.watch.stages.get(f"{stage}_ms", 0.0) / 1000)

    def _use(self, labels: tuple[str, str], code: str) -> None:
        self._codes.setdefault(labels, set()).add(code)
        self._codes.move_to_end(labels)
        while len(self._codes) > self._most:
            gone, codes = self._codes.popitem(last=False)
            for one in codes:
                PREDICTIONS.remove(*gone, one)
            if "OK" in codes:
                for stage in STAGES:
                    STAGE_SECONDS.remove(*gone, stage)
