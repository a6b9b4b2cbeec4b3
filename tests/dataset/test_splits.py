"""How images are divided: sizes, shares of labels, steadiness, and sameness on every machine."""

import random
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bloomery_dataset.splits import PARTS, SplitItem, place, sizes, split

LABELS = ("a", "b", "c", "d")
Percents = tuple[int, int, int]


@dataclass(frozen=True)
class Picture:
    digest: str
    counts: Mapping[str, int]
    group: str = ""


def divided(pictures: Iterable[Picture], *, percents: Percents, seed: int) -> dict[str, str]:
    """The part of each picture by its digest; those with equal places stay in the order given."""
    drawn = [(place(one.digest, one.group, seed=seed), one) for one in pictures]
    drawn.sort(key=lambda one: (one[0], one[1].group))
    parts = split((SplitItem(at, one.counts, one.group) for at, one in drawn), percents=percents)
    return {one.digest: PARTS[part] for (_, one), part in zip(drawn, parts, strict=True)}


@st.composite
def percents(draw: st.DrawFn) -> Percents:
    train = draw(st.integers(0, 100))
    val = draw(st.integers(0, 100 - train))
    return train, val, 100 - train - val


counts = st.dictionaries(st.sampled_from(LABELS), st.integers(1, 20), max_size=4)


def items_of(labels: Sequence[Mapping[str, int]], groups: Sequence[str] = ()) -> list[Picture]:
    names = groups or [""] * len(labels)
    return [Picture(f"sha256:{n:064x}", each, name) for n, (each, name) in enumerate(zip(labels, names, strict=True))]


@given(st.lists(counts, max_size=60), percents(), st.integers())
def test_every_image_is_in_one_part_and_the_parts_have_their_sizes(
    labels: list[dict[str, int]], shares: Percents, seed: int
) -> None:
    items = items_of(labels)
    parts = divided(items, percents=shares, seed=seed)

    assert parts.keys() == {item.digest for item in items}
    found = Counter(parts.values())
    assert tuple(found[part] for part in PARTS) == sizes(len(items), shares)


@given(st.integers(0, 10_000), percents())
def test_sizes_are_within_one_image_of_the_shares(total: int, shares: Percents) -> None:
    made = sizes(total, shares)
    assert sum(made) == total
    for size, share in zip(made, shares, strict=True):
        assert abs(100 * size - total * share) < 100


@pytest.mark.parametrize(("total", "expected"), [(1, (1, 0, 0)), (2, (1, 1, 0)), (3, (2, 1, 0)), (5, (4, 1, 0))])
def test_few_images_go_to_training_first_and_then_to_validation(total: int, expected: Percents) -> None:
    assert sizes(total, (80, 10, 10)) == expected


@given(st.lists(st.tuples(counts, st.sampled_from(["", "g", "h", "i"])), max_size=60), percents(), st.randoms())
def test_groups_stay_together_and_sizes_are_off_by_less_than_two_groups(
    drawn: list[tuple[dict[str, int], str]], shares: Percents, shuffler: random.Random
) -> None:
    items = items_of([each for each, _ in drawn], [group for _, group in drawn])
    parts = divided(items, percents=shares, seed=1)

    groups = Counter(item.group for item in items if item.group)
    assert len({(item.group, parts[item.digest]) for item in items if item.group}) == len(groups)
    largest = max(groups.values(), default=1)
    found = Counter(parts.values())
    for part, size in zip(PARTS, sizes(len(items), shares), strict=True):
        assert size - 2 * (largest - 1) <= found[part] <= size + largest - 1
    shuffler.shuffle(items)
    assert divided(items, percents=shares, seed=1) == parts


@given(st.lists(counts, max_size=60), st.randoms())
def test_the_order_of_images_and_labels_does_not_matter(labels: list[dict[str, int]], shuffler: random.Random) -> None:
    items = items_of(labels)
    parts = divided(items, percents=(70, 20, 10), seed=7)
    turned = [Picture(item.digest, {label: item.counts[label] for label in list(item.counts)[::-1]}) for item in items]
    shuffler.shuffle(turned)
    assert divided(turned, percents=(70, 20, 10), seed=7) == parts


def test_the_split_is_the_same_in_every_release_and_on_every_machine() -> None:
    items = items_of([{label: n % 7 + 1 for k, label in enumerate(LABELS) if n % (k + 2) == 0} for n in range(40)])
    parts = divided(items, percents=(70, 20, 10), seed=7)
    assert "".join(parts[item.digest][1] for item in items) == "rrrrrrrrrerrrarraeaaerrrrrrrrraaarrarrre"


def test_another_seed_is_another_split() -> None:
    items = many(100)
    assert divided(items, percents=(80, 10, 10), seed=1) != divided(items, percents=(80, 10, 10), seed=2)


def many(count: int) -> list[Picture]:
    """Images like those of a real project: one label nearly everywhere, one often, one seldom, some images empty."""
    draw = random.Random(count)
    shares = (("common", 0.95), ("frequent", 0.5), ("rare", 0.05))
    return items_of(
        [{label: draw.randint(1, 12) for label, share in shares if draw.random() < share} for _ in range(count)]
    )


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("shares", [(80, 10, 10), (70, 20, 10), (34, 33, 33)])
def test_each_part_has_its_share_of_every_label(seed: int, shares: Percents) -> None:
    items = many(400)
    parts = divided(items, percents=shares, seed=seed)

    for label in ("common", "frequent", "rare"):
        total = sum(item.counts.get(label, 0) for item in items)
        for part, share in zip(PARTS, shares, strict=True):
            found = sum(item.counts.get(label, 0) for item in items if parts[item.digest] == part)
            # The last images of a label fit nowhere exactly; and one image holds up to twelve shapes.
            assert abs(100 * found / total - share) <= 2 + 100 * 12 / total, (label, part)


@given(st.lists(st.sampled_from(LABELS), min_size=12, max_size=80), st.integers(0, 5))
def test_every_label_is_in_training_and_with_three_images_in_validation(names: list[str], seed: int) -> None:
    items = items_of([{name: 1} for name in names])
    parts = divided(items, percents=(50, 40, 10), seed=seed)

    for label, count in Counter(names).items():
        found = {parts[item.digest] for item in items if label in item.counts}
        assert "train" in found
        assert "val" in found or count < 3


@pytest.mark.parametrize(("added", "bound"), [(1, 0.05), (40, 0.08), (400, 0.15)])
def test_few_images_move_when_others_are_added(added: int, bound: float) -> None:
    items = many(800)
    moved = []
    for seed in range(10):
        draw = random.Random(seed)
        fewer = draw.sample(items, len(items) - added)
        before = divided(fewer, percents=(70, 20, 10), seed=seed)
        after = divided(items, percents=(70, 20, 10), seed=seed)
        moved.append(sum(after[digest] != part for digest, part in before.items()) / len(fewer))
    assert sum(moved) / len(moved) <= bound / 2
    assert max(moved) <= bound
