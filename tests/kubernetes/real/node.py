"""A real node for a test's control plane: containerd, kubelet and kube-proxy, with images that were written before.

Only inside the namespaces that `python -m tests.kubernetes.real` makes: it changes the machine that it runs on.
"""

import asyncio
import os
import shutil
import socket
import subprocess
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import orjson

from tests import children
from tests.cache import ServerUnavailable, run
from tests.kubernetes.control_plane import NODE_NAME, POD_ADDRESSES, ControlPlane

CGROUPS = "TEST_CGROUP"
"""The variable that names the parent of every cgroup that a node makes."""
NODE_ADDRESS = "10.99.0.2"
DNS_ADDRESS = "10.97.0.10"
DNS_DOMAIN = "cluster.local"
PAUSE = "palaver.test/pause:1"
READY_SECONDS = 60.0


def get_cgroups() -> list[Path]:
    """Where a cgroup has to be made: one folder, or with version 1 one for each controller."""
    root = Path("/sys/fs/cgroup")
    if (root / "cgroup.controllers").exists():
        return [root]
    names = ("blkio", "cpu", "cpuacct", "cpuset", "devices", "freezer", "memory", "pids", "systemd")
    return [root / name for name in names if (root / name).is_dir()]


class RealNode:
    """The one node of a control plane, on which pods run."""

    def __init__(self, plane: ControlPlane, programs: Mapping[str, Path]) -> None:
        self.plane = plane
        self.folder = plane.folder / "node"
        self._programs = programs
        self._socket = self.folder / "containerd.sock"
        self._processes: dict[str, subprocess.Popen[bytes]] = {}

    async def start(self, images: Sequence[Path]) -> None:
        """Starts it and returns when it is ready for pods of these images. Raises ServerUnavailable."""
        cgroup = os.environ.get(CGROUPS)
        if not cgroup or "node0" not in [name for _, name in socket.if_nameindex()]:
            raise ServerUnavailable("a real node changes the machine that it runs on: make test-cluster-real")
        (self.folder / "network").mkdir(parents=True)
        (self.folder / "network-plugins").mkdir()
        for name in ("ptp", "host-local", "loopback", "portmap"):
            (self.folder / "network-plugins" / name).symlink_to(self._programs[name])
        self._write_network()
        await self._start_containerd()
        for image in images:
            await self.ctr("images", "import", str(image))
        (self.folder / "resolv.conf").write_text("nameserver 127.0.0.1\n")
        kubelet = self._write("kubelet.json", self._kubelet(cgroup))
        self._launch(
            "kubelet",
            f"--config={kubelet}",
            f"--kubeconfig={self.plane.folder / 'kubelet.kubeconfig'}",
            f"--root-dir={self.folder / 'kubelet'}",
            f"--cert-dir={self.folder / 'kubelet-certificates'}",
            f"--hostname-override={NODE_NAME}",
            f"--node-ip={NODE_ADDRESS}",
            "--node-labels=topology.kubernetes.io/zone=zone-0",
        )
        self._launch("kube-proxy", f"--config={self._write('proxy.json', self._proxy())}")
        await self.plane.kubectl("wait", "--for=create", "--timeout=60s", f"node/{NODE_NAME}")
        await self.plane.kubectl("wait", "--for=condition=Ready", "--timeout=60s", f"node/{NODE_NAME}")

    async def stop(self) -> None:
        """Stops its programs. Its pods end with the namespaces of the test run."""
        for process in reversed(self._processes.values()):
            await children.stop(process)

    def log(self, name: str) -> str:
        """What a program of it has written so far."""
        return self._log(name).read_text(errors="replace")

    async def ctr(self, *arguments: str) -> None:
        """Runs containerd's own client. Raises ServerUnavailable."""
        command = [str(self._programs["ctr"]), "--address", str(self._socket), "--namespace", "k8s.io", *arguments]
        await asyncio.to_thread(run, *command, seconds=300)

    # -- its programs --------------------------------------------------------------------------------------------------

    def _log(self, name: str) -> Path:
        return self.folder / f"{name}.log"

    def _launch(self, name: str, *options: str) -> subprocess.Popen[bytes]:
        # containerd looks for its shim on PATH, the kubelet for mount, kube-proxy for nft.
        path = os.pathsep.join(
            [str(self._programs["containerd-shim-runc-v2"].parent), os.environ["PATH"], "/usr/sbin", "/sbin"]
        )
        environment = {"PATH": path}
        process = children.start([self._programs[name], *options], self._log(name), environment=environment)
        self._processes[name] = process
        return process

    async def _start_containerd(self) -> None:
        runc = shutil.which("runc")
        if runc is None:
            raise ServerUnavailable("runc is not installed")
        configuration = self.folder / "containerd.toml"
        configuration.write_text(
            f"""\
version = 3
root = "{self.folder / "containerd"}"
state = "/run/containerd/state"
[grpc]
  address = "{self._socket}"
[plugins."io.containerd.cri.v1.images"]
  snapshotter = "overlayfs"
  [plugins."io.containerd.cri.v1.images".pinned_images]
    sandbox = "{PAUSE}"
[plugins."io.containerd.cri.v1.runtime"]
  disable_apparmor = true
  # A machine whose root may not have CAP_SYS_RESOURCE can't lower a score.
  restrict_oom_score_adj = true
  [plugins."io.containerd.cri.v1.runtime".cni]
    bin_dirs = ["{self.folder / "network-plugins"}"]
    conf_dir = "{self.folder / "network"}"
  [plugins."io.containerd.cri.v1.runtime".containerd]
    default_runtime_name = "runc"
    [plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
      [plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc.options]
        SystemdCgroup = false
        BinaryName = "{runc}"
"""
        )
        process = self._launch("containerd", "--config", str(configuration))

        def answers() -> bool | None:
            command = [str(self._programs["ctr"]), "--address", str(self._socket), "version"]
            return subprocess.run(command, capture_output=True, timeout=10).returncode == 0 or None

        await children.until("containerd", process, self._log("containerd"), answers)

    def _write(self, name: str, content: object) -> Path:
        file = self.folder / name
        file.write_bytes(orjson.dumps(content))
        return file

    def _write_network(self) -> None:
        # Each pod has a link and a route of its own: no bridge, so that what passes is always routed and filtered.
        addresses = {"type": "host-local", "dataDir": "/var/lib/cni/networks", "ranges": [[{"subnet": POD_ADDRESSES}]]}
        plugins = [{"type": "ptp", "ipam": {**addresses, "routes": [{"dst": "0.0.0.0/0"}]}}]
        self._write("network/10-test.conflist", {"cniVersion": "1.0.0", "name": "test", "plugins": plugins})

    def _kubelet(self, cgroup: str) -> object:
        keys = self.plane.keys
        return {
            "apiVersion": "kubelet.config.k8s.io/v1beta1",
            "kind": "KubeletConfiguration",
            "authentication": {
                "anonymous": {"enabled": False},
                "webhook": {"enabled": True},
                "x509": {"clientCAFile": str(keys / "ca.crt")},
            },
            "authorization": {"mode": "Webhook"},
            "tlsCertFile": str(keys / "kubelet.crt"),
            "tlsPrivateKeyFile": str(keys / "kubelet.key"),
            "address": NODE_ADDRESS,
            "cgroupDriver": "cgroupfs",
            "cgroupRoot": f"/{cgroup}",
            "failCgroupV1": False,
            "failSwapOn": False,
            "containerRuntimeEndpoint": f"unix://{self._socket}",
            "clusterDomain": DNS_DOMAIN,
            "clusterDNS": [DNS_ADDRESS],
            "resolvConf": str(self.folder / "resolv.conf"),
            "podLogsDir": str(self.folder / "pods"),
            "enforceNodeAllocatable": ["pods"],
            "evictionHard": {"memory.available": "100Mi", "nodefs.available": "1%", "imagefs.available": "1%"},
            "imageGCHighThresholdPercent": 100,
            "imageGCLowThresholdPercent": 99,
            "eventRecordQPS": 50,
            "kubeAPIQPS": 100,
            "kubeAPIBurst": 200,
            "maxPods": 200,
        }

    def _proxy(self) -> object:
        return {
            "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
            "kind": "KubeProxyConfiguration",
            "mode": "nftables",
            "bindAddress": "0.0.0.0",
            "healthzBindAddress": "127.0.0.1:10256",
            "metricsBindAddress": "127.0.0.1:10249",
            "clusterCIDR": POD_ADDRESSES,
            "hostnameOverride": NODE_NAME,
            "clientConnection": {"kubeconfig": str(self.plane.folder / "proxy.kubeconfig")},
            # Limits of the whole machine: not ours to set.
            "conntrack": {"maxPerCore": 0, "min": 0, "tcpEstablishedTimeout": "0s", "tcpCloseWaitTimeout": "0s"},
        }


@asynccontextmanager
async def running_node(
    plane: ControlPlane, programs: Mapping[str, Path], images: Sequence[Path]
) -> AsyncIterator[RealNode]:
    """A node that is ready, for as long as the block takes."""
    node = RealNode(plane, programs)
    try:
        await node.start(images)
        yield node
    finally:
        await node.stop()
