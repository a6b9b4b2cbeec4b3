from bloomery_kit.objects._folder import FolderObjectStore
from bloomery_kit.objects._protocol import ObjectStore
from bloomery_kit.objects._s3 import S3ObjectStore
from bloomery_kit.settings import FolderStoreSettings, S3StoreSettings


def open_object_store(settings: FolderStoreSettings | S3StoreSettings) -> ObjectStore:
    """The store that the settings describe."""
    if isinstance(settings, FolderStoreSettings):
        key = settings.signing_key.get_secret_value().encode()
        return FolderObjectStore(settings.root, base_url=settings.base_url, signing_key=key)
    return S3ObjectStore(settings)
