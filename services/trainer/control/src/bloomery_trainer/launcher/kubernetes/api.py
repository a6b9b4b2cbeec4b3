"""The API server: authenticated, counted, and never waited for without an end."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from types import ModuleType
from typing import TYPE_CHECKING

import aiohttp
from pydantic import BaseModel, ValidationError

from bloomery_kit.errors import Unavailable
from bloomery_trainer import metrics
from bloomery_trainer.settings import KubernetesLauncherSettings

if TYPE_CHECKING:
    from kubernetes_asyncio.client import ApiClient

_AWAY = frozenset({429, 500, 502, 503, 504})
_AUTHENTICATED = ["BearerToken"]


class RefusedError(Exception):
    """The API server's own answer to a request that it will not carry out; `status` is that of HTTP."""

    def __init__(self, status: int, reason: str, message: str) -> None:
        super().__init__(f"{status} {reason}: {message}")
        self.status, self.reason, self.message = status, reason, message


class _Status(BaseModel):
    reason: str = ""
    message: str = ""


@dataclass(frozen=True)
class Call:
    """A request: `resource` is what it is about, such as "pods", for metrics."""

    verb: str
    method: str
    resource: str
    path: str
    query: Mapping[str, str | int] | None = None
    body: Mapping[str, object] | None = None


class Api:
    """Connects when it is first asked for something."""

    def __init__(self, settings: KubernetesLauncherSettings) -> None:
        self._settings = settings
        self._connecting = asyncio.Lock()
        self._client: ApiClient | None = None

    async def call(self, call: Call) -> bytes:
        """The body of the answer. Raise RefusedError, Unavailable CLUSTER_UNAVAILABLE."""
        limits = aiohttp.ClientTimeout(total=self._settings.request_timeout)
        async with self.stream(call, limits) as answer:
            return await answer.read()

    @asynccontextmanager
    async def stream(self, call: Call, limits: aiohttp.ClientTimeout) -> AsyncIterator[aiohttp.ClientResponse]:
        """The answer, to be read bit by bit. Raise RefusedError, Unavailable; TimeoutError while it is read."""
        answer = await self._begin(call, limits)
        try:
            yield answer
        except (aiohttp.ClientError, OSError) as error:
            if isinstance(error, TimeoutError):
                raise
            raise _away(call, error) from error
        finally:
            answer.close()

    async def _begin(self, call: Call, limits: aiohttp.ClientTimeout) -> aiohttp.ClientResponse:
        code = 0
        try:
            client = await self._connected()
            answer: aiohttp.ClientResponse = await client.call_api(
                call.path,
                call.method,
                query_params=dict(call.query or {}),
                # The server would compress, which costs it and us more than the bytes of a cluster's network.
                header_params={"Accept": "application/json", "Accept-Encoding": "identity"},
                body=call.body,
                auth_settings=_AUTHENTICATED,
                _preload_content=False,
                _request_timeout=limits,
            )
            code = answer.status
        except (aiohttp.ClientError, OSError) as error:
            raise _away(call, error) from error
        finally:
            metrics.K8S_REQUESTS.labels(call.verb, call.resource, code).inc()
        if answer.ok:
            return answer
        try:
            raise await _refusal(call, answer)
        finally:
            answer.close()

    async def close(self) -> None:
        """Close the connections."""
        if self._client is not None:
            await self._client.close()
            self._client = None

    async def _connected(self) -> "ApiClient":
        async with self._connecting:
            if self._client is None:
                self._client = await _connect(self._settings)
            return self._client


async def _connect(settings: KubernetesLauncherSettings) -> "ApiClient":
    # Only those who have a cluster pay for it: a second, and a hundred megabytes.
    client, config = await asyncio.to_thread(_library)
    configuration = client.Configuration()
    if settings.kubeconfig is None:
        await asyncio.to_thread(config.load_incluster_config, client_configuration=configuration)
    else:
        await config.load_kube_config(str(settings.kubeconfig), client_configuration=configuration)
    connected: ApiClient = client.ApiClient(configuration)
    return connected


def _library() -> tuple[ModuleType, ModuleType]:
    from kubernetes_asyncio import client, config

    return client, config


def _away(call: Call, error: BaseException | str) -> Unavailable:
    what = error if isinstance(error, str) else f"{type(error).__name__}: {error}".removesuffix(": ")
    return Unavailable("CLUSTER_UNAVAILABLE", f"the API server did not {call.verb} {call.resource}: {what}")


async def _refusal(call: Call, answer: aiohttp.ClientResponse) -> Exception:
    text = await answer.read()
    try:
        status = _Status.model_validate_json(text)
    except ValidationError:
        status = _Status(message=text[:500].decode("utf-8", "replace"))
    if answer.status in _AWAY:
        return _away(call, f"{answer.status} {status.message}")
    return RefusedError(answer.status, status.reason, status.message)
