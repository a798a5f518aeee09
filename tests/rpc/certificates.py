"""Certificates for tests: an authority of one's own, and what it signs."""

from pathlib import Path
from typing import Any

import trustme

from palaver.rpc import Certificates


class Authority:
    """Signs certificates, each into a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._authority = trustme.CA()
        self._made = 0

    def make(self, *roles: str, **options: Any) -> Certificates:
        """The certificates of a process that plays these roles. A role with a dot is a whole name."""
        self._made += 1
        return self.write(self._folder / str(self._made), *roles, **options)

    def write(self, folder: Path, *roles: str, **options: Any) -> Certificates:
        """The same in this folder; what was there is replaced."""
        folder.mkdir(parents=True, exist_ok=True)
        names = [role if "." in role else f"{role}.palaver" for role in roles]
        certificate = self._authority.issue_cert(*names, **options)
        (folder / "key.pem").write_bytes(certificate.private_key_pem.bytes())
        (folder / "certificate.pem").write_bytes(b"".join(pem.bytes() for pem in certificate.cert_chain_pems))
        self.write_authority(folder)
        return load(folder)

    def write_authority(self, folder: Path) -> None:
        """Lets the process of this folder trust what this authority signs."""
        (folder / "authority.pem").write_bytes(self._authority.cert_pem.bytes())


def load(folder: Path) -> Certificates:
    """The certificates in a folder. Raises ConfigError."""
    return Certificates(folder / "certificate.pem", folder / "key.pem", folder / "authority.pem")


def options(folder: Path) -> dict[str, Any]:
    """The same as fields of Config."""
    names = ("certificate", "key", "authority")
    return {f"grpc_{name}": str(folder / f"{name}.pem") for name in names}
