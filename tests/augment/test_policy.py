"""Policies as people write them, and what follows from them."""

import json
from contextlib import suppress

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from bloomery_augment.kinds import KINDS
from bloomery_augment.policy import CHARACTERISTICS, ENVIRONMENT, INTENSITIES, Policy, PolicyError
from bloomery_augment.rules import LIKELY, MOST, changes, effective
from bloomery_augment.table import RULES

POLICIES = st.builds(
    lambda characteristics, environment, intensity: Policy(
        tuple(one for one in CHARACTERISTICS if one in characteristics),
        {key: environment[key] for key in ENVIRONMENT if key in environment},
        intensity,
    ),
    st.sets(st.sampled_from(CHARACTERISTICS)),
    st.fixed_dictionaries({}, optional={key: st.sampled_from(values[1:]) for key, values in ENVIRONMENT.items()}),
    st.sampled_from(INTENSITIES),
).filter(lambda policy: bool(policy.characteristics or policy.environment))
"""All policies that ask for something."""


def problems(text: str) -> tuple[str, ...]:
    with pytest.raises(PolicyError) as refusal:
        Policy.parse(text)
    return refusal.value.problems


@given(POLICIES)
@settings(max_examples=200, deadline=None)
def test_a_policy_reads_back_from_a_line_from_yaml_and_from_json(policy: Policy) -> None:
    assert Policy.parse(str(policy)) == policy
    assert Policy.parse(json.dumps(policy.to_dict())) == policy
    assert Policy.parse(yaml.safe_dump(policy.to_dict())) == policy


def test_a_line_is_read_in_any_order_and_what_is_plain_is_left_out() -> None:
    policy = Policy.parse(" intensity=high, lighting=poor ,camera=fixed, moves_or_vibrates,low_contrast,")
    assert str(policy) == "low_contrast,moves_or_vibrates,lighting=poor,intensity=high"


def test_everything_that_is_wrong_is_told_at_once() -> None:
    assert problems("low_contrst,lighting=poor,lighting=stable,camra=shaky,distance=far,intensity=huge") == (
        "lighting: is given twice",
        "'camra': is no setting; did you mean camera?",
        "characteristics: 'low_contrst' is none; did you mean low_contrast?",
        "environment.distance: 'far' is none; choose from fixed, variable, close",
        "intensity: 'huge' is none; choose from low, medium, high",
    )
    assert problems("{characteristic: [1], environment: {lighting: [a], sound: loud}, intensity: 2}") == (
        "'characteristic': is no key of a policy; did you mean characteristics?",
        "environment.lighting: a list is none; choose from stable, variable, poor",
        "environment: 'sound' is none of its keys; choose from lighting, camera, background, distance",
        "intensity: 2 is none; choose from low, medium, high",
    )


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("intensity=high", "asks for nothing"),
        ("lighting=stable,camera=fixed", "asks for nothing"),
        (",", "asks for nothing"),
        ("characteristics: low_contrast", "must be a list"),
        ("environment: poor", "must be a mapping"),
        ("- low_contrast\n- lighting", "must be a mapping"),
        ("{", "nor YAML"),
        ("x: 2001-13-01", "nor YAML"),
        ("[" * 990, "nor YAML"),
        ("&a [*a]: 1", "nor YAML"),
        ("characteristics: &a [*a]", "characteristics: a list is none"),
        ("low_contrast," * 100, "at most 1000 characters"),
    ],
)
def test_what_is_no_policy_is_refused(text: str, said: str) -> None:
    assert any(said in problem for problem in problems(text))


@given(st.text(max_size=80) | st.text(alphabet="{}[]:,=&*!\n- abchigtlow_", max_size=200))
@settings(max_examples=300, deadline=None)
def test_no_text_is_met_with_another_error(text: str) -> None:
    with suppress(PolicyError):
        assert changes(Policy.parse(text))


@given(POLICIES)
@settings(max_examples=200, deadline=None)
def test_rules_that_overlap_are_merged_once_and_each_is_given_its_range(policy: Policy) -> None:
    # Property: one entry a transform, with the hull of what all rules ask for, and all their reasons.
    done = {change.transform: change for change in changes(policy)}
    assert len(done) == len(changes(policy))
    step = INTENSITIES.index(policy.intensity)
    parts = [*policy.characteristics, *(f"{key}={value}" for key, value in policy.environment.items())]
    asked = [(part, rule) for part in parts for rule in RULES[part]]
    assert {rule.transform for _, rule in asked} == done.keys()
    for part, rule in asked:
        change = done[rule.transform]
        assert change.why[part] == rule.why
        assert all(change.ranges[name][0] <= steps[step][0] for name, steps in rule.ranges.items())
        assert all(change.ranges[name][1] >= steps[step][1] for name, steps in rule.ranges.items())
    for change in done.values():
        for name, (low, high) in change.ranges.items():
            ends = [
                rule.ranges[name][step]
                for _, rule in asked
                if name in rule.ranges and rule.transform == change.transform
            ]
            assert (low, high) == (min(end[0] for end in ends), max(end[1] for end in ends))


@given(POLICIES)
@settings(max_examples=200, deadline=None)
def test_an_image_is_changed_by_three_transforms_on_average_at_most(policy: Policy) -> None:
    likely = [change.likely for change in changes(policy)]
    assert sum(likely) <= MOST + 0.01
    assert all(0 < one <= LIKELY[policy.intensity] for one in likely)


def test_more_intensity_never_means_less() -> None:
    for rules in RULES.values():
        for rule in rules:
            assert rule.transform in KINDS
            assert rule.ranges.keys() <= KINDS[rule.transform].units.keys()
            for low, medium, high in rule.ranges.values():
                widths = [end[1] - end[0] for end in (low, medium, high)]
                assert widths == sorted(widths)


def test_every_part_of_a_policy_has_rules() -> None:
    settings_ = [f"{key}={value}" for key, values in ENVIRONMENT.items() for value in values[1:]]
    assert list(RULES) == [*CHARACTERISTICS, *settings_]


def test_what_is_kept_with_a_model_says_it_all() -> None:
    kept = effective(Policy.parse("partially_hidden,background=busy"))
    assert kept["text"] == "partially_hidden,background=busy"
    assert json.loads(json.dumps(kept))["changes"][1]["why"] == {
        "partially_hidden": "only parts of them can be seen",
        "background=busy": "things get into the way",
    }
