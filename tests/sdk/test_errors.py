"""Every status becomes the error that its callers can act on."""

import pytest
from google.rpc import status_pb2

from bloomery import Client, errors
from bloomery._status import from_status
from bloomery.annotation import v1 as annotation
from bloomery_kit import errors as served
from tests.sdk.fake import Fake


@pytest.mark.parametrize(
    ("raised", "expected"),
    [
        (served.InvalidArgument([served.FieldViolation("name", "is empty")]), errors.InvalidArgument),
        (served.NotFound("project", "projects/p"), errors.NotFound),
        (served.AlreadyExists("project", "projects/p"), errors.AlreadyExists),
        (served.FailedPrecondition("NOT_READY", "wait"), errors.FailedPrecondition),
        (served.EtagMismatch("projects/p", given='"1"', actual='"2"'), errors.Conflict),
        (served.OutOfRange("EVENTS_TRUNCATED", "too old", 5, 9), errors.OutOfRange),
        (served.ResourceExhausted("DISK_LOW", "free space"), errors.ResourceExhausted),
        (served.Unavailable("DATABASE_DOWN", "wait"), errors.Unavailable),
        (served.Unauthenticated(), errors.Unauthenticated),
        (served.PermissionDenied("no"), errors.PermissionDenied),
        (served.Internal("oops"), errors.Internal),
    ],
)
def test_each_error_of_the_server_becomes_its_namesake(
    raised: served.BloomeryError, expected: type[errors.BloomeryError]
) -> None:
    error = from_status(served.to_status(raised))
    assert type(error) is expected
    assert (error.message, error.reason) == (raised.message, raised.reason)
    assert error.details == raised.metadata


def test_all_violations_of_a_request_arrive() -> None:
    raised = served.InvalidArgument([served.FieldViolation("a.b", "is empty"), served.FieldViolation("c", "is 3")])
    error = from_status(served.to_status(raised))
    assert isinstance(error, errors.InvalidArgument)
    assert error.violations == (errors.Violation("a.b", "is empty"), errors.Violation("c", "is 3"))


def test_a_precondition_says_how_to_change_it() -> None:
    violation = served.PreconditionViolation("BLOB_MISSING", "sha256:0", "upload it first")
    error = from_status(served.to_status(served.FailedPrecondition("BLOB_MISSING", "2 blobs are missing", [violation])))
    assert isinstance(error, errors.FailedPrecondition)
    assert error.violations == (errors.Violation("sha256:0", "upload it first"),)
    assert error.hint == "upload it first"


def test_a_server_of_another_version_says_so(fake: Fake, client: Client) -> None:
    # grpc's own word for a method that nobody serves.
    fake.answers["GetProject"] = annotation.Project(name="projects/cells")
    project = client.project("cells")
    fake.unknown = {"GetProject"}
    with pytest.raises(errors.Unsupported) as caught:
        project.refresh()
    assert "bloomery version" in caught.value.hint


@pytest.mark.parametrize(
    "raised",
    [
        served.FailedPrecondition("NOT_READY", "wait for it"),
        served.FailedPrecondition("UNKNOWN_FORMAT", "words of a long message " * 20),
        served.FailedPrecondition("UNKNOWN_FORMAT", "words of a message that is cut " * 50),
        served.EtagMismatch("projects/p", given='"1"', actual='"2"'),
    ],
)
def test_the_hint_does_not_repeat_the_message(raised: served.BloomeryError) -> None:
    assert from_status(served.to_status(raised)).hint == ""


def test_the_servers_retry_delay_arrives_in_seconds() -> None:
    assert from_status(served.to_status(served.Unavailable("X", "wait", retry_after=2.5))).retry_after == 2.5
    assert from_status(served.to_status(served.ResourceExhausted("X", "full"))).retry_after is None


def test_a_code_without_an_error_of_its_own_is_the_base() -> None:
    error = from_status(status_pb2.Status(code=15, message="not here"))
    assert type(error) is errors.BloomeryError
    assert error.reason == "UNKNOWN"


def test_unknown_details_are_ignored() -> None:
    status = served.to_status(served.NotFound("job", "projects/p/jobs/j"))
    status.details.add(type_url="type.googleapis.com/of.the.Future", value=b"\x01")
    assert isinstance(from_status(status), errors.NotFound)


def test_the_tree_of_the_docstring_is_the_tree() -> None:
    assert errors.__doc__ is not None
    for name in set(errors.__all__) - {"Violation"}:
        assert name in errors.__doc__
        assert issubclass(getattr(errors, name), errors.BloomeryError)


def test_what_is_to_be_done_is_said_once() -> None:
    held = [served.PreconditionViolation("STILL_REFERENCED", f"datasets/d{n}", "delete it first") for n in range(2)]
    error = from_status(served.to_status(served.FailedPrecondition("STILL_REFERENCED", "it is needed", held)))
    assert error.hint == "delete it first"


def test_what_is_not_there_names_the_command_that_lists_it() -> None:
    assert "bloomery project list" in from_status(served.to_status(served.NotFound("project", "projects/p"))).hint
    missing = from_status(served.to_status(served.NotFound("model version", "projects/p/models/m/versions/1")))
    assert "bloomery jobs list" in missing.hint


def test_wrong_arguments_are_refused_in_the_words_of_the_blocking_method(fake: Fake, client: Client) -> None:
    fake.answers["GetProject"] = annotation.Project(name="projects/cells")
    with pytest.raises(TypeError, match=r"^Project\.build_dataset\(\) got .* 'kind'"):
        client.project("cells").build_dataset("d", kind="detect")  # type: ignore[call-arg]
