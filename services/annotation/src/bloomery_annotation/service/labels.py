"""Labels."""

from google.protobuf.empty_pb2 import Empty

from bloomery.annotation.v1 import (
    CreateLabelRequest,
    DeleteLabelRequest,
    GetLabelRequest,
    ListLabelsRequest,
    ListLabelsResponse,
    UpdateLabelRequest,
)
from bloomery.annotation.v1 import Label as LabelMessage
from bloomery_annotation import checks, convert, labelling
from bloomery_annotation.checks import MAX_NAME
from bloomery_annotation.names import LABEL, PROJECT
from bloomery_annotation.service.base import Methods, number_cursor
from bloomery_annotation.store import labels
from bloomery_kit.context import current_principal
from bloomery_kit.errors import FailedPrecondition, Violations
from bloomery_kit.etags import check_etag
from bloomery_kit.fields import check_text
from bloomery_kit.idempotency import Repeatable
from bloomery_kit.masks import apply_mask
from bloomery_kit.names import validate_id
from bloomery_kit.pages import PageRequest


class LabelMethods(Methods):
    """The rpcs of labels."""

    async def CreateLabel(self, request: CreateLabelRequest, _context: object) -> LabelMessage:
        """See the contract."""
        repeatable: Repeatable[LabelMessage] = Repeatable(
            "CreateLabel", request.parent, request, clock=self._parts.clock
        )
        if answer := await repeatable.first_answer(self._parts.db):
            return answer
        project_id = _check_create(request)
        given = request.label
        wanted = labelling.NewLabel(request.label_id, given.display_name, given.color, given.supercategory)
        async with self._write(project_id) as (tx, project):

            async def make() -> LabelMessage:
                return convert.label(await labelling.create(tx, project, wanted, self._parts.clock()))

            return await repeatable.once(tx, make)

    async def GetLabel(self, request: GetLabelRequest, _context: object) -> LabelMessage:
        """See the contract."""
        ids = LABEL.parse(request.name)
        async with self._read(PROJECT.format(project=ids["project"])) as (tx, project):
            return convert.label(await labels.find(tx, project, ids["label"]))

    async def ListLabels(self, request: ListLabelsRequest, _context: object) -> ListLabelsResponse:
        """See the contract."""
        page = PageRequest.parse(request.page_size, request.page_token, request)
        async with self._read(request.parent) as (tx, project):
            found = await labels.page(tx, project, number_cursor(page) or 0, page.size + 1)
            total = await labels.count(tx, project)
        shown = found[: page.size]
        token = page.next_token((shown[-1].position,)) if len(found) > page.size else ""
        return ListLabelsResponse(labels=map(convert.label, shown), next_page_token=token, total_size=total)

    async def UpdateLabel(self, request: UpdateLabelRequest, _context: object) -> LabelMessage:
        """See the contract."""
        violations = Violations()
        ids = LABEL.check(request.label.name, "label.name", violations)
        _check(request.label, violations)
        violations.raise_if_any()
        assert ids is not None
        paths = apply_mask(request.update_mask, request.label, {"display_name", "color", "supercategory"})
        async with self._write(ids["project"]) as (tx, project):
            label = await labels.find(tx, project, ids["label"])
            if label.deleted_by:
                raise FailedPrecondition("LABEL_DELETING", f"{label.name} is being deleted with its shapes")
            check_etag(request.label.etag, label.etag, label.name)
            values = {path: getattr(request.label, path) for path in paths}
            if values:
                values = labelling.defaults(label, values)
                label = await labels.change(tx, project, label, values, self._parts.clock())
        return convert.label(label)

    async def DeleteLabel(self, request: DeleteLabelRequest, _context: object) -> Empty:
        """See the contract."""
        ids = LABEL.parse(request.name)
        if request.force:
            author = current_principal().subject
            await labelling.delete_with_shapes(self._parts.db, ids["project"], ids["label"], author, self._parts.clock)
            return Empty()
        async with self._write(ids["project"]) as (tx, project):
            await labelling.delete(tx, project, await labels.find(tx, project, ids["label"]))
        return Empty()


def _check_create(request: CreateLabelRequest) -> str:
    violations = Violations()
    ids = PROJECT.check(request.parent, "parent", violations)
    if request.label_id:
        validate_id(request.label_id, "label_id", violations)
    elif not request.label.display_name.strip():
        violations.add("label_id", "is required where there is no display name to make it from")
    _check(request.label, violations)
    violations.raise_if_any()
    assert ids is not None
    return ids["project"]


def _check(message: LabelMessage, violations: Violations) -> None:
    check_text(message.display_name, "label.display_name", violations, length=MAX_NAME)
    check_text(message.supercategory, "label.supercategory", violations, length=MAX_NAME)
    checks.color(message.color, "label.color", violations)
