"""The command line: `palaver-operator run`, and what helps those who run no operator."""

import argparse
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml

from palaver_operator import __version__
from palaver_operator.kinds import list_rules
from palaver_operator.objects import Surroundings, build
from palaver_operator.resource import API_VERSION, SpecError, parse
from palaver_operator.simulate import SCENARIOS, simulate

CRDS = ("palaver.yaml", "palaverbackup.yaml")


def main(arguments: Sequence[str] | None = None) -> None:
    """Exits with 0 after an orderly stop, 1 after a failure, 2 for a wrong call or file."""
    parser = argparse.ArgumentParser(prog="palaver-operator", description="Runs workspaces of Palaver on Kubernetes.")
    parser.add_argument("--version", action="version", version=f"palaver-operator {__version__}")
    commands = parser.add_subparsers(dest="command", required=True)
    render = commands.add_parser("render", help="print the manifests of a Palaver, for a cluster without the operator")
    render.add_argument("file", type=Path, help="a file with a Palaver (YAML); - for standard input")
    commands.add_parser("crds", help="print the custom resource definitions")
    commands.add_parser("rules", help="print the rules of the operator's ClusterRole or Role")
    _add_simulate(commands.add_parser("simulate", help="show what the scaling rules do with a day of load"))
    parsed = parser.parse_args(arguments)
    try:
        if parsed.command == "render":
            _render(parsed.file)
        elif parsed.command == "crds":
            print("---\n".join(read_crd(name) for name in CRDS), end="")
        elif parsed.command == "rules":
            _print([{"rules": list_rules()}])
        elif parsed.command == "simulate":
            simulate(parsed.scenario or SCENARIOS, parsed.users, parsed.picture)
    except (SpecError, OSError, yaml.YAMLError) as error:
        print(f"palaver-operator: {error}", file=sys.stderr)
        sys.exit(2)


def read_crd(name: str) -> str:
    """One of `CRDS`, as YAML."""
    return files("palaver_operator").joinpath("crds", name).read_text()


def _add_simulate(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--scenario", action="append", choices=SCENARIOS, help="only this one (several times)")
    parser.add_argument("--users", type=_positive, default=50_000, help="concurrent users (default: %(default)s)")
    parser.add_argument("--picture", type=Path, help="draw it into this file, too (SVG)")


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise ValueError
    return number


def _render(path: Path) -> None:
    """Raises SpecError, OSError, yaml.YAMLError."""
    text = sys.stdin.read() if str(path) == "-" else path.read_text()
    bodies = [body for body in yaml.safe_load_all(text) if body]
    palavers = [body for body in bodies if isinstance(body, dict) and body.get("kind") == "Palaver"]
    if not palavers:
        raise SpecError(f"{path}: there is no Palaver ({API_VERSION}) in it")
    for body in palavers:
        workspace = parse(body)
        built = build(workspace, Surroundings(secrets={}, now=datetime.now(UTC)))
        for one in built.others:
            if one["kind"] == "Deployment":
                one["spec"]["replicas"] = workspace.role(one["metadata"]["name"].rpartition("-")[2]).min
        _print([*built.passwords, *built.others])


def _print(found: list[dict[str, Any]]) -> None:
    yaml.dump_all(found, sys.stdout, Dumper=_Dumper, sort_keys=False, explicit_start=True, width=120)


class _Dumper(yaml.SafeDumper):
    """Without anchors for what stands twice."""

    def ignore_aliases(self, data: object) -> bool:
        return True
