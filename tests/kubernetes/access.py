"""Talking to a Kubernetes as its administrator: its REST API, kubectl, helm, and what tests wait for.

A control plane (control_plane.py) is one that tests started, and that they stop.
"""

import asyncio
import os
import secrets
import ssl
import subprocess
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

import httpx
import orjson

COMMAND_SECONDS = 600.0

Object = dict[str, Any]
"""A Kubernetes object, as JSON has it."""
Answer = TypeVar("Answer")


class CommandFailed(Exception):
    """A program ended with another status than 0; the message is what it said."""


class Access:
    """What an administrator can ask of it. `bin` has kubectl, helm and the rest, `kubeconfig` is for them."""

    def __init__(self, folder: Path, programs: Mapping[str, Path], url: str) -> None:
        """`folder`: with the administrator's certificate in `keys`. `programs`: those of tools.CONTROL_PLANE."""
        self.folder = folder
        self.programs = programs
        self.url = url
        self.bin = folder / "bin"
        self.keys = folder / "keys"
        self.kubeconfig = folder / "admin.kubeconfig"
        self._context: ssl.SSLContext | None = None

    def ssl_context(self) -> ssl.SSLContext:
        """For a client that is the administrator."""
        if self._context is None:
            self._context = ssl.create_default_context(cafile=self.keys / "ca.crt")
            self._context.load_cert_chain(self.keys / "admin.crt", self.keys / "admin.key")
        return self._context

    async def request(self, method: str, path: str, body: Object | None = None) -> Object:
        """One request of the API, as the administrator. Raises httpx.HTTPStatusError."""
        async with httpx.AsyncClient(base_url=self.url, verify=self.ssl_context(), timeout=60) as http:
            answer = await http.request(method, path, json=body)
        answer.raise_for_status()
        found: Object = answer.json()
        return found

    async def get(self, version: str, plural: str, namespace: str, name: str) -> Object:
        """The object, such as `get("apps/v1", "deployments", "chat", "chat-auth")`. Raises httpx.HTTPStatusError."""
        return await self.request("GET", f"{_path(version, plural, namespace)}/{name}")

    async def find(self, version: str, plural: str, namespace: str, name: str) -> Object | None:
        """The same, or None if there is none."""
        try:
            return await self.get(version, plural, namespace, name)
        except httpx.HTTPStatusError as error:
            if error.response.status_code == 404:
                return None
            raise

    async def list_objects(self, version: str, plural: str, namespace: str = "", labels: str = "") -> list[Object]:
        """Every object of a kind, of all namespaces without one; `labels` is a selector."""
        path = _path(version, plural, namespace)
        found = await self.request("GET", str(httpx.URL(path, params={"labelSelector": labels} if labels else {})))
        return list(found["items"])

    async def apply(self, *objects: Object) -> None:
        """kubectl's server-side apply."""
        text = orjson.dumps({"apiVersion": "v1", "kind": "List", "items": list(objects)}).decode()
        await self.kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", text=text)

    async def kubectl(self, *arguments: str, text: str = "", kubeconfig: Path | None = None) -> str:
        """What kubectl prints, given `text` on its standard input. Raises CommandFailed."""
        return await self.run("kubectl", *arguments, text=text, kubeconfig=kubeconfig)

    async def helm(self, *arguments: str, text: str = "", kubeconfig: Path | None = None) -> str:
        """What helm prints. Raises CommandFailed."""
        return await self.run("helm", *arguments, text=text, kubeconfig=kubeconfig)

    async def run(self, program: str, *arguments: str, text: str = "", kubeconfig: Path | None = None) -> str:
        """What a program of `bin` prints, run as the administrator unless told otherwise. Raises CommandFailed."""
        done = await asyncio.to_thread(
            lambda: subprocess.run(
                [self.programs[program], *arguments],
                input=text.encode(),
                capture_output=True,
                timeout=COMMAND_SECONDS,
                env=self.environment(kubeconfig),
            )
        )
        if done.returncode:
            said = (done.stdout + done.stderr).decode(errors="replace").strip()
            raise CommandFailed(f"{program} {' '.join(arguments)}: status {done.returncode}\n{said}")
        return done.stdout.decode()

    def environment(self, kubeconfig: Path | None = None) -> dict[str, str]:
        """The variables of a program that talks to it: kubectl, helm, an operator in a process of its own."""
        return {
            **{name: value for name, value in os.environ.items() if not name.startswith(("PALAVER_", "HELM_"))},
            "KUBECONFIG": str(kubeconfig or self.kubeconfig),
            "HELM_CACHE_HOME": str(self.folder / "helm"),
            "HELM_CONFIG_HOME": str(self.folder / "helm"),
            "HELM_DATA_HOME": str(self.folder / "helm"),
            "PATH": f"{self.bin}{os.pathsep}{os.environ.get('PATH', '')}",
        }

    async def service_account(self, namespace: str, name: str) -> Path:
        """A kubeconfig with which a program is this service account, as its pods would be."""
        token = await self.kubectl("create", "token", name, "-n", namespace, "--duration=24h")
        file = self.folder / f"{namespace}-{name}.kubeconfig"
        self.write_kubeconfig(file, {"token": token.strip()}, namespace)
        return file

    async def until(self, ask: Callable[[], Awaitable[Answer | None]], seconds: float = 120.0) -> Answer:
        """What `ask` says once it says something else than None or False. Raises TimeoutError with its last answer."""
        deadline = time.monotonic() + seconds
        while True:
            answer = await ask()
            if answer is not None and answer is not False:
                return answer
            if time.monotonic() > deadline:
                raise TimeoutError(f"{ask} still said {answer!r} after {seconds:.0f} s")
            await asyncio.sleep(0.1)

    @asynccontextmanager
    async def namespace(self) -> AsyncIterator[str]:
        """A new namespace, for as long as the block takes; what is in it goes with it."""
        name = f"test-{secrets.token_hex(4)}"
        await self.request("POST", "/api/v1/namespaces", {"metadata": {"name": name}})
        try:
            await self.until(lambda: self.find("v1", "serviceaccounts", name, "default"))
            yield name
        finally:
            await self.request("DELETE", f"/api/v1/namespaces/{name}")

    def write_kubeconfig(self, file: Path, user: Mapping[str, str], namespace: str = "default") -> None:
        cluster = {"server": self.url, "certificate-authority": str(self.keys / "ca.crt")}
        content = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "test", "cluster": cluster}],
            "users": [{"name": "user", "user": user}],
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": "user", "namespace": namespace}}],
            "current-context": "test",
        }
        file.touch(mode=0o600)
        file.write_bytes(orjson.dumps(content))


def _path(version: str, plural: str, namespace: str) -> str:
    root = f"/apis/{version}" if "/" in version else f"/api/{version}"
    return f"{root}/namespaces/{namespace}/{plural}" if namespace else f"{root}/{plural}"
