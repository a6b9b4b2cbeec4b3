"""Deployments."""

from bloomery._aio.deployment import AsyncDeployment
from bloomery._fields import DeploymentFields
from bloomery._sync.base import Handle
from bloomery._sync.portal import blocking, chained, iterating, streaming
from bloomery.inference import v1 as inference


class Deployment(Handle[inference.Deployment], DeploymentFields):
    """A lasting name for the model version that answers predictions."""

    refresh = chained(AsyncDeployment.refresh)
    update = chained(AsyncDeployment.update)
    rollback = chained(AsyncDeployment.rollback)
    pause = chained(AsyncDeployment.pause)
    resume = chained(AsyncDeployment.resume)
    delete = blocking(AsyncDeployment.delete)
    watch = iterating(AsyncDeployment.watch)
    wait = chained(AsyncDeployment.wait)
    disagreements = iterating(AsyncDeployment.disagreements)
    disagreement_rate = blocking(AsyncDeployment.disagreement_rate)
    predict = blocking(AsyncDeployment.predict)
    predict_each = iterating(AsyncDeployment.predict_each)
    predict_stream = streaming(AsyncDeployment.predict_stream)
    predict_video = streaming(AsyncDeployment.predict_video)
