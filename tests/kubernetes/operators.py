"""An operator as a process of its own, against the tests' Kubernetes; and the workspaces that it is given."""

import contextlib
import subprocess
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import yaml

from palaver_operator import __version__
from palaver_operator.cli import CRDS, read_crd
from tests import children
from tests.kubernetes.access import Access, Object
from tests.ports import free_port

PALAVERS = "palaver.chat/v1alpha1"


class Operator:
    """`palaver-operator run`. What it says of itself is at `url`."""

    def __init__(self, process: subprocess.Popen[bytes], port: int, log: Path) -> None:
        self.process = process
        self.url = f"http://127.0.0.1:{port}"
        self.log = log

    async def metrics(self) -> dict[str, float]:
        """Its metrics by name and labels, as the page has them."""
        async with httpx.AsyncClient(timeout=60) as http:
            text = (await http.get(f"{self.url}/metrics")).text
        lines = (line.rpartition(" ") for line in text.splitlines() if line and not line.startswith("#"))
        return {name: float(value) for name, _, value in lines}

    async def written(self) -> float:
        """How many objects it has written so far."""
        found = await self.metrics()
        return sum(value for name, value in found.items() if name.startswith("palaver_operator_objects_written_total"))

    async def leads(self) -> bool:
        return bool((await self.metrics())["palaver_operator_leads"])


@asynccontextmanager
async def running_operator(
    plane: Access,
    *namespaces: str,
    kubeconfig: Path | None = None,
    options: Sequence[str] = ("--lease", ""),
    version: str = __version__,
) -> AsyncIterator[Operator]:
    """An operator that looks after these namespaces, for as long as the block takes. `version`: that it takes itself
    to be of.
    """
    port = free_port()
    log = plane.folder / f"operator-{port}.log"
    program = (
        f"import palaver_operator as p; p.__version__ = {version!r}; from palaver_operator.cli import main; main()"
    )
    process = children.start(
        [
            *(sys.executable, "-c", program, "run", "--host", "127.0.0.1", "--port", str(port)),
            *(part for namespace in namespaces for part in ("--namespace", namespace)),
            *options,
        ],
        log,
        environment=plane.environment(kubeconfig),
    )
    operator = Operator(process, port, log)
    try:

        async def answers() -> bool:
            with contextlib.suppress(httpx.HTTPError):
                async with httpx.AsyncClient(timeout=5) as http:
                    return (await http.get(f"{operator.url}/readyz")).status_code == 200
            return False

        await plane.until(answers)
        yield operator
    except BaseException as error:
        state = "runs" if process.poll() is None else f"has ended with {process.returncode}"
        error.add_note(f"the operator {state}; the end of its log:\n{log.read_text()[-4000:]}")
        raise
    finally:
        if process.poll() is None:
            await children.stop(process)


@asynccontextmanager
async def operator_of(
    kubernetes: Access, namespace: str, release: str = "chat", version: str = __version__
) -> AsyncIterator[Operator]:
    """The operator as the release's pods would run it: its arguments, and its service account."""
    found = await kubernetes.get("apps/v1", "deployments", namespace, f"{release}-operator")
    pod = found["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert container["command"] == ["palaver-operator"]
    first, *options = container["args"]
    assert first == "run"
    account = await kubernetes.service_account(namespace, pod["serviceAccountName"])
    options += ["--metrics-url-template", "http://127.0.0.1:1/metrics"]  # where nobody listens, and who asks hears so
    options += ["--lease-seconds", "120"]  # whoever loses it ends, and here nobody starts it again
    async with running_operator(kubernetes, kubeconfig=account, options=options, version=version) as operator:
        yield operator


async def install_definitions(plane: Access) -> None:
    """The custom resources, as every test of the operator needs them."""
    await plane.kubectl("apply", "--server-side", "-f", "-", text="---\n".join(read_crd(name) for name in CRDS))
    names = [f"crd/{plural}.palaver.chat" for plural in ("palavers", "palaverbackups")]
    await plane.kubectl("wait", "--for=condition=Established", "--timeout=300s", *names)


def palaver(namespace: str, **spec: Any) -> Object:
    """A small workspace with servers of its own; None takes a field of the spec away."""
    usual = {
        "version": "0.1.0",
        "hostname": "chat.example.org",
        "mongodb": {"trial": {"storage": "1Gi"}},
        "nats": {"managed": {"replicas": 1, "storage": "1Gi"}},
        "drain": {"seconds": 1, "noticeSeconds": 0},
        "rollout": {"soakSeconds": 0},
    }
    found = {name: value for name, value in {**usual, **spec}.items() if value is not None}
    return {
        "apiVersion": PALAVERS,
        "kind": "Palaver",
        "metadata": {"name": "chat", "namespace": namespace},
        "spec": found,
    }


async def patch_spec(plane: Access, namespace: str, spec: Object) -> None:
    """Changes these fields of the workspace; None takes one away."""
    text = yaml.safe_dump({"spec": spec})
    await plane.kubectl("patch", "palaver", "chat", "-n", namespace, "--type=merge", f"--patch={text}")


async def get_deployment(plane: Access, namespace: str, role: str) -> Object:
    """The Deployment of one role."""
    return await plane.get("apps/v1", "deployments", namespace, f"chat-{role}")


def image_of(workload: Object) -> str:
    """What its first container is made from."""
    found: str = workload["spec"]["template"]["spec"]["containers"][0]["image"]
    return found


async def get_palaver(plane: Access, namespace: str) -> Object:
    return await plane.get(PALAVERS, "palavers", namespace, "chat")


async def until_state(plane: Access, namespace: str, state: str, seconds: float = 240) -> Object:
    """The workspace's status once it says this of itself, about what the resource says now."""

    async def look() -> Object | None:
        found = await get_palaver(plane, namespace)
        status: Object = found.get("status") or {}
        is_new = status.get("observedGeneration") == found["metadata"]["generation"]
        return status if is_new and status.get("state") == state else None

    try:
        return await plane.until(look, seconds)
    except TimeoutError as error:
        status = (await get_palaver(plane, namespace)).get("status")
        raise TimeoutError(f"not {state} after {seconds:.0f} s: {status}") from error
