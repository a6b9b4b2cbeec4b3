"""Requests to values; what is wrong with one is told all at once."""

from collections.abc import Mapping
from dataclasses import replace

from bloomery.dataset.v1 import (
    CompareDatasetVersionsRequest,
    CreateDatasetRequest,
    CreateDatasetVersionRequest,
    Dataset,
    DatasetSpec,
    ExportDatasetVersionRequest,
    ListDatasetItemsRequest,
    ListDatasetsRequest,
    ListDatasetVersionsRequest,
    UpdateDatasetRequest,
)
from bloomery.dataset.v1 import (
    ExportFormat as ExportFormatMessage,
)
from bloomery.dataset.v1 import (
    SplitPolicy as SplitPolicyMessage,
)
from bloomery.vision.v1 import TaskType
from bloomery_dataset.catalog import DatasetUpdate, NewDataset, NewVersion
from bloomery_dataset.convert import METHODS, TASKS
from bloomery_dataset.items import Wanted
from bloomery_dataset.model import DROP, LEFT_OUT, Crops, ExportFormat, Method, Spec, SplitPolicy, Task
from bloomery_dataset.names import ASSET, DATASET, PROJECT, VersionName, parse_version
from bloomery_dataset.splits import PARTS
from bloomery_kit.errors import FieldViolation, InvalidArgument, Violations
from bloomery_kit.fields import check_labels, check_request_id, check_text
from bloomery_kit.masks import apply_mask
from bloomery_kit.names import validate_id

UPDATABLE = frozenset({"display_name", "labels"})
_SPEC = "dataset_version.spec"
_DEFAULT_PERCENTS = (80, 10, 10)
_CLASS_NAME_LENGTH = 200
_MAPPED = 10_000
_MOST_MARGIN = 10
_LEAST_SIDE, _MOST_SIDE = 10, 10_000
_EXPORTS = {
    ExportFormatMessage.EXPORT_FORMAT_YOLO: ExportFormat.YOLO,
    ExportFormatMessage.EXPORT_FORMAT_COCO: ExportFormat.COCO,
    ExportFormatMessage.EXPORT_FORMAT_IMAGEFOLDER: ExportFormat.IMAGEFOLDER,
}


def new_dataset(request: CreateDatasetRequest) -> NewDataset:
    """The dataset to create. Raises InvalidArgument."""
    violations = Violations()
    parent = PROJECT.check(request.parent, "parent", violations)
    validate_id(request.dataset_id, "dataset_id", violations)
    fields = request.dataset
    _check_dataset(fields, violations)
    check_request_id(request.request_id, violations)
    violations.raise_if_any()
    assert parent is not None
    return NewDataset(parent["project"], request.dataset_id, fields.display_name, dict(fields.labels))


def dataset_update(request: UpdateDatasetRequest) -> DatasetUpdate:
    """The fields to change. Raises InvalidArgument."""
    violations, fields = Violations(), request.dataset
    ids = DATASET.check(fields.name, "dataset.name", violations)
    _check_dataset(fields, violations)
    violations.raise_if_any()
    assert ids is not None
    paths = apply_mask(request.update_mask, fields, UPDATABLE)
    known = {"display_name": fields.display_name or ids["dataset"], "labels": dict(fields.labels)}
    return DatasetUpdate(ids["project"], ids["dataset"], fields.etag, {path: known[path] for path in paths})


def new_version(request: CreateDatasetVersionRequest) -> NewVersion:
    """The version to build, with defaults filled in. Raises InvalidArgument."""
    violations = Violations()
    parent = DATASET.check(request.parent, "parent", violations)
    spec = request.dataset_version.spec
    source = _source(spec, parent, violations)
    task = _task(spec, violations)
    crops = _crops(spec, task, violations)
    policy = _split_of_version(spec.split, violations) if source else _policy(spec.split, violations)
    _check_classes(spec, violations)
    check_request_id(request.request_id, violations)
    violations.raise_if_any()
    assert parent is not None
    # A version without a mapping is the same version either way, to be found again.
    taken = spec.include_empty, spec.include_unannotated, spec.keep_unmapped and bool(spec.class_mapping)
    made = Spec(parent["project"], task, policy, dict(spec.class_mapping), *taken, crops)
    return NewVersion(parent["project"], parent["dataset"], made, request.allow_missing_dataset, source)


def dataset_filter(request: ListDatasetsRequest) -> str | None:
    """The id that the datasets must have. Raises InvalidArgument."""
    key, _, value = request.filter.partition(":")
    # PostgreSQL takes no NUL.
    if request.filter and (key != "id" or not value or "\0" in value):
        raise InvalidArgument([FieldViolation("filter", "must be empty or id:ID")])
    return value or None


def asset_filter(request: ListDatasetVersionsRequest) -> str | None:
    """The image that versions are to hold, None for any. Raises InvalidArgument."""
    if not request.filter:
        return None
    key, _, asset = request.filter.partition(":")
    if key != "asset" or not ASSET.matches(asset):
        raise InvalidArgument([FieldViolation("filter", f"must be empty or asset:{ASSET.template}")])
    return asset


def compared(request: CompareDatasetVersionsRequest) -> tuple[VersionName, VersionName]:
    """The two versions to compare. Raises InvalidArgument."""
    name, other = parse_version(request.name), parse_version(request.other, "other")
    if name.project != other.project:
        raise InvalidArgument([FieldViolation("other", f"must be of projects/{name.project}")])
    return name, other


def items_wanted(request: ListDatasetItemsRequest) -> Wanted:
    """Which images to list, and what of them. Raises InvalidArgument."""
    key, _, value = request.filter.partition(":")
    wanted = Wanted(shapes=not request.without_shapes, contents=request.inline_contents)
    if key == "split" and value in PARTS:
        return replace(wanted, split=value)
    if key == "class" and value:
        return replace(wanted, label=value)
    if request.filter:
        problem = f"must be empty, split:NAME with one of {', '.join(PARTS)}, or class:NAME"
        raise InvalidArgument([FieldViolation("filter", problem)])
    return wanted


def export_format(request: ExportDatasetVersionRequest) -> ExportFormat:
    """The format to export. Raises InvalidArgument."""
    if request.format not in _EXPORTS:
        known = ", ".join(ExportFormatMessage.Name(one) for one in _EXPORTS)
        raise InvalidArgument([FieldViolation("format", f"must be one of {known}")])
    return _EXPORTS[request.format]


def check_holder(holder: str, title: str = "") -> None:
    """Refuse a holder that nobody could find again. Raises InvalidArgument."""
    violations = Violations()
    if not holder:
        violations.add("holder", "is required: the resource name of what needs the version")
    check_text(holder, "holder", violations)
    check_text(title, "title", violations)
    violations.raise_if_any()


def _check_dataset(fields: Dataset, violations: Violations) -> None:
    check_text(fields.display_name, "dataset.display_name", violations)
    check_labels(fields.labels, "dataset.labels", violations)


def _task(spec: DatasetSpec, violations: Violations) -> Task:
    task = TASKS.get(spec.task)
    if task is None:
        names = ", ".join(TaskType.Name(known) for known in TASKS)
        violations.add(f"{_SPEC}.task", f"is required; one of {names}")
        return Task.DETECT
    for field in ("include_empty", "include_unannotated"):
        if task is Task.CLASSIFY and getattr(spec, field):
            violations.add(f"{_SPEC}.{field}", "an image without a tag has no class; leave it off for CLASSIFY")
    return task


def _source(spec: DatasetSpec, parent: Mapping[str, str] | None, violations: Violations) -> VersionName | None:
    """The version to cut images out of; None where they are the project's."""
    field, project = f"{_SPEC}.source", parent["project"] if parent else None
    if spec.HasField("crops") and "/datasets/" in spec.source:
        try:
            name = parse_version(spec.source, field)
        except InvalidArgument as error:
            for found in error.violations:
                violations.add(found.field, found.description)
            return None
        if project and name.project != project:
            violations.add(field, f"must be a version of the project of the dataset, projects/{project}")
        return name
    if project and spec.source not in ("", f"projects/{project}"):
        more = "" if spec.HasField("crops") else "; a version only with `crops`"
        violations.add(field, f"must be the project of the dataset, projects/{project}, or empty{more}")
    return None


def _crops(spec: DatasetSpec, task: Task, violations: Violations) -> Crops | None:
    if not spec.HasField("crops"):
        return None
    given = spec.crops
    if task is not Task.CLASSIFY:
        violations.add(f"{_SPEC}.crops", "are images to classify: set `task` to TASK_TYPE_CLASSIFY, or leave them out")
    if not 0 <= given.margin <= _MOST_MARGIN:
        violations.add(f"{_SPEC}.crops.margin", f"must be between 0 and {_MOST_MARGIN}")
    if not 0 <= given.smallest_side <= _MOST_SIDE:
        violations.add(f"{_SPEC}.crops.smallest_side", f"must be between 0 and {_MOST_SIDE}")
    return Crops(given.margin, given.smallest_side or _LEAST_SIDE, given.square)


def _split_of_version(split: SplitPolicyMessage, violations: Violations) -> SplitPolicy:
    kept = SplitPolicyMessage(method=SplitPolicyMessage.METHOD_OFFICIAL)
    if split not in (SplitPolicyMessage(), kept):
        violations.add(f"{_SPEC}.split", "crops of a version are in its split: leave it out")
    return SplitPolicy(Method.OFFICIAL, unassigned="")


def _policy(split: SplitPolicyMessage, violations: Violations) -> SplitPolicy:
    field = f"{_SPEC}.split"
    check_text(split.group_by, f"{field}.group_by", violations)
    if split.unassigned and split.method != SplitPolicyMessage.METHOD_OFFICIAL:
        violations.add(f"{field}.unassigned", "is for METHOD_OFFICIAL: a ratio has a part for every image")
    percents = (split.train_percent, split.val_percent, split.test_percent)
    if split.method == SplitPolicyMessage.METHOD_UNSPECIFIED and not any(percents):
        return SplitPolicy(Method.RATIO, *_DEFAULT_PERCENTS, seed=split.seed, group_by=split.group_by)
    # A method that is not set but has shares can only mean a ratio.
    method = METHODS.get(split.method or SplitPolicyMessage.METHOD_RATIO)
    if method is None:
        violations.add(f"{field}.method", "must be METHOD_RATIO or METHOD_OFFICIAL")
    if method is Method.OFFICIAL:
        if any(percents) or split.seed or split.group_by:
            violations.add(field, "METHOD_OFFICIAL takes no percentages, seed or group_by")
        return _official(split, violations)
    _check_percents(split, violations)
    return SplitPolicy(Method.RATIO, *percents, seed=split.seed, group_by=split.group_by)


def _official(split: SplitPolicyMessage, violations: Violations) -> SplitPolicy:
    # Clients of before say the word that is stored.
    unassigned = LEFT_OUT if split.unassigned == DROP else split.unassigned
    if unassigned not in ("", *PARTS, LEFT_OUT):
        known = ", ".join((*PARTS, DROP))
        violations.add(f"{_SPEC}.split.unassigned", f"must be one of {known}, or empty where all have a split")
    return SplitPolicy(Method.OFFICIAL, unassigned=unassigned)


def _check_percents(split: SplitPolicyMessage, violations: Violations) -> None:
    field = f"{_SPEC}.split"
    for name in ("train_percent", "val_percent", "test_percent"):
        if not 0 <= getattr(split, name) <= 100:
            violations.add(f"{field}.{name}", "must be between 0 and 100")
    total = split.train_percent + split.val_percent + split.test_percent
    if total != 100:
        violations.add(field, f"train_percent, val_percent and test_percent sum to {total}; they must sum to 100")


def _check_classes(spec: DatasetSpec, violations: Violations) -> None:
    if len(spec.class_mapping) > _MAPPED:
        violations.add(f"{_SPEC}.class_mapping", f"must have at most {_MAPPED} entries")
        return
    for label, name in sorted(spec.class_mapping.items()):
        field = f"{_SPEC}.class_mapping[{label!r}]"
        if name != name.strip() or not (name.isprintable() or not name):
            violations.add(field, "must not start or end with a space, nor hold control characters")
        if len(name) > _CLASS_NAME_LENGTH:
            violations.add(field, f"must have at most {_CLASS_NAME_LENGTH} characters")
