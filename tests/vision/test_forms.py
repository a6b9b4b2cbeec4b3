"""The table of forms, and the page that shows it."""

import re
from pathlib import Path

import pytest

from bloomery_vision.forms import FORMS, Form, formats, precisions

PAGE = Path(__file__).resolve().parents[2] / "docs/serving.md"


def test_the_default_is_the_form_that_every_training_makes() -> None:
    assert (formats()[0], precisions("onnx")[0]) == ("onnx", "fp32")
    assert precisions("tflite") == ()


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_the_page_says_of_each_form_how_it_is_asked_for(form: Form) -> None:
    rows = dict(
        re.findall(r"^\| `([a-z][a-z0-9-]+)` \| `([a-z0-9-]+)` \|", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    )
    wanted = {made: asked for asked, made in rows.items()}
    assert set(wanted) == set(FORMS)
    kind, _, precision = wanted[form.id].partition("-")
    assert FORMS[f"{kind}-{precision or precisions(kind)[0]}"] is form


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_a_form_with_the_same_numbers_is_held_to_them_and_one_with_others_to_its_metric(form: Form) -> None:
    limits = str(form.limits)
    exact = "geometry 0.5 px, scores 0.001, metric 0.005"
    other = "metric 0.01" if "int8" in form.precision else "metric 0.005"
    assert limits == (exact if form.is_exact else other)
