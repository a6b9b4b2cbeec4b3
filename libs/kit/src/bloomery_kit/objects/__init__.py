"""Blobs by key, behind one protocol: a folder, or a bucket of any S3."""

from bloomery_kit.objects._factory import open_object_store
from bloomery_kit.objects._folder import FolderObjectStore
from bloomery_kit.objects._protocol import Content, Data, ObjectStat, ObjectStore, SignedRequest, check_key
from bloomery_kit.objects._s3 import S3ObjectStore

__all__ = [
    "Content",
    "Data",
    "FolderObjectStore",
    "ObjectStat",
    "ObjectStore",
    "S3ObjectStore",
    "SignedRequest",
    "check_key",
    "open_object_store",
]
