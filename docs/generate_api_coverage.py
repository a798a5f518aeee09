"""Writes docs/api-coverage.md: which endpoints and methods of the public surface are there. `make coverage-page`.

The public surface is tests/api/*.jsonl; what is there is what the gateway's modules declare.
"""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from palaver.gateway import rest
from palaver.gateway.ddp.method import methods_of
from palaver.gateway.ddp.methods import METHOD_MODULES
from palaver.gateway.rest.endpoint import endpoints_of

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "api-coverage.md"

HEAD = """\
# API coverage

Which part of Rocket.Chat's public surface (6.14) this server answers. Written by `make coverage-page` from the
declarations in `services/palaver/gateway`; not edited by hand.
"""

SOCKET_METHODS = frozenset({"login", "logout"})
"""Methods that the connection itself answers, as it does every `stream-…`."""


def build_page() -> str:
    """The page as it should be."""
    declared = declared_endpoints()
    areas: dict[str, list[tuple[str, str]]] = {}
    for row in load("rest-endpoints"):
        areas.setdefault(row["area"], []).extend((row["path"], method) for method in row["ops"])
    known = {(method, unnamed(path)) for rows in areas.values() for path, method in rows}
    there = {(path, method) for rows in areas.values() for path, method in rows if (method, unnamed(path)) in declared}
    methods = [row for row in load("realtime-methods") if not row["method"].startswith("stream-")]
    answered = declared_methods()
    parts = [
        HEAD,
        f"REST endpoints: {len(there)} of {sum(map(len, areas.values()))}. "
        f"DDP methods: {sum(row['method'] in answered for row in methods)} of {len(methods)}, "
        f"{_of(methods, answered, 1)} of those that every client needs, "
        f"{_of(methods, answered, 2)} of those in daily use.\n",
        "## REST\n",
        "| area | there | of |\n|---|--:|--:|\n"
        + "".join(
            f"| {area} | {sum(row in there for row in rows)} | {len(rows)} |\n" for area, rows in sorted(areas.items())
        ),
    ]
    for area, rows in sorted(areas.items()):
        lines = [f"| {method} | `{path}` | {_mark((path, method) in there)} |\n" for path, method in sorted(rows)]
        parts.append(f"### {area}\n\n| method | path | there |\n|---|---|---|\n" + "".join(lines))
    own = sorted((declared[key], key[0]) for key in declared.keys() - known)
    if own:
        lines = [f"| {method} | `{path}` |\n" for path, method in own]
        parts.append("### Beyond the list\n\n| method | path |\n|---|---|\n" + "".join(lines))
    lines = [
        f"| `{row['method']}` | {row['area']} | {row.get('priority', '')} | {_mark(row['method'] in answered)} |\n"
        for row in sorted(methods, key=lambda row: (row.get("priority", 9), row["method"].lower()))
    ]
    parts.append(
        "## DDP methods\n\nPriority 1 is what every client needs, 2 what official clients call in daily use, "
        "3 the rest that is called at all.\n\n| method | area | priority | there |\n|---|---|---|---|\n"
        + "".join(lines)
    )
    return "\n".join(parts)


def declared_endpoints() -> dict[tuple[str, str], str]:
    """Path by (method, unnamed path) of every endpoint that the gateway declares."""
    found: dict[tuple[str, str], str] = {}
    for module in rest.ENDPOINT_MODULES:
        for declared in endpoints_of(module):
            path = f"/api/v1/{declared.path}"
            found[declared.method, unnamed(path)] = path
    if ("GET", "/api/v1/info") in found:
        found["GET", "/api/info"] = found.pop(("GET", "/api/v1/info")).replace("/v1", "")
    return found


def unnamed(path: str) -> str:
    """A path without the names of its parameters, which are everybody's own."""
    return "/".join(":" if part.startswith(":") else part for part in path.split("/"))


def declared_methods() -> frozenset[str]:
    """The name of every DDP method that is answered."""
    return SOCKET_METHODS | methods_of(*METHOD_MODULES).keys()


def load(name: str) -> list[dict[str, Any]]:
    """One of the lists of the public surface."""
    text = (ROOT / "tests" / "api" / f"{name}.jsonl").read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


def _of(methods: Iterable[dict[str, Any]], there: frozenset[str], priority: int) -> str:
    wanted = [row["method"] for row in methods if row.get("priority") == priority]
    return f"{sum(name in there for name in wanted)} of {len(wanted)}"


def _mark(is_there: bool) -> str:
    return "yes" if is_there else ""


if __name__ == "__main__":
    PAGE.write_text(build_page(), encoding="utf-8")
