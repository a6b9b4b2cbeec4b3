"""Jobs, and the model versions that they make."""

from bloomery._aio.job import AsyncJob, AsyncModelVersion
from bloomery._fields import JobFields, ModelVersionFields
from bloomery._sync.alias import ModelAlias
from bloomery._sync.base import Handle
from bloomery._sync.portal import Portal, blocking, chained, iterating, listing, streaming, wrapping
from bloomery._sync.variant import ModelVariant
from bloomery.inference import v1 as inference
from bloomery.training import v1 as training


def _job(portal: Portal, twin: AsyncJob) -> "Job":
    return Job(portal, twin)


def _version(portal: Portal, twin: AsyncModelVersion) -> "ModelVersion":
    return ModelVersion(portal, twin)


class ModelVersion(Handle[inference.ModelVersion], ModelVersionFields):
    """A trained model with the proof of where it came from."""

    refresh = chained(AsyncModelVersion.refresh)
    variants = listing(AsyncModelVersion.variants, ModelVariant)
    optimize = wrapping(AsyncModelVersion.optimize, ModelVariant)
    predict = blocking(AsyncModelVersion.predict)
    predict_each = iterating(AsyncModelVersion.predict_each)
    predict_stream = streaming(AsyncModelVersion.predict_stream)
    predict_video = streaming(AsyncModelVersion.predict_video)
    evaluate = wrapping(AsyncModelVersion.evaluate, _job)
    predict_dataset = wrapping(AsyncModelVersion.predict_dataset, _job)
    predict_project = wrapping(AsyncModelVersion.predict_project, _job)
    predict_folder = wrapping(AsyncModelVersion.predict_folder, _job)
    suggestions = iterating(AsyncModelVersion.suggestions)
    download = blocking(AsyncModelVersion.download)
    merge = wrapping(AsyncModelVersion.merge, _job)
    descendants = listing(AsyncModelVersion.descendants, _version)
    card = blocking(AsyncModelVersion.card)
    compare = blocking(AsyncModelVersion.compare)
    better = blocking(AsyncModelVersion.better)
    benchmark = blocking(AsyncModelVersion.benchmark)
    update = chained(AsyncModelVersion.update)
    set_alias = wrapping(AsyncModelVersion.set_alias, ModelAlias)
    deletion = blocking(AsyncModelVersion.deletion)
    delete = blocking(AsyncModelVersion.delete)


class Job(Handle[training.Job], JobFields):
    """A piece of work."""

    refresh = chained(AsyncJob.refresh)
    watch = iterating(AsyncJob.watch)
    wait = chained(AsyncJob.wait)
    update = chained(AsyncJob.update)
    cancel = chained(AsyncJob.cancel)
    pause = chained(AsyncJob.pause)
    resume = chained(AsyncJob.resume)
    delete = blocking(AsyncJob.delete)
    logs = iterating(AsyncJob.logs)
    preflight = blocking(AsyncJob.preflight)
    samples = blocking(AsyncJob.samples)
    epochs = blocking(AsyncJob.epochs)
    download = blocking(AsyncJob.download)
    evaluations = blocking(AsyncJob.evaluations)
    predictions = iterating(AsyncJob.predictions)
    write_predictions = blocking(AsyncJob.write_predictions)
    checkpoints = blocking(AsyncJob.checkpoints)
    download_events = blocking(AsyncJob.download_events)
    download_checkpoint = blocking(AsyncJob.download_checkpoint)
    report = blocking(AsyncJob.report)
    reproduce = wrapping(AsyncJob.reproduce, _job)
    model_version = wrapping(AsyncJob.model_version, ModelVersion)
