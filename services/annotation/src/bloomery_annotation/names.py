"""The resource names that this service owns."""

import base64

from bloomery_kit.names import Pattern

PROJECT = Pattern("projects/{project}")
LABEL = Pattern("projects/{project}/labels/{label}")
ASSET = Pattern("projects/{project}/assets/{asset}")
ALL_ASSETS = Pattern("projects/{project}/assets/-")
ANNOTATION_SET = Pattern("projects/{project}/assets/{asset}/annotationSets/{annotation_set}")
MODEL_VERSION = Pattern("projects/{project}/models/{model}/versions/{version}")
IMPORT = Pattern("projects/{project}/imports/{import_id}")

MAIN_SET = "main"
"""The id of the set that people make; others hold suggestions."""

DIGEST_PREFIX = "sha256:"


def asset_id(digest: str) -> str:
    """The id of the asset with that `sha256:` digest: the same bytes have the same id in every project."""
    return "a" + base64.b32encode(bytes.fromhex(hex_of(digest))).decode().lower().rstrip("=")


def hex_of(digest: str) -> str:
    """The 64 hexadecimal digits of a digest."""
    return digest.removeprefix(DIGEST_PREFIX)


def blob_key(project_uid: str, digest: str) -> str:
    """Where a checked blob lies in the object store."""
    return f"{project_uid}/{hex_of(digest)}"


def staging_key(project_uid: str, digest: str) -> str:
    """Where a client puts a blob before it is checked."""
    return f"{staging_prefix(project_uid)}{hex_of(digest)}"


def staging_prefix(project_uid: str) -> str:
    """What the keys of all unchecked blobs of a project start with."""
    return f"{project_uid}/staging/"
