import pytest
from pydantic import ValidationError

from bloomery_kit.settings import FolderStoreSettings, S3StoreSettings, ServiceSettings, load_settings

FOLDER = {
    "BLOOMERY_DATABASE_URL": "sqlite+aiosqlite:////tmp/x.db",
    "BLOOMERY_TOKEN": "secret-token",
    "BLOOMERY_OBJECT_STORE__KIND": "folder",
    "BLOOMERY_OBJECT_STORE__ROOT": "/tmp/blobs",
    "BLOOMERY_OBJECT_STORE__BASE_URL": "http://127.0.0.1:8080",
    "BLOOMERY_OBJECT_STORE__SIGNING_KEY": "k" * 32,
}


class MySettings(ServiceSettings):
    annotation_target: str


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in FOLDER.items():
        monkeypatch.setenv(name, value)


def test_settings_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BLOOMERY_ANNOTATION_TARGET", "dns:///annotation:50051")
    monkeypatch.setenv("BLOOMERY_PORT", "0")
    settings = load_settings(MySettings)
    assert settings.annotation_target == "dns:///annotation:50051"
    assert settings.port == 0
    assert isinstance(settings.object_store, FolderStoreSettings)


def test_the_object_store_may_be_a_bucket(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "KIND": "s3",
        "ENDPOINT": "http://minio:9000",
        "PUBLIC_ENDPOINT": "https://blobs.example.org",
        "BUCKET": "bloomery",
        "ACCESS_KEY": "a",
        "SECRET_KEY": "s",
    }.items():
        monkeypatch.setenv(f"BLOOMERY_OBJECT_STORE__{name}", value)
    store = load_settings(ServiceSettings).object_store
    assert isinstance(store, S3StoreSettings)
    assert store.public_endpoint == "https://blobs.example.org"


def test_everything_missing_is_named_at_once_without_values(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("BLOOMERY_DATABASE_URL")
    monkeypatch.delenv("BLOOMERY_OBJECT_STORE__SIGNING_KEY")
    monkeypatch.setenv("BLOOMERY_PORT", "99999")
    with pytest.raises(SystemExit) as caught:
        load_settings(MySettings)
    for name in ("DATABASE_URL", "OBJECT_STORE__SIGNING_KEY", "PORT", "ANNOTATION_TARGET"):
        assert f"BLOOMERY_{name}:" in str(caught.value)
    assert "secret-token" not in str(caught.value)


def test_settings_do_not_change_and_do_not_show_secrets() -> None:
    settings = load_settings(ServiceSettings)
    assert "secret-token" not in repr(settings)
    with pytest.raises(ValidationError):
        settings.port = 1


@pytest.mark.parametrize("half", ["TLS_CERTIFICATE", "TLS_KEY"])
def test_half_of_a_certificate_is_refused_instead_of_served_without(monkeypatch: pytest.MonkeyPatch, half: str) -> None:
    monkeypatch.setenv(f"BLOOMERY_{half}", "/etc/tls")
    with pytest.raises(SystemExit, match=r"BLOOMERY_TLS_KEY: .*together with BLOOMERY_TLS_CERTIFICATE"):
        load_settings(ServiceSettings)
    monkeypatch.setenv("BLOOMERY_TLS_CERTIFICATE", "/etc/tls")
    monkeypatch.setenv("BLOOMERY_TLS_KEY", "/etc/tls")
    load_settings(ServiceSettings)
