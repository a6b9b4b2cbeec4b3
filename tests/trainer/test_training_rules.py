"""Rules that a training keeps whatever its worker says, as the service sees it."""

import math
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from bloomery.training.v1 import JobEvent
from bloomery.training.v1 import Progress as ProgressMessage
from bloomery.training.v1 import Reason as ReasonMessage
from bloomery_kit.errors import Violations
from bloomery_trainer import convert, facts, progress
from bloomery_trainer.model import Artifact, Kind, Progress, Resources, Spec, Success, Task
from bloomery_trainer.parameters import effective_parameters
from bloomery_trainer.recipes import Catalogue
from tests.recipe_files import texts
from tests.trainer.hand import metrics, model_facts

RECIPE = Catalogue.load(texts(Path(__file__).parent / "recipes")).get("recipes/scripted")
EPOCHS = 10
REPORTS = st.lists(
    st.one_of(
        st.tuples(st.integers(0, EPOCHS), st.booleans(), st.floats(0, 1e6), st.floats(0, 100)),
        st.tuples(st.integers(-5, 2 * EPOCHS), st.floats(-1, 2)),
    ),
    max_size=30,
)


@given(st.integers(-5, 2000), st.floats(-1, 2), st.integers(-5, 2000))
def test_epochs_and_rate_are_within_their_limits_or_refused(epochs: int, rate: float, seed: int) -> None:
    # Property 13: a training is refused where epochs or the rate leave their limits, and never where they do not.
    violations = Violations()
    effective = effective_parameters(RECIPE, Kind.TRAIN, {"epochs": epochs, "rate": rate, "seed": seed}, violations)
    fine = 1 <= epochs <= 1000 and 0 <= rate <= 1
    assert bool(violations) is not fine
    assert ("epochs" in effective, "rate" in effective) == (1 <= epochs <= 1000, 0 <= rate <= 1)


@given(REPORTS)
def test_progress_has_epoch_total_loss_and_time_left_and_never_goes_back(
    reports: list[tuple[int, bool, float, float] | tuple[int, float]],
) -> None:
    # Property 15: whatever is reported in whatever order, epoch and part never fall, the total stays, the newest loss
    # is there, and the time left is there from the first epoch that was timed.
    state = Progress(epochs=EPOCHS)
    for report in reports:
        before = state
        if len(report) == 4:
            epoch, end, at, loss = report
            state = progress.advanced(state, "training", [metrics(epoch, epoch_end=end, at=at, loss=loss)])
            assert state.metrics["loss"] == loss
        else:
            told = ProgressMessage(phase="training", epoch=report[0], fraction=report[1])
            state = progress.advanced(state, "training", [JobEvent(progress=told)])
        assert state.epoch >= before.epoch
        assert before.fraction <= state.fraction <= 1
        assert state.epochs == EPOCHS
        assert (state.eta_seconds is not None) is bool(state.durations)
        assert state.eta_seconds is None or (math.isfinite(state.eta_seconds) and state.eta_seconds >= 0)


@given(st.sets(st.sampled_from(["task", "classes", "input", "decoder", "license", "base"])), st.booleans())
def test_a_training_that_succeeds_says_all_about_its_model_and_has_one(missing: set[str], file: bool) -> None:
    # Property 16: a result is taken exactly where it has the model's file and says all that using it needs.
    model = model_facts()
    for field in missing:
        model.ClearField(field)  # type: ignore[arg-type]
    spec = Spec(Kind.TRAIN, "recipes/scripted", Task.DETECT, {}, {}, Resources(1, 0, 0))
    files = (Artifact("checkpoint", "sha256:0", 1, "", "best.pt", "k"),) if file else ()
    success = Success(files, {"test/map50": 0.5}, {}, {}, facts.document(model))
    found = facts.problems(spec, success)
    assert bool(found) is (bool(missing) or not file)
    for field in missing:
        assert any(problem.startswith(f"model.{field}") for problem in found)


@given(st.text(max_size=20), st.text(max_size=50), st.booleans())
def test_a_failure_always_has_its_reason(code: str, message: str, retriable: bool) -> None:
    # Property 17: whatever a worker says, its failure has a code, and its message as it was.
    reason = convert.reason(ReasonMessage(code=code, message=message, retriable=retriable))
    assert reason.code == (code or "USER_CODE")
    assert (reason.message, reason.retriable) == (message, retriable)
