"""The servicers: convert, call, convert."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from google.protobuf.empty_pb2 import Empty

from bloomery.inference.v1 import (
    CompareEvaluationsRequest,
    DeleteModelAliasRequest,
    DeleteModelRequest,
    DeleteModelVariantRequest,
    DeleteModelVersionRequest,
    EvaluationComparison,
    FindModelVersionRequest,
    GetModelAliasRequest,
    GetModelCardRequest,
    GetModelFormsRequest,
    GetModelFormsResponse,
    GetModelRequest,
    GetModelVariantRequest,
    GetModelVersionRequest,
    ListModelAliasChangesRequest,
    ListModelAliasChangesResponse,
    ListModelAliasesRequest,
    ListModelAliasesResponse,
    ListModelsRequest,
    ListModelsResponse,
    ListModelVariantsRequest,
    ListModelVariantsResponse,
    ListModelVersionsRequest,
    ListModelVersionsResponse,
    Model,
    ModelAlias,
    ModelCard,
    ModelDeletion,
    ModelServiceServicer,
    ModelVariant,
    ModelVersion,
    OptimizeModelVersionRequest,
    PreviewModelDeletionRequest,
    SetModelAliasRequest,
    SignedModelArtifact,
    SignModelArtifactsRequest,
    SignModelArtifactsResponse,
    UpdateModelRequest,
    UpdateModelVersionRequest,
)
from bloomery_inference import convert
from bloomery_inference.aliases import Aliases
from bloomery_inference.cards import Cards
from bloomery_inference.comparing import Comparing
from bloomery_inference.convert_aliases import alias_message, change_message, move_of
from bloomery_inference.convert_versions import deletion_message
from bloomery_inference.model import Artifact, VariantState
from bloomery_inference.names import JOB, MODEL, PROJECT, VERSION, parse_parent, parse_selector
from bloomery_inference.optimizing import Optimizer
from bloomery_inference.registry import Registry
from bloomery_inference.versions import Versions
from bloomery_inference.wishes import form_message, wish_of
from bloomery_kit.errors import FieldViolation, InvalidArgument
from bloomery_kit.idempotency import Repeatable
from bloomery_kit.masks import apply_mask
from bloomery_kit.objects import ObjectStore, SignedRequest
from bloomery_kit.pages import PageRequest
from bloomery_kit.signed import signed_message
from bloomery_kit.times import Clock, utc_now
from bloomery_vision.forms import FORMS

if TYPE_CHECKING:
    import grpc

    Context = grpc.aio.ServicerContext[Any, Any]

UPDATABLE = frozenset({"display_name", "labels"})
VERSION_UPDATABLE = frozenset({"note", "state"})
DOWNLOAD_LIFETIME = timedelta(hours=1)


class ModelServicer(ModelServiceServicer):
    """The registry over gRPC."""

    def __init__(
        self,
        registry: Registry,
        optimizer: Optimizer,
        versions: Versions,
        aliases: Aliases,
        cards: Cards,
        comparing: Comparing,
        objects: ObjectStore,
        *,
        clock: Clock = utc_now,
    ) -> None:
        self._registry = registry
        self._optimizer = optimizer
        self._versions = versions
        self._aliases = aliases
        self._cards = cards
        self._comparing = comparing
        self._objects = objects
        self._clock = clock

    async def GetModel(self, request: GetModelRequest, context: Context) -> Model:
        """See the contract."""
        return convert.model_message(await self._registry.get_model(request.name))

    async def ListModels(self, request: ListModelsRequest, context: Context) -> ListModelsResponse:
        """See the contract."""
        page = PageRequest.parse(request.page_size, request.page_token, request)
        project = parse_parent(request.parent, PROJECT)["project"]
        models, token, total = await self._registry.list_models(
            page, project=project, model_id=_id_filter(request.filter)
        )
        return ListModelsResponse(models=map(convert.model_message, models), next_page_token=token, total_size=total)

    async def UpdateModel(self, request: UpdateModelRequest, context: Context) -> Model:
        """See the contract."""
        values = convert.changes(request.model, apply_mask(request.update_mask, request.model, UPDATABLE))
        return convert.model_message(await self._registry.update_model(request.model.name, request.model.etag, values))

    async def DeleteModel(self, request: DeleteModelRequest, context: Context) -> Empty:
        """See the contract."""
        await self._registry.delete_model(request.name)
        return Empty()

    async def GetModelVersion(self, request: GetModelVersionRequest, context: Context) -> ModelVersion:
        """See the contract."""
        return convert.version_message(await self._registry.describe_version(request.name))

    async def ListModelVersions(self, request: ListModelVersionsRequest, context: Context) -> ListModelVersionsResponse:
        """See the contract."""
        page = PageRequest.parse(request.page_size, request.page_token, request)
        ids = parse_parent(request.parent, MODEL)
        versions, token = await self._registry.list_versions(
            page,
            project=ids["project"],
            model_id=ids["model"],
            inactive=request.show_inactive,
            origin=convert.origin_filter(request.filter),
        )
        return ListModelVersionsResponse(model_versions=map(convert.version_message, versions), next_page_token=token)

    async def UpdateModelVersion(self, request: UpdateModelVersionRequest, context: Context) -> ModelVersion:
        """See the contract."""
        message = request.model_version
        values = convert.version_changes(message, apply_mask(request.update_mask, message, VERSION_UPDATABLE))
        return convert.version_message(await self._versions.update(message.name, message.etag, values))

    async def DeleteModelVersion(self, request: DeleteModelVersionRequest, context: Context) -> Empty:
        """See the contract."""
        await self._registry.delete_version(request.name)
        return Empty()

    async def PreviewModelDeletion(self, request: PreviewModelDeletionRequest, context: Context) -> ModelDeletion:
        """See the contract."""
        return deletion_message(await self._versions.preview_deletion(request.name))

    async def GetModelCard(self, request: GetModelCardRequest, context: Context) -> ModelCard:
        """See the contract."""
        return await self._cards.get(request.name)

    async def FindModelVersion(self, request: FindModelVersionRequest, context: Context) -> ModelVersion:
        """See the contract."""
        JOB.parse(request.job, "job")
        convert.check_texts(job_uid=request.job_uid)
        return convert.version_message(await self._registry.find_version(request.job, request.job_uid))

    async def CompareEvaluations(self, request: CompareEvaluationsRequest, context: Context) -> EvaluationComparison:
        """See the contract."""
        return await self._comparing.compare(request.job, request.other)

    async def OptimizeModelVersion(self, request: OptimizeModelVersionRequest, context: Context) -> ModelVariant:
        """See the contract."""
        selector = parse_selector(request.name)
        model = MODEL.format(project=selector.project, model=selector.model)
        repeatable: Repeatable[ModelVariant] = Repeatable("OptimizeModelVersion", model, request)
        return await self._optimizer.optimize(
            request.name, wish_of(request), repeatable=repeatable, answer=convert.variant_message
        )

    async def GetModelForms(self, request: GetModelFormsRequest, context: Context) -> GetModelFormsResponse:
        """See the contract."""
        return GetModelFormsResponse(model_forms=map(form_message, FORMS.values()))

    async def GetModelVariant(self, request: GetModelVariantRequest, context: Context) -> ModelVariant:
        """See the contract."""
        return convert.variant_message(await self._registry.get_variant(request.name))

    async def ListModelVariants(self, request: ListModelVariantsRequest, context: Context) -> ListModelVariantsResponse:
        """See the contract."""
        page = PageRequest.parse(request.page_size, request.page_token, request)
        VERSION.parse(request.parent, "parent")
        version = await self._registry.get_version(request.parent, "parent")
        after = str(page.cursor[0]) if page.cursor else ""
        left = [variant for variant in version.variants if variant.id > after]
        token = page.next_token((left[page.size - 1].id,)) if len(left) > page.size else ""
        shown = map(convert.variant_message, left[: page.size])
        return ListModelVariantsResponse(model_variants=shown, next_page_token=token)

    async def DeleteModelVariant(self, request: DeleteModelVariantRequest, context: Context) -> Empty:
        """See the contract."""
        await self._registry.delete_variant(request.name)
        return Empty()

    async def SetModelAlias(self, request: SetModelAliasRequest, context: Context) -> ModelAlias:
        """See the contract."""
        model = request.name.partition("/aliases/")[0]
        return await self._aliases.move(move_of(request), Repeatable("SetModelAlias", model, request), alias_message)

    async def GetModelAlias(self, request: GetModelAliasRequest, context: Context) -> ModelAlias:
        """See the contract."""
        return alias_message(await self._aliases.get(request.name))

    async def ListModelAliases(self, request: ListModelAliasesRequest, context: Context) -> ListModelAliasesResponse:
        """See the contract."""
        page = PageRequest.parse(request.page_size, request.page_token, request)
        aliases, token = await self._aliases.page(page, request.parent)
        return ListModelAliasesResponse(model_aliases=map(alias_message, aliases), next_page_token=token)

    async def DeleteModelAlias(self, request: DeleteModelAliasRequest, context: Context) -> Empty:
        """See the contract."""
        expected = request.expected_version if request.HasField("expected_version") else None
        await self._aliases.remove(request.name, expected=expected, reason=request.reason)
        return Empty()

    async def ListModelAliasChanges(
        self, request: ListModelAliasChangesRequest, context: Context
    ) -> ListModelAliasChangesResponse:
        """See the contract."""
        page = PageRequest.parse(request.page_size, request.page_token, request)
        changes, token = await self._aliases.changes(page, request.parent)
        return ListModelAliasChangesResponse(model_alias_changes=map(change_message, changes), next_page_token=token)

    async def SignModelArtifacts(
        self, request: SignModelArtifactsRequest, context: Context
    ) -> SignModelArtifactsResponse:
        """See the contract."""
        version = await self._registry.get_version(request.name)
        files = [("", artifact) for artifact in version.content.artifacts]
        for variant in version.variants:
            if variant.state is VariantState.READY:
                files += [(variant.id, artifact) for artifact in variant.result.artifacts]
        return SignModelArtifactsResponse(artifacts=[await self._signed(*file) for file in files])

    async def _signed(self, variant: str, artifact: Artifact) -> SignedModelArtifact:
        url = await self._objects.sign_get(
            artifact.logical_key, expires=DOWNLOAD_LIFETIME, filename=artifact.file_name.rpartition("/")[2]
        )
        return SignedModelArtifact(
            artifact=convert.artifact_message(artifact),
            variant=variant,
            get=signed_message(SignedRequest(url, self._clock() + DOWNLOAD_LIFETIME)),
        )


def _id_filter(text: str) -> str | None:
    if not text:
        return None
    convert.check_texts(filter=text)
    key, _, value = text.partition(":")
    if key != "id" or not value:
        raise InvalidArgument([FieldViolation("filter", f"must be empty or id:ID, not {text!r}")])
    return value
