"""What every contract keeps and buf cannot check: roles, pages, request ids, cursors and routes."""

import re
from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest
from google.api.annotations_pb2 import http
from google.api.http_pb2 import HttpRule
from google.protobuf.descriptor_pb2 import DescriptorProto, FieldDescriptorProto, MethodDescriptorProto, MethodOptions

from bloomery.common.v1 import ROLE_SERVICE, ROLE_UNSPECIFIED, ROLE_WORKER, cursor, required_role, resource
from protoc import protoc_descriptors

if TYPE_CHECKING:
    from google.protobuf.internal.extension_dict import _ExtensionFieldDescriptor

# Google's stubs give an extension the type of its descriptor.
HTTP: "_ExtensionFieldDescriptor[MethodOptions, HttpRule]" = http  # type: ignore[assignment]

FILES = [file for file in protoc_descriptors().file if file.package.startswith("bloomery.")]
MESSAGES = {f".{file.package}.{message.name}": message for file in FILES for message in file.message_type}
METHODS = {
    f"{file.package}.{service.name}/{method.name}": method
    for file in FILES
    for service in file.service
    for method in service.method
}
PEOPLES_METHODS = {
    name: method
    for name, method in METHODS.items()
    if method.options.Extensions[required_role] not in (ROLE_WORKER, ROLE_SERVICE)
}
# What people change, by what: each of these calls is in the audit log, and no other.
CHANGING = {
    "bloomery.access.v1.AccessService": ["IssueToken", "RemoveMember", "RevokeToken", "SetMember"],
    "bloomery.access.v1.QuotaService": {"UpdateQuota"},
    "bloomery.annotation.v1.AnnotationService": {
        *("CreateProject", "UpdateProject", "DeleteProject", "CreateLabel", "UpdateLabel", "DeleteLabel"),
        *("UploadBlobs", "PrepareUploads", "CompleteUploads", "BatchCreateAssets", "UpdateAsset", "DeleteAsset"),
        *("UpdateAnnotationSet", "BatchUpdateAnnotationSets", "SaveSuggestions", "ReviewSuggestions"),
        *("DeleteSuggestions", "CreateImport", "CancelImport"),
    },
    "bloomery.dataset.v1.DatasetService": {
        *("CreateDataset", "UpdateDataset", "DeleteDataset", "CreateDatasetVersion", "DeleteDatasetVersion"),
        "ExportDatasetVersion",
    },
    "bloomery.inference.v1.DeploymentService": {
        *("CreateDeployment", "UpdateDeployment", "PauseDeployment", "ResumeDeployment", "RollBackDeployment"),
        "DeleteDeployment",
    },
    "bloomery.inference.v1.ModelService": {
        *("UpdateModel", "DeleteModel", "UpdateModelVersion", "DeleteModelVersion", "OptimizeModelVersion"),
        *("DeleteModelVariant", "SetModelAlias", "DeleteModelAlias"),
    },
    "bloomery.training.v1.JobService": {
        *("PrepareInputUpload", "CompleteInputUpload", "CreateJob", "UpdateJob", "DeleteJob", "CancelJob", "PauseJob"),
        *("ResumeJob", "CancelJobGroup"),
    },
}
# What these concern is no single project's.
OF_NO_PROJECT = {
    *("CreateProject", "GetModelForms", "GetRecipe", "ListProjects", "ListRecipes"),
    *("IssueToken", "ListTokens", "RevokeToken", "WhoAmI"),
    # It needs the role in the installation, as a project could raise its own limits otherwise.
    "UpdateQuota",
}


def methods(prefix: str) -> list[str]:
    """Return the methods whose own name starts with `prefix`."""
    return [name for name, method in METHODS.items() if method.name.startswith(prefix)]


def reads(method: MethodDescriptorProto) -> bool:
    """Tell whether a method says that it changes nothing."""
    return method.options.idempotency_level == MethodOptions.NO_SIDE_EFFECTS


def fields(message: str) -> dict[str, FieldDescriptorProto]:
    """Return the fields of one of our messages; a foreign one, such as Empty, has none."""
    return {field.name: field for field in MESSAGES.get(message, DescriptorProto()).field}


def has_path(message: str, path: str) -> bool:
    """Tell whether a dotted path names a field of a message or of the messages inside it."""
    head, _, rest = path.partition(".")
    field = fields(message).get(head)
    return field is not None and (not rest or has_path(field.type_name, rest))


def bindings(method: MethodDescriptorProto) -> Iterator[HttpRule]:
    """Yield the HTTP rules of a method."""
    if method.options.HasExtension(HTTP):
        rule = method.options.Extensions[HTTP]
        yield rule
        yield from rule.additional_bindings


def route(rule: HttpRule) -> tuple[str, str]:
    """Return verb and path of a rule, without the names of the path's variables."""
    verb = rule.WhichOneof("pattern")
    assert verb is not None
    return verb, re.sub(r"\{[^=}]+=([^}]+)\}", r"\1", path_of(rule))


def path_of(rule: HttpRule) -> str:
    """Return the path of a rule as it is written."""
    verb = rule.WhichOneof("pattern")
    return "" if verb is None else str(getattr(rule, verb))


def test_the_contracts_are_here() -> None:
    assert {file.package for file in FILES if file.service} >= {
        "bloomery.access.v1",
        "bloomery.annotation.v1",
        "bloomery.dataset.v1",
        "bloomery.inference.v1",
        "bloomery.training.v1",
    }


@pytest.mark.parametrize("name", METHODS)
def test_a_method_says_which_role_it_needs(name: str) -> None:
    assert METHODS[name].options.Extensions[required_role] != ROLE_UNSPECIFIED


@pytest.mark.parametrize("name", PEOPLES_METHODS)
def test_a_method_names_the_field_with_its_resource(name: str) -> None:
    method = PEOPLES_METHODS[name]
    paths = method.options.Extensions[resource].split("|")
    assert {has_path(method.input_type, path) for path in paths} == {method.name not in OF_NO_PROJECT}


def test_a_method_for_people_that_changes_nothing_says_so() -> None:
    changing = {name for name, method in PEOPLES_METHODS.items() if not reads(method)}
    assert changing == {f"{service}/{name}" for service, names in CHANGING.items() for name in names}


@pytest.mark.parametrize("name", [name for name, method in PEOPLES_METHODS.items() if not reads(method)])
def test_what_changes_something_is_asked_in_one_message_and_answered_in_one(name: str) -> None:
    # The audit log tells what was asked, and what came of it.
    assert not METHODS[name].client_streaming
    assert not METHODS[name].server_streaming


@pytest.mark.parametrize("message", sorted({method.input_type for method in PEOPLES_METHODS.values()}))
def test_what_is_secret_in_a_request_is_marked(message: str) -> None:
    for field in fields(message).values():
        named = re.search(r"secret|password|credential|(?<!page_)(?<!next_page_)token", field.name)
        assert bool(named) is field.options.debug_redact, field.name


@pytest.mark.parametrize("name", methods("List"))
def test_a_list_pages(name: str) -> None:
    request, response = fields(METHODS[name].input_type), fields(METHODS[name].output_type)
    assert {"page_size", "page_token"} <= request.keys()
    assert "next_page_token" in response
    (first,) = (field for field in response.values() if field.number == 1)
    assert first.label == FieldDescriptorProto.LABEL_REPEATED


@pytest.mark.parametrize("name", methods("Create"))
def test_a_create_can_be_repeated_with_its_request_id(name: str) -> None:
    assert "request_id" in fields(METHODS[name].input_type)


@pytest.mark.parametrize("name", [name for name, method in METHODS.items() if method.options.HasExtension(cursor)])
def test_a_cursor_names_fields_that_exist(name: str) -> None:
    method = METHODS[name]
    named = method.options.Extensions[cursor]
    assert method.server_streaming
    assert named.request_field in fields(method.input_type)
    assert named.message_field in fields(method.output_type)


@pytest.mark.parametrize("name", [name for name, method in METHODS.items() if method.server_streaming])
def test_a_stream_can_be_resumed(name: str) -> None:
    assert METHODS[name].options.HasExtension(cursor)


@pytest.mark.parametrize("name", PEOPLES_METHODS)
def test_a_method_for_people_has_a_route(name: str) -> None:
    method = PEOPLES_METHODS[name]
    both_ways = method.client_streaming and method.server_streaming
    assert bool(list(bindings(method))) is not both_ways


@pytest.mark.parametrize("name", [name for name in METHODS if name not in PEOPLES_METHODS])
def test_a_method_for_services_and_workers_has_no_route(name: str) -> None:
    assert not list(bindings(METHODS[name]))


@pytest.mark.parametrize("name", METHODS)
def test_a_route_names_fields_that_exist(name: str) -> None:
    method = METHODS[name]
    for rule in bindings(method):
        for variable in re.findall(r"\{([^=}]+)[=}]", path_of(rule)):
            assert has_path(method.input_type, variable)
        assert rule.body in {"", "*", *fields(method.input_type)}


def test_no_two_methods_share_a_route() -> None:
    routes = Counter(route(rule) for method in METHODS.values() for rule in bindings(method))
    assert [route for route, count in routes.items() if count > 1] == []
