"""The programs of Kubernetes and around it that the tests run: built by Go from its module proxy, once a machine.

    python -m tests.kubernetes.tools            # for a control plane with simulated nodes: `make kubernetes-tools`
    python -m tests.kubernetes.tools real-node  # and for real pods

Each module's programs are a folder of the test cache, named by its version. One process builds at a time; others wait
for what it builds. What Go keeps while it builds (some gigabytes) goes when all is there.
"""

import argparse
import os
import shutil
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

from tests.cache import ServerUnavailable, built, cache_directory, locked, run

KUBERNETES_VERSION = "1.36.3"
BUILD_SECONDS = 1800.0
"""The longest that one program may take."""

_MINOR = KUBERNETES_VERSION.split(".")[1]
_VERSION = "k8s.io/component-base/version"


@dataclass(frozen=True)
class GoModule:
    """A module and those of its programs that are wanted."""

    name: str
    path: str
    version: str
    programs: Mapping[str, str]  # name → package; "." is that of `main`
    tags: str = ""
    values: Mapping[str, str] = field(default_factory=dict)  # of variables that its linker sets
    main: str = ""  # the source of a program of our own over the module's packages
    with_kubernetes: bool = False  # with Kubernetes' versions of what both need: by then those are compiled
    files: Mapping[str, Sequence[str]] = field(default_factory=dict)  # name → patterns of files of the module, joined

    @property
    def key(self) -> str:
        """The folder of the cache."""
        return f"{self.name}-{self.version}"


_KUBERNETES = "k8s.io/kubernetes"
# Modules of its repository, which its own go.mod knows as v0.0.0.
_STAGED_VERSION = f"v0.{KUBERNETES_VERSION.partition('.')[2]}"


def _kubernetes(name: str, *programs: str) -> GoModule:
    return GoModule(
        name,
        _KUBERNETES,
        f"v{KUBERNETES_VERSION}",
        {program: f"{_KUBERNETES}/cmd/{program}" for program in programs},
        values={
            f"{_VERSION}.gitVersion": f"v{KUBERNETES_VERSION}",
            f"{_VERSION}.gitMajor": "1",
            f"{_VERSION}.gitMinor": _MINOR,
            f"{_VERSION}.gitTreeState": "clean",
            "k8s.io/client-go/pkg/version.gitVersion": f"v{KUBERNETES_VERSION}",
        },
        with_kubernetes=True,
    )


CONTROL_PLANE = (
    _kubernetes("kubernetes", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubectl"),
    # The version that this Kubernetes itself asks for.
    GoModule("etcd", "go.etcd.io/etcd/server/v3", "v3.6.8", {"etcd": "go.etcd.io/etcd/server/v3"}),
    GoModule(
        "kwok",
        "sigs.k8s.io/kwok",
        "v0.8.0",
        {"kwok": "sigs.k8s.io/kwok/cmd/kwok"},
        with_kubernetes=True,
        files={
            "stages.yaml": (
                "kustomize/stage/node/fast/node-*.yaml",
                "kustomize/stage/node/heartbeat-with-lease/node-*.yaml",
                "kustomize/stage/pod/fast/pod-*.yaml",
                "kustomize/stage/volume/fast/p*.yaml",
            )
        },
    ),
    GoModule(
        "helm",
        "helm.sh/helm/v3",
        "v3.20.2",
        {"helm": "helm.sh/helm/v3/cmd/helm"},
        with_kubernetes=True,
        # Without these `helm template` and `helm lint` believe in Kubernetes 1.20.
        values={
            "helm.sh/helm/v3/pkg/chartutil.k8sVersionMinor": _MINOR,
            "helm.sh/helm/v3/pkg/lint/rules.k8sVersionMinor": _MINOR,
        },
    ),
    GoModule(
        "kubeconform",
        "github.com/yannh/kubeconform",
        "v0.8.0",
        {"kubeconform": "github.com/yannh/kubeconform/cmd/kubeconform"},
    ),
    GoModule(
        "promtool",
        "github.com/prometheus/prometheus",
        "v0.315.0",
        {"promtool": "github.com/prometheus/prometheus/cmd/promtool"},
        tags="remove_all_sd",  # without the clouds' client libraries, which are most of it
    ),
)

# No program, only files: kinds that clusters have from elsewhere.
CUSTOM_KINDS = (
    GoModule(
        "prometheus-operator",
        "github.com/prometheus-operator/prometheus-operator",
        "v0.85.0",
        {},
        files={
            "monitoring-kinds.yaml": (
                "example/prometheus-operator-crd/monitoring.coreos.com_servicemonitors.yaml",
                "example/prometheus-operator-crd/monitoring.coreos.com_prometheusrules.yaml",
            )
        },
    ),
    GoModule(
        "gateway-api",
        "sigs.k8s.io/gateway-api",
        "v1.6.3",
        {},
        files={"gateway-kinds.yaml": ("config/crd/standard/gateway.networking.k8s.io_httproutes.yaml",)},
    ),
)

REAL_NODE = (
    _kubernetes("kubernetes-node", "kubelet", "kube-proxy"),
    GoModule(
        "containerd",
        "github.com/containerd/containerd/v2",
        "v2.4.2",
        {
            name: f"github.com/containerd/containerd/v2/cmd/{name}"
            for name in ("containerd", "containerd-shim-runc-v2", "ctr")
        },
    ),
    GoModule(
        "network-plugins",
        "github.com/containernetworking/plugins",
        "v1.9.1",
        {
            "ptp": "github.com/containernetworking/plugins/plugins/main/ptp",
            "host-local": "github.com/containernetworking/plugins/plugins/ipam/host-local",
            "loopback": "github.com/containernetworking/plugins/plugins/main/loopback",
            "portmap": "github.com/containernetworking/plugins/plugins/meta/portmap",
        },
    ),
    # The program as released has every plugin that there is.
    GoModule(
        "coredns",
        "github.com/coredns/coredns",
        "v1.15.0",
        {"coredns": "."},
        main="""\
package main

import (
	"github.com/coredns/coredns/coremain"
	_ "github.com/coredns/coredns/plugin/errors"
	_ "github.com/coredns/coredns/plugin/kubernetes"
	_ "github.com/coredns/coredns/plugin/ready"
)

func main() { coremain.Run() }
""",
        with_kubernetes=True,
    ),
)


def get_programs(modules: Sequence[GoModule]) -> dict[str, Path]:
    """Every program and file of these modules by its name, built if it must be. Raises ServerUnavailable."""
    folders = {module.key: cache_directory() / module.key for module in modules}
    if not all(folder.exists() for folder in folders.values()):
        with locked("go"), _go() as go:
            for module in modules:
                began = time.monotonic()
                if not folders[module.key].exists():
                    built(module.key, lambda folder, module=module: go.build(module, folder))  # type: ignore[misc]
                    print(f"{module.key}: built in {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)
    return {name: folders[module.key] / name for module in modules for name in [*module.programs, *module.files]}


@dataclass(frozen=True)
class _Go:
    """A Go that keeps what it needs while it builds in `folder`."""

    folder: Path

    def build(self, module: GoModule, into: Path) -> None:
        """Builds the module's programs, static, and copies its files."""
        source = self._download(module.path, module.version)
        # `go install` refuses modules with replacements: a module of our own asks for them, with what can be kept.
        wrapper = self.folder / "wrapper"
        shutil.rmtree(wrapper, ignore_errors=True)
        wrapper.mkdir()
        (wrapper / "go.mod").write_text(self._wrap(module))
        if module.main:
            (wrapper / "main.go").write_text(module.main)
        linked = " ".join(["-s", "-w", *(f"-X {name}={value}" for name, value in module.values.items())])
        for name, package in module.programs.items():
            self._run("build", f"-tags={module.tags}", f"-ldflags={linked}", "-o", into / name, package, cwd=wrapper)
        for name, patterns in module.files.items():
            found = [file for pattern in patterns for file in sorted(Path(source["Dir"]).glob(pattern))]
            if not found:
                raise ServerUnavailable(f"{module.key} has no files for {name}")
            (into / name).write_text("".join(f"---\n{file.read_text()}\n" for file in found))

    def _download(self, path: str, version: str) -> dict[str, str]:
        found: dict[str, str] = orjson.loads(self._run("mod", "download", "-json", f"{path}@{version}"))
        return found

    def _wrap(self, module: GoModule) -> str:
        """A go.mod that asks for this module."""
        described = self._describe(module.path, module.version)
        lines = ["module palaver.test/tools", f"require {module.path} {module.version}"]
        versions = [described["Go"]]
        replaced = {
            each["Old"]["Path"]: f"{each['New']['Path']} {each['New']['Version']}"
            for each in described.get("Replace") or []
            if "Version" in each["New"]
        }
        if module.with_kubernetes:
            kubernetes = self._describe(_KUBERNETES, f"v{KUBERNETES_VERSION}")
            versions.append(kubernetes["Go"])
            for each in kubernetes["Require"]:
                version = _STAGED_VERSION if each["Version"] == "v0.0.0" else each["Version"]
                replaced[each["Path"]] = f"{each['Path']} {version}"
        lines += [f"replace {old} => {new}" for old, new in replaced.items()]
        newest = max(versions, key=lambda version: tuple(map(int, version.split("."))))
        return "\n".join([*lines, f"go {newest}"]) + "\n"

    def _describe(self, path: str, version: str) -> dict[str, Any]:
        """A module's go.mod, as JSON has it."""
        described: dict[str, Any] = orjson.loads(
            self._run("mod", "edit", "-json", self._download(path, version)["GoMod"])
        )
        return described

    def _run(self, *arguments: str | Path, cwd: Path | None = None) -> str:
        environment = {
            "CGO_ENABLED": "0",
            "GOCACHE": str(self.folder / "build"),
            "GOMODCACHE": str(self.folder / "modules"),
            "GOFLAGS": "-mod=mod -modcacherw -trimpath -buildvcs=false",
            "GOWORK": "off",
        }
        return run("go", *arguments, cwd=cwd or self.folder, environment=environment, seconds=BUILD_SECONDS)


@contextmanager
def _go() -> Iterator[_Go]:
    # Always the same folder: a build that was ended in its midst is gone on with.
    folder = cache_directory() / "go-build"
    folder.mkdir(exist_ok=True)
    yield _Go(folder)
    shutil.rmtree(folder)


def main() -> None:
    parser = argparse.ArgumentParser(prog="make kubernetes-tools", description=__doc__.partition("\n")[0])
    parser.add_argument("what", nargs="?", choices=["control-plane", "real-node"], default="control-plane")
    given = parser.parse_args()
    began = time.monotonic()
    try:
        programs = get_programs(CONTROL_PLANE + CUSTOM_KINDS + (REAL_NODE if given.what == "real-node" else ()))
    except ServerUnavailable as error:
        sys.exit(f"make kubernetes-tools: {error}")
    size = sum(os.path.getsize(program) for program in programs.values())
    print(f"{len(programs)} files, {size >> 20} MiB, in {time.monotonic() - began:.0f} s")


if __name__ == "__main__":
    main()
