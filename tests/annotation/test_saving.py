"""What becomes of drafts, decided without a database."""

from hypothesis import given
from hypothesis import strategies as st

from bloomery_annotation.model import Asset, Provenance, Shapes, Source, set_etag
from bloomery_annotation.saving import Head, KeepEdits, MatchEtag, Outcome, Overwrite, Saved, SetDraft, plan
from bloomery_kit.times import utc_now

NOW = utc_now()


def asset(uid: str) -> Asset:
    return Asset("p", uid, f"a{uid}", "", "", 0, "", 9, 9, "", {}, NOW, 1, 1)


DRAFTS = st.builds(
    SetDraft,
    asset=st.sampled_from("xyz").map(asset),
    set_id=st.sampled_from(["main", "yolo"]),
    shapes=st.sampled_from([b"1", b"2", b"3"]).map(lambda blob: Shapes(blob, {"rbc": 1})),
    provenance=st.sampled_from(Source).map(lambda source: Provenance(source, "somebody")),
    author=st.just("somebody"),
    guard=st.one_of(
        st.builds(MatchEtag, st.sampled_from([set_etag("x", "main", 7), set_etag("x", "main", 8), ""]), st.booleans()),
        st.builds(KeepEdits),
        st.builds(Overwrite),
    ),
)


@given(st.lists(DRAFTS, max_size=12))
def test_every_save_is_numbered_and_nothing_is_overwritten_unseen(drafts: list[SetDraft]) -> None:
    results = plan(drafts, {}, {"rbc"}, sequence=7, now=NOW)
    newest: dict[tuple[str, str], Head] = {}
    sequence = 7
    for draft, result in zip(drafts, results, strict=True):
        before = newest.get(draft.key)
        if not isinstance(result, Saved):
            assert isinstance(draft.guard, MatchEtag)
            continue
        if isinstance(draft.guard, MatchEtag) and draft.provenance.source is Source.HUMAN:
            assert result.head.provenance.source is Source.HUMAN
        if result.outcome is Outcome.SAVE:
            assert (result.head.sequence, result.head.revision) == (sequence, before.revision + 1 if before else 1)
            if before and isinstance(draft.guard, MatchEtag):
                assert draft.guard.etag == set_etag(*draft.key, before.sequence)
            if before and isinstance(draft.guard, KeepEdits):
                assert before.provenance.source is Source.IMPORT
            newest[draft.key] = result.head
            sequence += 1
        else:
            assert result.head == before


@given(DRAFTS.filter(lambda draft: not isinstance(draft.guard, Overwrite)))
def test_shapes_with_a_label_that_is_gone_are_refused(draft: SetDraft) -> None:
    assert not isinstance(plan([draft], {}, set(), sequence=1, now=NOW)[0], Saved)
