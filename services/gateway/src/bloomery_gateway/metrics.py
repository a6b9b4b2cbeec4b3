"""What the gateway counts."""

from prometheus_client import Counter
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from bloomery_kit.metrics import REGISTRY

REQUESTS = Counter("bloomery_http_requests_total", "Requests answered.", ("method", "status"), registry=REGISTRY)
RECEIVED = Counter("bloomery_http_received_bytes_total", "Bytes of bodies from clients.", registry=REGISTRY)
SENT = Counter("bloomery_http_sent_bytes_total", "Bytes of bodies to clients.", registry=REGISTRY)
_METHODS = frozenset({"GET", "HEAD", "PUT", "POST", "DELETE", "OPTIONS"})


class Measured:
    """Counts what passes through an application."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass everything on."""

        async def counted_receive() -> Message:
            message = await receive()
            RECEIVED.inc(len(message.get("body", b"")))
            return message

        async def counted_send(message: Message) -> None:
            if message["type"] == "http.response.start":
                # A client may invent methods, and each label value is kept for ever.
                method = scope["method"] if scope["method"] in _METHODS else "other"
                REQUESTS.labels(method, message["status"]).inc()
            SENT.inc(len(message.get("body", b"")))
            await send(message)

        await self._app(scope, counted_receive, counted_send)
