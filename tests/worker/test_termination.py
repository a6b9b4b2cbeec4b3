"""A worker's last words reach the launcher whatever they are."""

import json
from pathlib import Path
from tempfile import TemporaryDirectory

from hypothesis import example, given
from hypothesis import strategies as st

from bloomery_worker.failures import Failure
from bloomery_worker.termination import LARGEST, ExitCode, LastWords, write_last_words

words = st.builds(
    LastWords,
    exit_code=st.sampled_from(ExitCode),
    finished=st.booleans(),
    reason=st.none() | st.builds(Failure, code=st.text(), message=st.text(), hint=st.text(), retriable=st.booleans()),
    epoch=st.integers(0, 1 << 31),
)


@given(words)
@example(LastWords(ExitCode.USER_ERROR, finished=False, reason=Failure("C" * 9000, "m" * 9000, "h" * 9000)))
@example(LastWords(ExitCode.USER_ERROR, finished=False, reason=Failure("DATA_ERROR", "\U0001f9ea" * 4000, "\n" * 4000)))
def test_last_words_fit_whatever_they_are(said: LastWords) -> None:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "termination.json"
        write_last_words(path, said)
        assert path.stat().st_size <= LARGEST
        found = json.loads(path.read_text())
    assert (found["exit_code"], found["finished"], found["epoch"]) == (said.exit_code, said.finished, said.epoch)
    if said.reason is None:
        assert found["reason"] is None
    else:
        assert found["reason"]["retriable"] == said.reason.retriable
        for part in ("code", "message", "hint"):
            whole = getattr(said.reason, part)
            assert whole.startswith(found["reason"][part])
            assert len(found["reason"][part]) >= min(len(whole), 100)
