"""Signed requests on the wire, and the uploads that are made of them."""

from bloomery.common.v1 import SignedRequest as SignedRequestMessage
from bloomery.common.v1 import UploadPart
from bloomery_kit.objects import SignedRequest
from bloomery_kit.times import to_timestamp
from bloomery_kit.uploads import Upload


def signed_message(request: SignedRequest) -> SignedRequestMessage:
    """A signed request."""
    return SignedRequestMessage(url=request.url, headers=request.headers, expire_time=to_timestamp(request.expires_at))


def upload_messages(upload: Upload) -> tuple[SignedRequestMessage | None, list[UploadPart]]:
    """The request for a whole file, or those for its parts."""
    parts = [
        UploadPart(offset=part.offset, size_bytes=part.size, put=signed_message(part.put)) for part in upload.parts
    ]
    return signed_message(upload.put) if upload.put else None, parts
