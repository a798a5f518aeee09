"""Runs the tests on real pods: `make test-cluster-real` (as root), with pytest's arguments behind it.

A kubelet changes the machine that it runs on: mounts, addresses, packet filters, processes. So the whole test run has
namespaces of its own for these, which the kernel clears away with its first process, however that ends. What is left
are empty cgroups, removed here.
"""

import argparse
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

from tests.cache import ServerUnavailable
from tests.kubernetes.real.images import write_images
from tests.kubernetes.real.node import CGROUPS, NODE_ADDRESS, get_cgroups
from tests.kubernetes.tools import CONTROL_PLANE, REAL_NODE, get_programs

HERE = Path(__file__).resolve().parent
TESTS = [str(HERE / name) for name in ("pods.py", "walk.py", "own_nats.py", "chaos.py")]
PODS_WEIGHT = 8
"""As much as so many processes is what all pods together get of a busy machine's processors."""
# Programs that Go can't build by itself, and the Debian packages that have them.
_NEEDED = {"runc": "runc", "nft": "nftables", "ip": "iproute2", "mount": "mount", "unshare": "util-linux"}
# What the kubelet and containerd keep at fixed places.
_PRIVATE = ("/run/netns", "/run/containerd", "/var/lib/kubelet", "/var/lib/cni", "/var/log/containers", "/var/log/pods")
# The kubelet insists on writing these, which are the machine's: it is shown files that already say what it wants.
_WANTED = {
    "vm/overcommit_memory": "1",
    "kernel/panic": "10",
    "kernel/panic_on_oops": "1",
    "kernel/keys/root_maxkeys": "1000000",
    "kernel/keys/root_maxbytes": "25000000",
}


def prepare() -> None:
    """Builds everything while there is a network. Raises ServerUnavailable."""
    if os.geteuid() != 0:
        raise ServerUnavailable("a kubelet needs root: sudo make test-cluster-real")
    missing = [package for program, package in _NEEDED.items() if shutil.which(program) is None]
    if missing:
        raise ServerUnavailable(f"not installed: {' '.join(missing)} (Debian's names)")
    get_programs(CONTROL_PLANE + REAL_NODE)
    write_images()


def run_inside(arguments: list[str]) -> int:
    """Runs pytest in namespaces of its own; returns its status when nothing of it is left."""
    cgroup = f"palaver-test-{os.getpid()}"
    for parent in get_cgroups():
        (parent / cgroup).mkdir()
        if parent.name == "cpuset":  # a child of an empty one could have no process
            for name in ("cpuset.cpus", "cpuset.mems"):
                (parent / cgroup / name).write_text((parent / name).read_text())
        if parent.name == "cpu":  # else all pods together count as much as one process outside
            (parent / cgroup / "cpu.shares").write_text(str(1024 * PODS_WEIGHT))
    unshare = ["unshare", "--net", "--mount", "--pid", "--fork", "--kill-child=KILL", "--mount-proc"]
    command = [*unshare, "--propagation=private", sys.executable, "-m", "tests.kubernetes.real", "--inside", cgroup]
    process = subprocess.Popen([*command, *arguments], cwd=HERE.parents[2])
    signal.signal(signal.SIGTERM, lambda number, frame: process.kill())  # and with it all that it holds
    try:
        while True:
            try:
                return process.wait()
            except KeyboardInterrupt:
                continue  # pytest has it, too, and ends in order
    finally:
        process.kill()
        process.wait()
        _remove_cgroups(cgroup)


def _remove_cgroups(cgroup: str) -> None:
    # Wherever runc has made some, too: with version 1 there is one hierarchy more, of version 2.
    for folder in [Path("/sys/fs/cgroup") / cgroup, *Path("/sys/fs/cgroup").glob(f"*/{cgroup}")]:
        for attempt in range(50):
            try:
                for each in [*sorted(folder.rglob("*/"), reverse=True), folder]:
                    if each.is_dir():
                        each.rmdir()
                break
            except OSError:
                if attempt == 49:
                    raise
                time.sleep(0.1)  # the last of its processes is just ending


def become_the_machine() -> None:
    """Gives the namespaces what a machine has: an address, a mount tree that can be shared, folders of its own."""
    for command in (
        "ip link set lo up",
        "ip link add node0 type veth peer name node0p",  # both ends are here: all that is wanted is an address
        f"ip addr add {NODE_ADDRESS}/24 dev node0",
        "ip link set node0 up",
        "ip link set node0p up",
        f"ip route add default via {NODE_ADDRESS.rpartition('.')[0]}.1 dev node0",
        "mount --make-rshared /",
    ):
        subprocess.run(command.split(), check=True)
    for folder in _PRIVATE:
        Path(folder).mkdir(parents=True, exist_ok=True)
        subprocess.run(["mount", "-t", "tmpfs", "tmpfs", folder], check=True)
    for name, value in _WANTED.items():
        shown = Path("/run/containerd") / name.replace("/", "-")
        shown.write_text(f"{value}\n")
        subprocess.run(["mount", "--bind", shown, f"/proc/sys/{name}"], check=True)
    Path("/proc/sys/net/ipv4/ip_forward").write_text("1")


def main() -> None:
    parser = argparse.ArgumentParser(prog="make test-cluster-real", description=__doc__.partition("\n")[0])
    parser.add_argument("--inside", metavar="CGROUP", help=argparse.SUPPRESS)
    given, arguments = parser.parse_known_args()
    if given.inside:
        become_the_machine()
        options = ["-p", "no:cacheprovider", "-o", "faulthandler_timeout=900", "-s", *(arguments or TESTS)]
        environment = {**os.environ, CGROUPS: given.inside}
        os.execve(sys.executable, [sys.executable, "-m", "pytest", *options], environment)
    try:
        prepare()
    except ServerUnavailable as error:
        sys.exit(f"make test-cluster-real: {error}")
    sys.exit(run_inside(arguments))


if __name__ == "__main__":
    main()
