"""The only module that talks to the Kubernetes API server: with aiohttp, which kopf brings along.

Measured on top of kopf's 41 MiB, a client library costs 6 (lightkube), 18 (kr8s) or 36 MiB (kubernetes_asyncio),
brings a second HTTP client or makes typed objects of everything that is listed. The objects here are plain
dictionaries, and seven requests are all that is needed. Used by mirror.py, reconcile.py, leader.py, handlers.py.
"""

import asyncio
import base64
import random
import ssl
import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import yaml

from palaver_operator.kinds import Kind
from palaver_operator.objects.naming import MANAGER, Object

_SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
_TIMEOUT_SECONDS = 15.0
_TOKEN_SECONDS = 60.0
_WATCH_SECONDS = 240
_PAGE = 250
_BUSY = (429, 502, 503, 504)  # not now: what was asked for was neither taken nor refused


class ApiError(Exception):
    """The API server refused. `status`: HTTP's."""

    def __init__(self, status: int, reason: str, message: str) -> None:
        super().__init__(message or f"HTTP {status}")
        self.status = status
        self.reason = reason


class Unreachable(ApiError):
    """The API server did not answer: down, too slow, or with too much to do."""

    def __init__(self, message: str) -> None:
        super().__init__(0, "Unreachable", message)


class KubeconfigError(Exception):
    """There is no way to the API server. The message says what is missing."""


@dataclass(frozen=True, slots=True)
class Access:
    """The way to an API server. Certificates and keys are PEM."""

    server: str
    authority: bytes | None = None
    token: str = ""
    token_file: Path | None = None
    certificate: bytes | None = None
    key: bytes | None = None
    namespace: str = "default"

    def read_token(self) -> str:
        """The token as it is now: a mounted one is replaced now and then."""
        return self.token_file.read_text().strip() if self.token_file is not None else self.token


def find_access(kubeconfig: Path | None, environment: Mapping[str, str]) -> Access:
    """By a kubeconfig (given, or KUBECONFIG), else that of the pod's service account. Raises KubeconfigError."""
    if kubeconfig is None and (named := environment.get("KUBECONFIG", "")):
        kubeconfig = Path(named)
    if kubeconfig is not None:
        return _read_kubeconfig(kubeconfig)
    host, port = environment.get("KUBERNETES_SERVICE_HOST", ""), environment.get("KUBERNETES_SERVICE_PORT", "443")
    if not host or not (_SERVICE_ACCOUNT / "token").exists():
        raise KubeconfigError("this is no pod with a service account: say --kubeconfig FILE, or set KUBECONFIG")
    return Access(
        server=f"https://{f'[{host}]' if ':' in host else host}:{port}",
        authority=(_SERVICE_ACCOUNT / "ca.crt").read_bytes(),
        token_file=_SERVICE_ACCOUNT / "token",
        namespace=(_SERVICE_ACCOUNT / "namespace").read_text().strip(),
    )


def _read_kubeconfig(path: Path) -> Access:
    def data(entry: Mapping[str, Any], name: str) -> bytes | None:
        if encoded := entry.get(f"{name}-data"):
            return base64.b64decode(encoded)
        return (path.parent / entry[name]).read_bytes() if name in entry else None

    try:
        config = yaml.safe_load(path.read_text())
        named = {
            section: {entry["name"]: entry[section.removesuffix("s")] for entry in config[section]}
            for section in ("contexts", "clusters", "users")
        }
        context = named["contexts"][config["current-context"]]
        cluster, user = named["clusters"][context["cluster"]], named["users"][context["user"]]
        access = Access(
            server=cluster["server"].rstrip("/"),
            authority=data(cluster, "certificate-authority"),
            token=user.get("token", ""),
            certificate=data(user, "client-certificate"),
            key=data(user, "client-key"),
            namespace=context.get("namespace", "default"),
        )
    except (OSError, yaml.YAMLError, KeyError, TypeError, AttributeError, ValueError) as error:
        raise KubeconfigError(f"{path} can't be used: {error!r}") from error
    if not access.token and access.certificate is None:
        raise KubeconfigError(
            f"{path}: the user has neither a token nor a certificate, which are all that is understood"
        )
    return access


class Kube:
    """A client. `close` ends it."""

    def __init__(self, access: Access) -> None:
        self._access = access
        self._session: aiohttp.ClientSession | None = None
        self._token = ""
        self._token_read = float("-inf")
        self.writes = 0  # requests that change something, of this client

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()

    async def find(self, kind: Kind, namespace: str, name: str) -> Object | None:
        try:
            return await self._request("GET", f"{kind.path(namespace)}/{name}")
        except ApiError as error:
            if error.status == 404:
                return None
            raise

    async def create(self, kind: Kind, built: Object) -> Object:
        """Raises ApiError with status 409 when there is one already."""
        return await self._write("POST", kind.path(_namespace(built)), built)

    async def replace(self, kind: Kind, changed: Object) -> Object:
        """Raises ApiError with status 409 when it was changed since it was read."""
        return await self._write("PUT", f"{kind.path(_namespace(changed))}/{changed['metadata']['name']}", changed)

    async def apply(self, kind: Kind, built: Object) -> Object:
        """Server-side apply: makes it, or has it say what we say.

        What others have said of our fields is overwritten.
        """
        path = f"{kind.path(_namespace(built))}/{built['metadata']['name']}"
        query = {"fieldManager": MANAGER, "force": "true"}
        return await self._write("PATCH", path, built, "application/apply-patch+yaml", query)

    async def patch(self, kind: Kind, namespace: str, name: str, change: Object, subresource: str = "") -> Object:
        """A merge patch of some fields."""
        path = f"{kind.path(namespace)}/{name}{'/' if subresource else ''}{subresource}"
        return await self._write("PATCH", path, change, "application/merge-patch+json", {"fieldManager": MANAGER})

    async def delete(self, kind: Kind, namespace: str, name: str) -> None:
        """What hangs on it goes in the background. One that is gone already is fine."""
        options = {"apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": "Background"}
        try:
            await self._write("DELETE", f"{kind.path(namespace)}/{name}", options)
        except ApiError as error:
            if error.status != 404:
                raise

    async def list(self, kind: Kind, namespace: str | None, selector: str) -> tuple[list[Object], str]:
        """All objects that a selector of labels finds, and the version from which to watch on."""
        found: list[Object] = []
        query = {"limit": str(_PAGE)} | ({"labelSelector": selector} if selector else {})
        while True:
            page = await self._request("GET", kind.path(namespace), query=query)
            found += page.get("items") or []
            if not (following := page["metadata"].get("continue")):
                return found, page["metadata"]["resourceVersion"]
            query["continue"] = following

    async def watch(
        self, kind: Kind, namespace: str | None, selector: str, version: str
    ) -> AsyncIterator[tuple[str, Object]]:
        """What happens after `version`, as (ADDED, MODIFIED, DELETED or BOOKMARK; the object). Ends after some minutes.

        Raises ApiError with status 410 when `version` is too old: list again.
        """
        seconds = _WATCH_SECONDS + random.randint(0, 60)
        query = {"watch": "true", "resourceVersion": version, "timeoutSeconds": str(seconds)}
        query |= {"allowWatchBookmarks": "true"} | ({"labelSelector": selector} if selector else {})
        timeout = aiohttp.ClientTimeout(total=seconds + 30, sock_connect=_TIMEOUT_SECONDS)
        try:
            async with self._open().get(
                self._access.server + kind.path(namespace), params=query, headers=self._headers(), timeout=timeout
            ) as response:
                await _check(response)
                rest = b""
                async for chunk in response.content.iter_any():
                    *lines, rest = (rest + chunk).split(b"\n")
                    for line in filter(None, lines):
                        event = msgspec.json.decode(line)
                        if event["type"] == "ERROR":
                            told = event["object"]
                            raise ApiError(told.get("code", 500), told.get("reason", ""), told.get("message", ""))
                        yield event["type"], event["object"]
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise Unreachable(f"the watch of {kind.plural} broke: {error!r}") from error

    async def _write(
        self,
        method: str,
        path: str,
        body: Object,
        content: str = "application/json",
        query: Mapping[str, str] | None = None,
    ) -> Object:
        self.writes += 1
        return await self._request(method, path, body, content, query)

    async def _request(
        self,
        method: str,
        path: str,
        body: Object | None = None,
        content: str = "application/json",
        query: Mapping[str, str] | None = None,
    ) -> Object:
        headers = self._headers() | ({"Content-Type": content} if body is not None else {})
        data = msgspec.json.encode(body) if body is not None else None
        try:
            async with self._open().request(
                method, self._access.server + path, params=query, data=data, headers=headers
            ) as response:
                await _check(response)
                answer: Object = msgspec.json.decode(await response.read())
                return answer
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise Unreachable(f"{method} {path}: {error!r}") from error

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            timeout = aiohttp.ClientTimeout(total=_TIMEOUT_SECONDS)
            connector = aiohttp.TCPConnector(ssl=self._tls(), limit=64)
            self._session = aiohttp.ClientSession(connector=connector, timeout=timeout)
        return self._session

    def _tls(self) -> ssl.SSLContext | bool:
        access = self._access
        if not access.server.startswith("https://"):
            return True
        context = ssl.create_default_context(cadata=access.authority.decode() if access.authority else None)
        if access.certificate is not None and access.key is not None:
            load_client_certificate(context, access.certificate, access.key)
        return context

    def _headers(self) -> dict[str, str]:
        now = time.monotonic()
        if now >= self._token_read + _TOKEN_SECONDS:
            self._token, self._token_read = self._access.read_token(), now
        return {"Authorization": f"Bearer {self._token}"} if self._token else {}


def load_client_certificate(context: ssl.SSLContext, certificate: bytes, key: bytes) -> None:
    """The standard library takes these from a file alone: one that only this user can read, and gone at once."""
    import tempfile

    with tempfile.NamedTemporaryFile() as file:
        file.write(certificate + b"\n" + key)
        file.flush()
        context.load_cert_chain(file.name)


async def _check(response: aiohttp.ClientResponse) -> None:
    if response.status < 400:
        return
    text = await response.read()
    try:
        told = msgspec.json.decode(text)
        reason, message = told.get("reason", ""), told.get("message", "")
    except (msgspec.DecodeError, AttributeError):
        reason, message = "", text.decode(errors="replace")[:500]
    if response.status in _BUSY:
        raise Unreachable(f"HTTP {response.status}: {message}")
    raise ApiError(response.status, reason, message)


def _namespace(built: Object) -> str:
    namespace: str = built["metadata"]["namespace"]
    return namespace


async def pause(seconds: float) -> None:
    """A little more or less than this, so that not everybody comes back at once."""
    await asyncio.sleep(seconds * random.uniform(0.8, 1.2))
