"""Between protobuf and predictions."""

from bloomery.inference.v1 import MaskForm, PredictRequest, PredictResponse, StageTimings
from bloomery_inference.convert import variant_name, version_name
from bloomery_inference.looking import region_of, tiling_of
from bloomery_inference.names import DEPLOYMENT, parse_selector
from bloomery_inference.question import Options, Prediction
from bloomery_kit.errors import Violations
from bloomery_vision.messages import found_message


def predict_options(request: PredictRequest, *, images: bool = True) -> Options:
    """What a prediction asks for; with `images` it names one. Raise InvalidArgument with every violation."""
    violations = Violations()
    named = sum(map(bool, (request.image, request.asset, request.blob)))
    if images and named > 1:
        violations.add("image", "set exactly one of image, asset and blob")
    if images and not named:
        text = "the image has no bytes; send the content of an image file, or name an asset or a blob of the project"
        violations.add("image", text)
    if not images and named:
        violations.add("options.image", "images come in the messages behind this one")
    if request.masks not in MaskForm.values():
        violations.add("masks", f"must be one of {', '.join(MaskForm.keys()[1:])}")
    for field in ("threshold", "iou_threshold"):
        # NaN is in no range.
        if not 0 <= getattr(request, field) <= 1:
            violations.add(field, "must be between 0 and 1")
    if request.max_shapes < 0:
        violations.add("max_shapes", "must not be negative; 0 means 300")
    region, tiling = region_of(request, violations), tiling_of(request, violations)
    _check_target(request, violations)
    violations.raise_if_any()
    if not request.deployment:
        parse_selector(request.model_version, "model_version")
    return Options(
        threshold=request.threshold if request.HasField("threshold") else 0.25,
        iou=request.iou_threshold if request.HasField("iou_threshold") else 0.7,
        classes=tuple(request.classes),
        max_shapes=request.max_shapes or 300,
        multi_label=request.multi_label,
        variant=request.variant,
        region=region,
        tiling=tiling,
        polygons=request.masks == MaskForm.MASK_FORM_POLYGON,
    )


def _check_target(request: PredictRequest, violations: Violations) -> None:
    """Who is asked: a version, or a deployment, which has its own variant."""
    if not request.deployment:
        return
    DEPLOYMENT.check(request.deployment, "deployment", violations)
    for field in ("model_version", "variant"):
        if getattr(request, field):
            violations.add(field, "must be empty where a deployment is asked")


def project_asked(request: PredictRequest) -> str:
    """The id of the project of what a request, which `predict_options` has read, asks."""
    if request.deployment:
        return DEPLOYMENT.parse(request.deployment, "deployment")["project"]
    return parse_selector(request.model_version, "model_version").project


def predict_response(prediction: Prediction) -> PredictResponse:
    """A prediction as the contract shows it."""
    return PredictResponse(
        shapes=map(found_message, prediction.found),
        model_version=version_name(prediction.version),
        variant=variant_name(prediction.variant),
        width=prediction.width,
        height=prediction.height,
        timings=StageTimings(**prediction.milliseconds),
        deployment=prediction.deployment,
        replica=prediction.replica,
    )
