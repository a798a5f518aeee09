"""A real Kubernetes for tests: etcd, API server, controller manager, scheduler, and kwok, which plays the nodes.

Used by the fixture `kubernetes` (conftest.py) and, with a real node in place of kwok's, by real/node.py. Everything
listens on free loopback ports and ends with the test run.
"""

import asyncio
import contextlib
import itertools
import subprocess
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import orjson

from tests import children
from tests.kubernetes.access import Access, Object
from tests.kubernetes.certificates import Authority, write_signing_key
from tests.ports import free_port

SERVICE_ADDRESSES = "10.97.0.0/16"
POD_ADDRESSES = "10.98.0.0/16"
NODE_NAME = "real"
"""The name of the node that may have a kubelet (real/node.py)."""
START_SECONDS = 90.0


# The class whose volumes kwok plays, too; that of every claim which asks for none.
_STORAGE: Object = {
    "metadata": {"name": "kwok-volume", "annotations": {"storageclass.kubernetes.io/is-default-class": "true"}},
    "provisioner": "kwok.x-k8s.io/volume",
}


class ControlPlane(Access):
    """A control plane of its own. `kubeconfig` is an administrator's; `bin` has kubectl, helm and the rest."""

    def __init__(self, folder: Path, programs: Mapping[str, Path], address: str = "127.0.0.1") -> None:
        """`programs`: those of tools.CONTROL_PLANE. `address`: where nodes and pods reach the API server."""
        self.address = address
        self.port = free_port()
        super().__init__(folder, programs, f"https://{address}:{self.port}")
        self._etcd_port, self._peer_port = free_port(), free_port()
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._nodes = itertools.count()

    # -- its life ------------------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Starts all but the nodes, and returns when it serves. Raises ServerUnavailable."""
        for folder in (self.bin, self.folder / "logs", self.folder / "helm"):
            folder.mkdir(parents=True)
        for name, program in self.programs.items():
            (self.bin / name).symlink_to(program)
        await asyncio.to_thread(self._write_keys)
        self._launch(
            "etcd",
            f"--data-dir={self.folder / 'etcd'}",
            f"--listen-client-urls=http://127.0.0.1:{self._etcd_port}",
            f"--advertise-client-urls=http://127.0.0.1:{self._etcd_port}",
            f"--listen-peer-urls=http://127.0.0.1:{self._peer_port}",
            f"--initial-advertise-peer-urls=http://127.0.0.1:{self._peer_port}",
            f"--initial-cluster=default=http://127.0.0.1:{self._peer_port}",
            "--unsafe-no-fsync",
        )
        await self.start_api_server()
        self._launch("kube-controller-manager", *self._controller_manager())
        self._launch("kube-scheduler", *self._scheduler())
        if self.address == "127.0.0.1":
            self._launch(
                "kwok",
                f"--config={self.programs['stages.yaml']}",
                f"--kubeconfig={self.folder / 'kwok.kubeconfig'}",
                "--manage-all-nodes=false",
                "--manage-nodes-with-annotation-selector=kwok.x-k8s.io/node=fake",
                "--node-lease-duration-seconds=40",
                f"--cidr={POD_ADDRESSES}",
                "--node-ip=127.0.0.1",
                f"--server-address=127.0.0.1:{free_port()}",
            )
            await self.request("POST", "/apis/storage.k8s.io/v1/storageclasses", _STORAGE)
        # The controller manager makes it: without it no pod can be.
        await self.until(lambda: self.find("v1", "serviceaccounts", "default", "default"))

    async def stop(self) -> None:
        """Stops everything, callers first."""
        for process in reversed(self._processes.values()):
            await children.stop(process)
        self._processes.clear()

    async def start_api_server(self) -> None:
        """Starts the API server where it was, and returns when it is ready."""
        process = self._launch("kube-apiserver", *self._api_server())
        context = self.ssl_context()

        def is_ready() -> bool | None:
            with contextlib.suppress(httpx.HTTPError):
                return httpx.get(f"{self.url}/readyz", verify=context, timeout=2).status_code == 200 or None
            return None

        await children.until("kube-apiserver", process, self._log("kube-apiserver"), is_ready, START_SECONDS)

    async def stop_api_server(self) -> None:
        """Ends the API server, as an upgrade of the control plane does. `start_api_server` brings it back."""
        await children.stop(self._processes["kube-apiserver"])

    def log(self, name: str) -> str:
        """What a process of it has written so far."""
        return self._log(name).read_text(errors="replace")

    def _log(self, name: str) -> Path:
        return self.folder / "logs" / f"{name}.log"

    def _launch(self, name: str, *options: str) -> subprocess.Popen[bytes]:
        process = children.start([self.programs[name], *options], self._log(name))
        self._processes[name] = process  # started again, it keeps its place in the order of stopping
        return process

    # -- simulated nodes and namespaces --------------------------------------------------------------------------------

    async def add_nodes(self, count: int) -> list[str]:
        """Adds simulated nodes in three zones, with room for 250 pods each; returns their names when they are ready."""
        numbers = list(itertools.islice(self._nodes, count))
        text = orjson.dumps({"apiVersion": "v1", "kind": "List", "items": [_node(number) for number in numbers]})
        await self.kubectl("create", "-f", "-", text=text.decode())
        names = [_node_name(number) for number in numbers]
        await self.kubectl("wait", "--for=condition=Ready", "--timeout=300s", *(f"node/{name}" for name in names))
        return names

    # -- what its processes are told -----------------------------------------------------------------------------------

    def _write_keys(self) -> None:
        authority = Authority(self.keys)
        names = [f"kubernetes{rest}" for rest in ("", ".default", ".default.svc", ".default.svc.cluster.local")]
        hosts = ["localhost", *names, *{"127.0.0.1", "10.97.0.1", self.address}]
        authority.issue("apiserver", "kube-apiserver", hosts=hosts)
        authority.issue("admin", "admin", ["system:masters"])
        authority.issue("kubelet-client", "kube-apiserver-kubelet-client", ["system:masters"])
        authority.issue("front-proxy", "front-proxy-client")
        write_signing_key(self.keys)
        self.write_kubeconfig(self.kubeconfig, self._certificate("admin"))
        users = {
            "controller-manager": "system:kube-controller-manager",
            "scheduler": "system:kube-scheduler",
            "proxy": "system:kube-proxy",
        }
        for file, user in users.items():
            authority.issue(file, user)
        authority.issue("kwok", "kwok", ["system:masters"])
        authority.issue("kubelet", f"system:node:{NODE_NAME}", ["system:nodes"], [NODE_NAME, self.address])
        for file in (*users, "kwok", "kubelet"):
            self.write_kubeconfig(self.folder / f"{file}.kubeconfig", self._certificate(file))

    def _certificate(self, name: str) -> dict[str, str]:
        return {
            "client-certificate": str(self.keys / f"{name}.crt"),
            "client-key": str(self.keys / f"{name}.key"),
        }

    def _api_server(self) -> Sequence[str]:
        keys = self.keys
        # An API server that only loopback reaches is no endpoint that pods could use.
        reconciler = ["--endpoint-reconciler-type=none"] if self.address == "127.0.0.1" else []
        return [
            f"--etcd-servers=http://127.0.0.1:{self._etcd_port}",
            f"--bind-address={self.address}",
            f"--advertise-address={self.address}",
            f"--secure-port={self.port}",
            *reconciler,
            f"--service-cluster-ip-range={SERVICE_ADDRESSES}",
            "--authorization-mode=Node,RBAC",
            "--enable-admission-plugins=NodeRestriction",
            f"--client-ca-file={keys / 'ca.crt'}",
            f"--tls-cert-file={keys / 'apiserver.crt'}",
            f"--tls-private-key-file={keys / 'apiserver.key'}",
            "--service-account-issuer=https://kubernetes.default.svc",
            f"--service-account-key-file={keys / 'service-accounts.pub'}",
            f"--service-account-signing-key-file={keys / 'service-accounts.key'}",
            "--kubelet-preferred-address-types=InternalIP",
            f"--kubelet-client-certificate={keys / 'kubelet-client.crt'}",
            f"--kubelet-client-key={keys / 'kubelet-client.key'}",
            f"--kubelet-certificate-authority={keys / 'ca.crt'}",
            f"--requestheader-client-ca-file={keys / 'ca.crt'}",
            "--requestheader-allowed-names=front-proxy-client",
            "--requestheader-username-headers=X-Remote-User",
            "--requestheader-group-headers=X-Remote-Group",
            "--requestheader-extra-headers-prefix=X-Remote-Extra-",
            f"--proxy-client-cert-file={keys / 'front-proxy.crt'}",
            f"--proxy-client-key-file={keys / 'front-proxy.key'}",
        ]

    def _controller_manager(self) -> Sequence[str]:
        kubeconfig = self.folder / "controller-manager.kubeconfig"
        return [
            f"--kubeconfig={kubeconfig}",
            f"--authentication-kubeconfig={kubeconfig}",
            f"--authorization-kubeconfig={kubeconfig}",
            "--bind-address=127.0.0.1",
            f"--secure-port={free_port()}",
            "--leader-elect=false",
            "--use-service-account-credentials=true",
            f"--service-account-private-key-file={self.keys / 'service-accounts.key'}",
            f"--root-ca-file={self.keys / 'ca.crt'}",
            f"--cluster-cidr={POD_ADDRESSES}",
            f"--service-cluster-ip-range={SERVICE_ADDRESSES}",
            # The defaults make a thousand pods wait for their own controller.
            "--kube-api-qps=300",
            "--kube-api-burst=600",
        ]

    def _scheduler(self) -> Sequence[str]:
        kubeconfig = self.folder / "scheduler.kubeconfig"
        configuration = self.folder / "scheduler.yaml"
        configuration.write_bytes(
            orjson.dumps(
                {
                    "apiVersion": "kubescheduler.config.k8s.io/v1",
                    "kind": "KubeSchedulerConfiguration",
                    "leaderElection": {"leaderElect": False},
                    "clientConnection": {"kubeconfig": str(kubeconfig), "qps": 500, "burst": 1000},
                }
            )
        )
        return [
            f"--config={configuration}",
            f"--authentication-kubeconfig={kubeconfig}",
            f"--authorization-kubeconfig={kubeconfig}",
            "--bind-address=127.0.0.1",
            f"--secure-port={free_port()}",
        ]


def _node_name(number: int) -> str:
    return f"simulated-{number:04}"


def _node(number: int) -> Object:
    room = {"cpu": "64", "memory": "256Gi", "pods": "250", "ephemeral-storage": "500Gi"}
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {
            "name": _node_name(number),
            "annotations": {"kwok.x-k8s.io/node": "fake"},
            "labels": {
                "kubernetes.io/os": "linux",
                "kubernetes.io/arch": "amd64",
                "kubernetes.io/hostname": _node_name(number),
                "topology.kubernetes.io/zone": f"zone-{number % 3}",
            },
        },
        "status": {"allocatable": room, "capacity": room},
    }


@asynccontextmanager
async def running_control_plane(
    folder: Path, programs: Mapping[str, Path], address: str = "127.0.0.1"
) -> AsyncIterator[ControlPlane]:
    """A control plane that serves, for as long as the block takes."""
    plane = ControlPlane(folder, programs, address)
    try:
        await plane.start()
        yield plane
    finally:
        await plane.stop()
