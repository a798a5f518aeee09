"""Certificates between processes: who a peer is, and whether it may call.

With them, both ends prove who they are. The certificate of a process has a DNS name for each role it plays:
`messaging.palaver`, `gateway.palaver` …, and is signed by the workspace's own authority. A client goes on only if the
server has the name of the role that it calls; the server answers only if the client has the name of a role that may
call it (`calls` in roles.py). Both need the extended key usages for servers and for clients.

Files that are replaced are read again: new connections use what is there when they begin. Made by node.py.
"""

import logging
import ssl
from pathlib import Path
from typing import Any, NamedTuple

import grpc

from palaver.config import Config, ConfigError

logger = logging.getLogger(__name__)

_DOMAIN = ".palaver"


def dns_name(role: str) -> str:
    """The name of a role in a certificate."""
    return role + _DOMAIN


def list_roles(context: "grpc.aio.ServicerContext[Any, Any]") -> set[str]:
    """The roles that the certificate of a caller names."""
    names = (name.decode(errors="replace") for name in context.auth_context().get("peer_dns", ()))
    return {name.removesuffix(_DOMAIN) for name in names if name.endswith(_DOMAIN)}


class _Contents(NamedTuple):
    certificate: bytes
    key: bytes
    authority: bytes


class Certificates:
    """The three files of a process, as they are now."""

    def __init__(self, certificate: Path, key: Path, authority: Path) -> None:
        """Raises ConfigError when a file is missing or they don't fit together."""
        self._paths = (certificate, key, authority)
        self._stamps: object = None
        try:
            self._stamps = self._look()
            self._contents = self._read()
        except (OSError, ValueError) as error:
            raise ConfigError(f"PALAVER_GRPC_CERTIFICATE, _KEY and _AUTHORITY can't be used: {error}") from error
        self._channel: tuple[_Contents, grpc.ChannelCredentials] | None = None

    @classmethod
    def from_config(cls, config: Config) -> "Certificates | None":
        """None when the configuration asks for no TLS. Raises ConfigError."""
        if not config.grpc_certificate:
            return None
        return cls(Path(config.grpc_certificate), Path(config.grpc_key), Path(config.grpc_authority))

    def channel_credentials(self) -> grpc.ChannelCredentials:
        """What a client proves itself with: the same object for as long as the files are the same."""
        contents = self._current()
        if self._channel is None or self._channel[0] != contents:
            made = grpc.ssl_channel_credentials(contents.authority, contents.key, contents.certificate)
            self._channel = contents, made
        return self._channel[1]

    def server_credentials(self) -> grpc.ServerCredentials:
        """What a server proves itself with, and asks of its clients: at each handshake, the files as they are then."""
        return grpc.dynamic_ssl_server_credentials(
            self._configuration(), self._configuration, require_client_authentication=True
        )

    def _configuration(self) -> grpc.ServerCertificateConfiguration:
        contents = self._current()
        return grpc.ssl_server_certificate_configuration([(contents.key, contents.certificate)], contents.authority)

    def _current(self) -> _Contents:
        """The files, read again if they changed; what was read before while the new ones can't be used."""
        try:
            stamps = self._look()
            if stamps != self._stamps:
                self._contents = self._read()
                self._stamps = stamps
                logger.info("the certificates for gRPC were replaced")
        except (OSError, ValueError) as error:
            logger.warning("the new certificates for gRPC can't be used (yet): %s", error)
        return self._contents

    def _look(self) -> object:
        found = [path.stat() for path in self._paths]
        return [(stat.st_mtime_ns, stat.st_ino, stat.st_size) for stat in found]

    def _read(self) -> _Contents:
        """Raises OSError (ssl.SSLError is one) or ValueError for what can't be used."""
        certificate, key, _ = self._paths
        contents = _Contents(*(path.read_bytes() for path in self._paths))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.load_cert_chain(certificate, key, password="")  # an empty one: it must not ask for any
        context.load_verify_locations(cadata=contents.authority.decode("ascii"))
        return contents
