"""The configuration of one process: `PALAVER_*` variables, read once at start into one frozen object."""

import dataclasses
import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlsplit

from palaver.ids import new_id

T = TypeVar("T")


class ConfigError(Exception):
    """A variable is missing or can't be understood. The message names it."""


def _option(name: str, default: T, documentation: str) -> T:
    """A field that knows its variable; typed as its value, as `dataclasses.field` itself is."""
    return field(default=default, metadata={"variable": name, "documentation": documentation})


@dataclass(frozen=True, slots=True)
class Config:
    """What one process needs to know. Every field is one variable; `palaver config` prints this list."""

    host: str = _option("PALAVER_HOST", "127.0.0.1", "address to listen on")
    port: int = _option("PALAVER_PORT", 3000, "HTTP port of the gateway")
    share_port: bool = _option(
        "PALAVER_SHARE_PORT",
        False,
        "1: other gateways of this machine listen on that port, too",
    )
    health_port: int = _option(
        "PALAVER_HEALTH_PORT", 0, "port of its own for health and metrics; 0: they are answered on PALAVER_PORT"
    )
    data_dir: Path = _option("PALAVER_DATA_DIR", Path("data"), "folder of the embedded database and its uploads")
    trusted_proxies: int = _option(
        "PALAVER_TRUSTED_PROXIES",
        0,
        "proxies on every way to this server: a client's address is that many places from the end of X-Forwarded-For",
    )
    site_url: str = _option(
        "PALAVER_SITE_URL", "", "address at which users reach this server; http://host:port when empty"
    )
    api_version: str = _option("PALAVER_API_VERSION", "6.14.0", "version of Rocket.Chat's API that clients are told")
    workspace: str = _option("PALAVER_WORKSPACE", "default", "name of the workspace in subjects and keys")
    node_id: str = _option("PALAVER_NODE_ID", "", "name of this process, unique in the workspace; made up when empty")

    mongodb_url: str = _option("PALAVER_MONGODB_URL", "", "MongoDB instead of the embedded database, for uploads too")
    s3_endpoint: str = _option(
        "PALAVER_S3_ENDPOINT", "", "http(s)://host:port of an S3-speaking server for uploads instead of the database"
    )
    s3_bucket: str = _option("PALAVER_S3_BUCKET", "", "its bucket, which must exist")
    s3_access_key: str = _option("PALAVER_S3_ACCESS_KEY", "", "the key's id there")
    s3_secret_key: str = _option("PALAVER_S3_SECRET_KEY", "", "and its secret")
    s3_region: str = _option("PALAVER_S3_REGION", "us-east-1", "its region")
    s3_prefix: str = _option("PALAVER_S3_PREFIX", "", "what the names of its objects begin with")
    backup_s3_endpoint: str = _option(
        "PALAVER_BACKUP_S3_ENDPOINT", "", "S3-speaking server for `palaver backup s3://…`; that of uploads when empty"
    )
    backup_s3_access_key: str = _option("PALAVER_BACKUP_S3_ACCESS_KEY", "", "the key's id there; likewise")
    backup_s3_secret_key: str = _option("PALAVER_BACKUP_S3_SECRET_KEY", "", "and its secret; likewise")
    backup_s3_region: str = _option("PALAVER_BACKUP_S3_REGION", "", "its region; likewise")
    nats_url: str = _option(
        "PALAVER_NATS_URL", "", "NATS instead of in-process delivery: nats://host:port, several separated by commas"
    )
    nats_replicas: int = _option(
        "PALAVER_NATS_REPLICAS", 1, "servers of a NATS cluster that keep what JetStream stores: 1, 3 or 5"
    )
    nats_authority: str = _option(
        "PALAVER_NATS_AUTHORITY",
        "",
        "PEM file: who signs NATS's certificate (tls://); empty: whom the system trusts",
    )
    grpc_host: str = _option("PALAVER_GRPC_HOST", "127.0.0.1", "address on which roles of this process answer others")
    grpc_port: int = _option("PALAVER_GRPC_PORT", 0, "its port; 0: the roles of this process answer nobody else")
    grpc_certificate: str = _option(
        "PALAVER_GRPC_CERTIFICATE", "", "PEM file: this process proves its roles to the others; with the next two"
    )
    grpc_key: str = _option("PALAVER_GRPC_KEY", "", "PEM file: the certificate's private key")
    grpc_authority: str = _option("PALAVER_GRPC_AUTHORITY", "", "PEM file: who signs the certificates of all processes")
    auth_address: str = _option(
        "PALAVER_AUTH_ADDRESS",
        "",
        "where other processes play auth: host:port, several separated by commas, or dns:///name:port of all of them",
    )
    presence_address: str = _option(
        "PALAVER_PRESENCE_ADDRESS", "", "where other processes play presence: the same forms"
    )
    messaging_address: str = _option(
        "PALAVER_MESSAGING_ADDRESS", "", "where other processes play messaging: the same forms"
    )

    admin_id: str = _option("PALAVER_ADMIN_ID", "", "id of the first administrator; made up when empty")
    admin_username: str = _option("PALAVER_ADMIN_USERNAME", "", "creates the first administrator when there is none")
    admin_password: str = _option("PALAVER_ADMIN_PASSWORD", "", "their password")
    admin_email: str = _option("PALAVER_ADMIN_EMAIL", "", "their e-mail address")
    admin_name: str = _option("PALAVER_ADMIN_NAME", "", "their full name")

    outbound_allowed: str = _option(
        "PALAVER_OUTBOUND_ALLOWED",
        "",
        "what webhooks and previews may reach although it is not public: addresses, networks and names, with commas",
    )
    settings_file: str = _option(
        "PALAVER_SETTINGS_FILE", "", "JSON file {setting id: value}: settings that it decides; read again as it changes"
    )
    test_mode: bool = _option("PALAVER_TEST_MODE", False, "1: no rate limits, no second factor; never in production")
    smtp_tls: str = _option(
        "PALAVER_SMTP_TLS",
        "credentials",
        "which e-mails leave only encrypted: `credentials`: where a name and password are sent; `always`; `never`",
    )
    log_level: str = _option("PALAVER_LOG_LEVEL", "info", "debug, info, warning or error")
    traces_url: str = _option(
        "PALAVER_TRACES_URL", "", "where traces go, by OTLP over HTTP (http://collector:4318); empty: there are none"
    )
    traces_sample: float = _option("PALAVER_TRACES_SAMPLE", 0.01, "share of the requests that are traced, 0 to 1")
    drain_seconds: float = _option(
        "PALAVER_DRAIN_SECONDS", 5.0, "longest time to finish what was accepted when stopping"
    )
    notice_seconds: float = _option(
        "PALAVER_NOTICE_SECONDS", 0.0, "when stopping: time for load balancers to see that it is not ready, before that"
    )
    handshakes_per_second: float = _option(
        "PALAVER_HANDSHAKES_PER_SECOND", 1000.0, "new websockets that a gateway takes at most; 0: any number"
    )
    logins_per_second: float = _option(
        "PALAVER_LOGINS_PER_SECOND", 1000.0, "logins that a gateway takes at most; 0: any number"
    )
    failpoints: str = _option("PALAVER_FAILPOINTS", "", "for tests: where to kill this process")

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] | None = None) -> "Config":
        """Reads every `PALAVER_*` variable; unknown ones and values of a wrong form raise ConfigError."""
        environment = os.environ if environment is None else environment
        values: dict[str, object] = {}
        known = {f.metadata["variable"]: f for f in dataclasses.fields(cls)}
        for name, text in environment.items():
            if not name.startswith("PALAVER_") or name.startswith(("PALAVER_TEST_MONGODB", "PALAVER_CACHE")):
                continue
            if name not in known:
                raise ConfigError(f"{name} is not a setting of Palaver; `palaver config` lists them")
            values[known[name].name] = _parse(name, text, known[name].default)
        config = cls(**values)  # type: ignore[arg-type]
        if config.trusted_proxies < 0:
            raise ConfigError(f"PALAVER_TRUSTED_PROXIES={config.trusted_proxies}: a number of proxies is wanted")
        if config.smtp_tls not in ("credentials", "always", "never"):
            raise ConfigError(f"PALAVER_SMTP_TLS={config.smtp_tls}: credentials, always or never")
        config._check_servers()
        config._check_s3()
        config._check_certificates()
        if not config.node_id:
            config = dataclasses.replace(config, node_id=f"{socket.gethostname()}-{os.getpid()}-{new_id(4)}")
        if not config.site_url:
            config = dataclasses.replace(config, site_url=f"http://{_shown_host(config.host)}:{config.port}")
        return config

    def _check_servers(self) -> None:
        """The addresses of MongoDB and NATS look like such. Raises ConfigError, without what may be a password."""
        if self.mongodb_url and not self.mongodb_url.startswith(("mongodb://", "mongodb+srv://")):
            raise ConfigError("PALAVER_MONGODB_URL: mongodb:// or mongodb+srv:// is missing")
        for address in self.nats_url.split(",") if self.nats_url else ():
            try:
                parts = urlsplit(address)
                is_right = parts.scheme in ("nats", "tls", "ws", "wss") and bool(parts.hostname) and parts.port != 0
            except ValueError:
                is_right = False
            if not is_right:
                raise ConfigError("PALAVER_NATS_URL: nats://host:port is wanted, several of them with commas between")
        if self.nats_replicas not in (1, 3, 5):
            raise ConfigError(f"PALAVER_NATS_REPLICAS={self.nats_replicas}: 1, 3 or 5 servers keep each message")

    def _check_s3(self) -> None:
        """S3 is configured as a whole or not at all. Raises ConfigError."""
        needed = {
            "PALAVER_S3_ENDPOINT": self.s3_endpoint,
            "PALAVER_S3_BUCKET": self.s3_bucket,
            "PALAVER_S3_ACCESS_KEY": self.s3_access_key,
            "PALAVER_S3_SECRET_KEY": self.s3_secret_key,
        }
        missing = [name for name, value in needed.items() if not value]
        if missing and (len(missing) < len(needed) or self.s3_prefix):
            raise ConfigError(
                f"{' and '.join(missing)} missing: uploads are kept in S3 with all of these, or without any"
            )
        if self.s3_endpoint and not self.s3_endpoint.startswith(("http://", "https://")):
            raise ConfigError(f"PALAVER_S3_ENDPOINT={self.s3_endpoint}: http:// or https:// is missing")

    def _check_certificates(self) -> None:
        """TLS between processes has all of its files or none. Raises ConfigError."""
        files = {
            "PALAVER_GRPC_CERTIFICATE": self.grpc_certificate,
            "PALAVER_GRPC_KEY": self.grpc_key,
            "PALAVER_GRPC_AUTHORITY": self.grpc_authority,
        }
        missing = [name for name, path in files.items() if not path]
        if missing and len(missing) < len(files):
            raise ConfigError(f"{' and '.join(missing)} missing: TLS between processes takes all three files, or none")


def is_loopback(host: str) -> bool:
    """Whether only this machine is reached at that address."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _shown_host(host: str) -> str:
    return "localhost" if host in ("0.0.0.0", "::", "127.0.0.1") else host


def _parse(name: str, text: str, default: object) -> object:
    try:
        if isinstance(default, bool):
            if text.lower() in ("1", "true", "yes", "on"):
                return True
            if text.lower() in ("", "0", "false", "no", "off"):
                return False
            raise ValueError("not a yes or no")
        if isinstance(default, int):
            return int(text)
        if isinstance(default, float):
            return float(text)
        if isinstance(default, Path):
            return Path(text)
    except ValueError as error:
        raise ConfigError(f"{name}={text!r}: {error}") from error
    return text
