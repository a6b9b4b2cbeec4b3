"""Authorities and certificates for tests, made by openssl."""

import subprocess
from dataclasses import dataclass
from pathlib import Path

_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")


def _openssl(*arguments: str | Path) -> None:
    subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True)


@dataclass(frozen=True)
class Authority:
    """An authority whose key and certificate lie in a folder."""

    folder: Path
    name: str

    @classmethod
    def new(cls, folder: Path, name: str) -> "Authority":
        """One that nobody trusts yet."""
        made = cls(folder, name)
        _openssl("req", "-x509", *_KEY, "-subj", f"/CN={name}", "-days", "2", "-keyout", made._key, "-out", made._file)
        return made

    @property
    def certificate(self) -> bytes:
        """PEM."""
        return self._file.read_bytes()

    def issue(self, *hosts: str) -> tuple[bytes, bytes]:
        """A key, and a certificate for names such as DNS:localhost."""
        key, request, leaf = (self.folder / f"{self.name}-leaf.{end}" for end in ("key", "csr", "crt"))
        names = f"subjectAltName={','.join(hosts)}"
        _openssl("req", *_KEY, "-subj", "/CN=leaf", "-addext", names, "-keyout", key, "-out", request)
        signed = ("-CA", self._file, "-CAkey", self._key, "-CAcreateserial", "-days", "2", "-copy_extensions", "copy")
        _openssl("x509", "-req", "-in", request, *signed, "-out", leaf)
        return key.read_bytes(), leaf.read_bytes()

    @property
    def _key(self) -> Path:
        return self.folder / f"{self.name}.key"

    @property
    def _file(self) -> Path:
        return self.folder / f"{self.name}.crt"


class Mounted:
    """A folder with credentials that is exchanged as a whole, as a cluster mounts a Secret."""

    def __init__(self, folder: Path, **files: bytes) -> None:
        self._folder, self._version = folder, 0
        folder.mkdir()
        self.exchange(**files)
        for name in files:
            self[name].symlink_to(Path("now", name))

    def __getitem__(self, name: str) -> Path:
        return self._folder / name

    def exchange(self, **files: bytes) -> None:
        """Let all files have other contents at one moment."""
        self._version += 1
        version = self._folder / f"version-{self._version}"
        version.mkdir()
        for name, content in files.items():
            (version / name).write_bytes(content)
        (self._folder / "next").symlink_to(version.name)
        (self._folder / "next").replace(self._folder / "now")
