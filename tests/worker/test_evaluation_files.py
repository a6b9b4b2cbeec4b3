"""The files of an evaluation: real weights on real photographs, some of them with names that mean harm."""

import base64
import hashlib
import io
import json
import re
import threading
from collections import Counter
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image
from sklearn import metrics as sklearn  # type: ignore[import-untyped]

from bloomery_vision.decoders import PROBABILITIES
from bloomery_vision.formats import Format
from bloomery_worker.classifying import ClassificationEvaluator
from bloomery_worker.context import Context
from bloomery_worker.dataset import Dataset
from bloomery_worker.evaluate import DetectionEvaluator
from bloomery_worker.layout import tag_of
from bloomery_worker.predictor import Images, Outputs
from bloomery_worker.published import publish
from tests.worker.fake_trainer import FakeTrainer
from tests.worker.sample_data import Version, as_version, cached, relabelled, rows_of
from tests.worker.test_parts import JOB

pytestmark = [pytest.mark.real_training, pytest.mark.timeout(300)]

HOSTILE = "<script>alert('cup')</script>"
FILE = "a&b <img src=x onerror=alert(1)>.jpg"


@pytest.fixture(scope="module")
def files(test_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with what an evaluation of a detector leaves."""
    from bloomery_recipe_yolo.flavours import FLAVOURS
    from bloomery_recipe_yolo.foreign import Foreign
    from bloomery_recipe_yolo.named import applied
    from bloomery_worker.evaluating import evaluate

    folder = tmp_path_factory.mktemp("evaluated")
    rows, blobs = rows_of(test_data / "coco-tiny", Format.COCO, per_split={"val": 6})
    named = [replace(rows[0], file_name=FILE), *rows[1:]]
    version = as_version(relabelled(named, {"person": HOSTILE}), blobs)
    cache = cached(version, folder / "cache")
    [weights] = (test_data / "weights").glob("yolov8n*.pt")
    Foreign.read(weights).write(folder / "model.pt", side=320)
    job = replace(
        JOB,
        manifest=str(cache.path(version.index.digest)),
        base_file=str(folder / "model.pt"),
        cache_dir=str(cache.root),
        work_dir=str(folder),
        classes=version.classes,
        parameters={"split": "all"},
    )
    context = Context(job, lambda _: None, threading.Event())
    evaluate(context, applied(context, FLAVOURS["detect"]))
    return folder


@pytest.fixture(scope="module")
def document(files: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((files / "evaluation.json").read_text(encoding="utf-8"))
    return found


def test_the_document_says_of_what_version_it_is_and_agrees_with_itself(document: dict[str, Any]) -> None:
    assert (document["version"], document["task"]) == (1, "detect")
    found = document["evaluations"]["all"]
    assert found["images"] == 6
    instances = {one["class"]: one["instances"] for one in found["per_class"]}
    truth = Counter[str]()
    for cell in found["confusion"]["cells"]:
        truth[cell["truth"]] += cell["count"]
    del truth[None]
    assert truth == instances
    # The model knows people by their right name, which no object has.
    [taken] = [one for one in found["confusion"]["cells"] if (one["truth"], one["predicted"]) == (HOSTILE, "person")]
    assert instances[HOSTILE] / 2 < taken["count"] <= instances[HOSTILE]
    assert 0 < len(taken["images"]) <= 6
    assert not any((one["truth"], one["predicted"]) == (None, "person") for one in found["confusion"]["cells"])
    mistakes = sum(one["missed"] + one["extra"] + one["confused"] for one in found["worst_images"])
    off = sum(cell["count"] for cell in found["confusion"]["cells"] if cell["truth"] != cell["predicted"])
    assert mistakes == off, "all six images are among the worst twenty"
    assert {len(curve["x"]) for curve in found["curves"]} == {101}


def test_the_long_form_has_the_same_numbers(files: Path, document: dict[str, Any]) -> None:
    table = pq.read_table(files / "figures.parquet")
    assert json.loads(table.schema.metadata[b"bloomery.figures"]) == {"version": 1}
    rows = table.to_pylist()
    found = document["evaluations"]["all"]
    metrics = {
        f"all/{row['figure']}": row["y"] for row in rows if row["class"] is None and row["x"] is None and row["y"]
    }
    assert metrics == {name: value for name, value in found["metrics"].items() if value}
    cells = {(row["class"], row["predicted"]): row["count"] for row in rows if row["figure"] == "confusion"}
    assert cells == {(one["truth"], one["predicted"]): one["count"] for one in found["confusion"]["cells"]}
    curve = found["curves"][0]
    points = [row for row in rows if (row["figure"], row["class"]) == ("precision_recall", curve["class"])]
    assert [row["y"] for row in points] == curve["y"]


class Page(HTMLParser):
    """What a browser would see of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.text: list[str] = []
        self.style = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {name: value or "" for name, value in attrs}))

    def handle_data(self, data: str) -> None:
        if self.tags and self.tags[-1][0] == "style" and not self.style:
            self.style = data
        self.text.append(data)

    def of(self, tag: str) -> list[dict[str, str]]:
        return [attributes for name, attributes in self.tags if name == tag]


@pytest.fixture(scope="module")
def page(files: Path) -> Page:
    return Page((files / "report.html").read_text(encoding="utf-8"))


def test_the_page_needs_nothing_and_runs_nothing(page: Page) -> None:
    assert not page.of("script")
    assert not page.of("link")
    for _, attributes in page.tags:
        assert not any(name.startswith("on") or name == "style" for name in attributes)
    assert all(one["src"].startswith("data:image/jpeg;base64,") for one in page.of("img"))
    [policy] = [one["content"] for one in page.of("meta") if one.get("http-equiv") == "Content-Security-Policy"]
    digest = base64.b64encode(hashlib.sha256(page.style.encode()).digest()).decode()
    assert f"default-src 'none'; img-src data:; style-src 'sha256-{digest}'" in policy


def test_names_are_text_whatever_they_are(page: Page) -> None:
    assert HOSTILE in page.text
    assert any(FILE in text for text in page.text)


def test_numbers_of_the_matrix_lead_to_their_mistakes(page: Page) -> None:
    targets = {one["id"] for one in page.of("section")}
    links = {one["href"].removeprefix("#") for one in page.of("a")}
    assert links
    assert links == targets


def test_pictures_are_small_and_few(page: Page, files: Path) -> None:
    pictures = [base64.b64decode(one["src"].partition(",")[2]) for one in page.of("img")]
    assert pictures
    assert max(max(Image.open(io.BytesIO(one)).size) for one in pictures) <= 480
    assert (files / "report.html").stat().st_size < 5 << 20


def test_what_is_missed_and_what_is_seen_where_nothing_is_are_called_so(page: Page) -> None:
    told = "".join(page.text)
    assert re.search(r"\n\S+ missed: \d+\n", told)
    assert re.search(r"\n\S+ seen where nothing is: \d+\n", told)
    assert f"{HOSTILE} taken for person: " in told
    assert "background taken for" not in told
    assert "taken for background" not in told


def test_images_that_cannot_be_read_are_named_without_a_picture(files: Path, tmp_path: Path, tags: Version) -> None:
    """As where the cache has lost one since it was measured."""
    cache = cached(tags, tmp_path / "cache")
    job = replace(JOB, manifest=str(cache.path(tags.index.digest)), cache_dir=str(cache.root), classes=tags.classes)
    context = Context(job, lambda _: None, threading.Event())
    dataset = Dataset.open(cache.path(tags.index.digest), cache)
    rows = list(dataset.rows("val"))
    evaluator = ClassificationEvaluator(dataset, (32, 32), tags.classes, decoder=PROBABILITIES)
    wrong = np.array([1 - (tag_of(row, tags.classes) or 0) for row in rows])
    answers = iter(np.eye(2, dtype=np.float32)[wrong])
    evaluation = evaluator.evaluate(lambda images: (np.stack([next(answers) for _ in images]),), rows, name="val")
    cache.path(rows[0].digest).unlink()
    publish(context, [evaluation], tmp_path)
    shown = Page((tmp_path / "report.html").read_text(encoding="utf-8"))
    assert any(rows[0].file_name in text for text in shown.text)
    assert 0 < len(shown.of("img")) < 2 * len(rows)


def test_where_nothing_is_to_be_found_the_page_says_so(tmp_path: Path, tags: Version) -> None:
    """As on images with tags and no boxes."""
    cache = cached(tags, tmp_path / "cache")
    job = replace(JOB, manifest=str(cache.path(tags.index.digest)), cache_dir=str(cache.root), classes=tags.classes)
    context = Context(job, lambda _: None, threading.Event())
    evaluator = DetectionEvaluator(context.dataset, (32, 32), tags.classes)
    nothing = np.zeros((1, 6, 21), np.float32)
    rows = context.dataset.rows("val")
    evaluation = evaluator.evaluate(lambda images: (nothing.repeat(len(images), axis=0),), rows, name="val")
    publish(context, [evaluation], tmp_path)
    shown = Page((tmp_path / "report.html").read_text(encoding="utf-8"))
    assert any("no figure is defined" in text for text in shown.text)
    assert json.loads((tmp_path / "evaluation.json").read_text())["evaluations"]["val"]["metrics"] == {}
    assert pq.read_table(tmp_path / "figures.parquet").num_rows == 15, "the bins, which are empty"


def test_figures_of_a_trained_classifier_are_those_of_scikit_learn(
    classifier: FakeTrainer, tags: Version, tmp_path: Path
) -> None:
    from bloomery_recipe_yolo.model import TrainedModel

    (tmp_path / "best.pt").write_bytes(classifier.content("checkpoint"))
    model = TrainedModel(tmp_path / "best.pt", device="cpu")
    cache = cached(tags, tmp_path / "cache")
    dataset = Dataset.open(cache.path(tags.index.digest), cache)
    seen: list[np.ndarray] = []

    def told(images: Images) -> Outputs:
        outputs = model(images)
        seen.append(outputs[0])
        return outputs

    evaluator = ClassificationEvaluator(dataset, (model.side, model.side), tags.classes)
    rows = list(dataset.rows())
    measured = evaluator.evaluate(told, rows, name="all")
    scores, truth = np.concatenate(seen), np.array([tag_of(row, tags.classes) for row in rows])
    predicted = scores.argmax(axis=1)
    precision, recall, f1, _ = sklearn.precision_recall_fscore_support(
        truth, predicted, average="macro", zero_division=0
    )
    expected = {
        "accuracy": sklearn.accuracy_score(truth, predicted),
        "balanced_accuracy": sklearn.balanced_accuracy_score(truth, predicted),
        "precision": precision,
        "recall": recall,
        "f1": f1,
        "roc_auc": np.mean([sklearn.roc_auc_score(truth == number, scores[:, number]) for number in (0, 1)]),
    }
    assert {name: measured.means[name] for name in expected} == pytest.approx(expected, abs=1e-6)
