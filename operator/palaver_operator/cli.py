"""The command line: `palaver-operator run`, and what helps those who run no operator."""

import argparse
import asyncio
import json
import logging
import os
import sys
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml

from palaver_operator import __version__
from palaver_operator.kinds import list_rules
from palaver_operator.objects import Surroundings, build
from palaver_operator.objects.secrets import Values, values_of
from palaver_operator.resource import API_VERSION, SpecError, Workspace, parse
from palaver_operator.simulate import SCENARIOS, simulate
from palaver_operator.simulate.world import START_SECONDS

CRDS = ("palaver.yaml", "palaverbackup.yaml")


def main(arguments: Sequence[str] | None = None) -> None:
    """Exits with 0 after an orderly stop, 1 after a failure, 2 for a wrong call or file."""
    parser = argparse.ArgumentParser(prog="palaver-operator", description="Runs workspaces of Palaver on Kubernetes.")
    parser.add_argument("--version", action="version", version=f"palaver-operator {__version__}")
    commands = parser.add_subparsers(dest="command", required=True)
    render = commands.add_parser("render", help="print the manifests of a Palaver, for a cluster without the operator")
    render.add_argument("file", type=Path, help="a file with a Palaver (YAML); - for standard input")
    render.add_argument(
        "--secrets",
        type=Path,
        help="the Secrets that are there already (kubectl get secrets -o yaml): their passwords and certificates stay",
    )
    render.add_argument("--namespace", default="default", help="of Palavers that say none (default: %(default)s)")
    commands.add_parser("crds", help="print the custom resource definitions")
    commands.add_parser("rules", help="print the rules of the operator's ClusterRole or Role")
    _add_simulate(commands.add_parser("simulate", help="show what the scaling rules do with a day of load"))
    _add_run(commands.add_parser("run", help="look after the Palavers of a cluster"))
    parsed = parser.parse_args(arguments)
    try:
        if parsed.command == "run":
            _run(parsed)
        elif parsed.command == "render":
            _render(parsed.file, parsed.secrets, parsed.namespace)
        elif parsed.command == "crds":
            print("---\n".join(read_crd(name) for name in CRDS), end="")
        elif parsed.command == "rules":
            _print([{"rules": list_rules()}])
        elif parsed.command == "simulate":
            simulate(parsed.scenario or SCENARIOS, parsed.users, parsed.start_seconds, parsed.picture)
    except (SpecError, OSError, yaml.YAMLError) as error:
        print(f"palaver-operator: {error}", file=sys.stderr)
        sys.exit(2)


def read_crd(name: str) -> str:
    """One of `CRDS`, as YAML."""
    return files("palaver_operator").joinpath("crds", name).read_text()


def _add_simulate(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--scenario", action="append", choices=SCENARIOS, help="only this one (several times)")
    parser.add_argument("--users", type=_positive, default=50_000, help="concurrent users (default: %(default)s)")
    parser.add_argument(
        "--start-seconds", type=_positive, default=START_SECONDS, help="until a new pod is ready (default: %(default)s)"
    )
    parser.add_argument("--picture", type=Path, help="draw it into this file, too (SVG)")


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise ValueError
    return number


def _add_run(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--namespace", action="append", default=[], help="look after this one only (several times)")
    parser.add_argument("--kubeconfig", type=Path, help="the way to the API server; in a pod: its service account")
    parser.add_argument("--lease", default="palaver-operator", help="its name; empty: no other operator may run")
    parser.add_argument(
        "--lease-seconds",
        type=_positive,
        default=15,
        help="after so many of silence another operator takes over; more where the API server is slow to answer"
        " (default: %(default)s)",
    )
    parser.add_argument("--host", default="", help="address for health and metrics (default: all)")
    parser.add_argument("--port", type=int, default=9090, help="port for health and metrics")
    parser.add_argument("--log-level", default="info", choices=["debug", "info", "warning", "error"])
    parser.add_argument(
        "--metrics-url-template",
        default="http://{address}:9090/metrics",
        help="where pods tell their metrics, for tests; {address}, {name} and {role} stand for a pod's",
    )


def _run(parsed: argparse.Namespace) -> None:
    """Exits with 1 when the lease is lost, or there is no way to the API server."""
    # What runs the operator is not loaded by who only prints manifests.
    from palaver_operator.kube import KubeconfigError, find_access
    from palaver_operator.leader import LeadershipLost
    from palaver_operator.operate import Options, operate

    configure_logging(parsed.log_level)
    try:
        access = find_access(parsed.kubeconfig, os.environ)
        options = Options(
            namespaces=parsed.namespace,
            namespace=os.environ.get("POD_NAMESPACE", access.namespace),
            lease=parsed.lease,
            lease_seconds=parsed.lease_seconds,
            host=parsed.host,
            port=parsed.port,
            metrics_url_template=parsed.metrics_url_template,
        )
        asyncio.run(operate(access, options))
    except (KubeconfigError, LeadershipLost, OSError) as error:
        print(f"palaver-operator: {error}", file=sys.stderr)
        sys.exit(1)


def configure_logging(level: str) -> None:
    """JSON lines on standard error, as Palaver's own processes write them."""
    handler = logging.StreamHandler()
    handler.setFormatter(_JsonLines())
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    logging.getLogger("kopf").setLevel(max(logging.WARNING, logging.getLevelName(level.upper())))


class _JsonLines(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        entry = {
            "time": f"{datetime.fromtimestamp(record.created, UTC):%Y-%m-%dT%H:%M:%S.%f}Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            entry["error"] = self.formatException(record.exc_info)
        return json.dumps(entry)


def _render(path: Path, secrets: Path | None, namespace: str) -> None:
    """What an operator would do over time is told on standard error. Raises SpecError, OSError, yaml.YAMLError.

    `namespace`: of Palavers that say none. It is in the addresses that pods are told.
    """
    text = sys.stdin.read() if str(path) == "-" else path.read_text()
    bodies = [body for body in yaml.safe_load_all(text) if body]
    palavers = [body for body in bodies if isinstance(body, dict) and body.get("kind") == "Palaver"]
    if not palavers:
        raise SpecError(f"{path}: there is no Palaver ({API_VERSION}) in it")
    known = _read_secrets(secrets) if secrets is not None else {}
    if secrets is None:
        _note("its Secrets are new; where the workspace is there already, say --secrets, or it loses its passwords")
    for body in palavers:
        if isinstance(metadata := body.get("metadata"), dict):
            metadata.setdefault("namespace", namespace)
        workspace = parse(body)
        for note in _list_left_out(workspace):
            _note(f"{workspace.name}: {note}")
        built = build(workspace, Surroundings(secrets=known, now=datetime.now(UTC)))
        for one in built.others:
            if one["kind"] == "Deployment":
                one["spec"]["replicas"] = workspace.role(one["metadata"]["name"].rpartition("-")[2]).min
        _print([*built.passwords, *built.others])


def _read_secrets(path: Path) -> dict[str, Values]:
    """The values of the Secrets in a file, by name; of a list, too."""
    found: list[Any] = [body for body in yaml.safe_load_all(path.read_text()) if isinstance(body, dict)]
    found += [one for body in found for one in body.get("items") or []]
    return {one["metadata"]["name"]: values_of(one) for one in found if one.get("kind") == "Secret"}


def _list_left_out(workspace: Workspace) -> Iterator[str]:
    """What nobody does where no operator runs, each with the way to do it."""
    if not workspace.is_single:
        yield "render and apply it again every month, with --secrets: that renews certificates, which last 90 days"
        yield "before a new version is applied, run `palaver migrate` of its image"
        if workspace.spec.restore is not None:
            yield "spec.restore is left out: run `palaver restore` before the roles start"
    if workspace.spec.backup is not None:
        yield "spec.backup is left out: run `palaver backup` by a CronJob"


def _note(text: str) -> None:
    print(f"palaver-operator: {text}", file=sys.stderr)


def _print(found: list[dict[str, Any]]) -> None:
    yaml.dump_all(found, sys.stdout, Dumper=_Dumper, sort_keys=False, explicit_start=True, width=120)


class _Dumper(yaml.SafeDumper):
    """Without anchors for what stands twice."""

    def ignore_aliases(self, data: object) -> bool:
        return True
