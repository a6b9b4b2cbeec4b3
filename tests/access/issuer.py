"""An issuer of identities: signs tokens with real keys, and publishes those over HTTP as OpenID Connect says."""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from jwt.algorithms import ECAlgorithm, RSAAlgorithm

AUDIENCE = "bloomery"


class Issuer:
    """Its address, its keys, and how often it was asked for them."""

    def __init__(self) -> None:
        self.url = ""
        self.asked = 0
        self.down = False
        self.called: str | None = None
        self.keys: dict[str, Any] = {}
        self._number = 0
        self.rotate()

    def rotate(self, kind: str = "RS256") -> str:
        """A fresh key in the place of all others; its id."""
        self._number += 1
        key_id = f"key-{self._number}"
        self.keys = {
            key_id: ec.generate_private_key(ec.SECP256R1())
            if kind == "ES256"
            else rsa.generate_private_key(65537, 2048)
        }
        return key_id

    def token(self, subject: str, *, key_id: str | None = None, **claims: Any) -> str:
        """A token that holds for a minute, with other claims where they are given; None leaves one out."""
        key_id = key_id or next(iter(self.keys))
        key = self.keys[key_id]
        now = int(time.time())
        all_claims = {"iss": self.url, "aud": AUDIENCE, "sub": subject, "iat": now, "exp": now + 60} | claims
        algorithm = "ES256" if isinstance(key, ec.EllipticCurvePrivateKey) else "RS256"
        given = {name: value for name, value in all_claims.items() if value is not None}
        return jwt.encode(given, key, algorithm, headers={"kid": key_id})

    def answer(self, path: str) -> dict[str, object] | None:
        """What it publishes there."""
        if path == "/.well-known/openid-configuration":
            return {"issuer": self.called or self.url, "jwks_uri": f"{self.url}/keys"}
        if path == "/keys":
            self.asked += 1
            return {"keys": [_public(key_id, key) for key_id, key in self.keys.items()]}
        return None


@contextmanager
def issuing() -> Iterator[Issuer]:
    """An issuer on this machine."""
    issuer = Issuer()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            found = None if issuer.down else issuer.answer(self.path)
            body = json.dumps(found).encode()
            self.send_response(503 if found is None else 200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    issuer.url = f"http://127.0.0.1:{server.server_port}"
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield issuer
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _public(key_id: str, key: Any) -> dict[str, object]:
    kind = ECAlgorithm if isinstance(key, ec.EllipticCurvePrivateKey) else RSAAlgorithm
    found: dict[str, object] = kind.to_jwk(key.public_key(), as_dict=True)
    return {**found, "kid": key_id, "use": "sig"}
