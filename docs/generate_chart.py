"""Writes what is generated in charts/palaver. `make chart`.

crds/                   the operator's own custom resource definitions
files/rules.yaml        what the operator may do, from its list of kinds
values.schema.json      the types in values.yaml, and for the workspace's spec those of the definition
README.md               its two tables: of the values, by the comments in values.yaml, and of the spec
"""

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from palaver_operator.cli import CRDS, read_crd
from palaver_operator.kinds import list_rules

ROOT = Path(__file__).parents[1]
CHART = ROOT / "charts" / "palaver"
SPEC = "workspace.spec"

Schema = dict[str, Any]

# Where a value's type says too little.
NARROWER: Mapping[str, Schema] = {
    "image.repository": {"minLength": 1},
    "image.pullPolicy": {"enum": ["Always", "IfNotPresent", "Never"]},
    "image.pullSecrets": {"items": {"type": "string", "minLength": 1}},
    "workspace.name": {"pattern": "^([a-z]([-a-z0-9]{0,38}[a-z0-9])?)?$"},
    "workspace.labels": {"additionalProperties": {"type": "string"}},
    "workspace.annotations": {"additionalProperties": {"type": "string"}},
    "operator.replicas": {"minimum": 1, "maximum": 5},
    "operator.namespaces": {"items": {"type": "string", "minLength": 1}, "uniqueItems": True},
    "operator.leaseSeconds": {"minimum": 5},
    "operator.logLevel": {"enum": ["debug", "info", "warning", "error"]},
    "operator.resources": {
        "properties": {
            kind: {"type": "object", "additionalProperties": {"type": ["string", "number"]}}
            for kind in ("requests", "limits")
        },
        "additionalProperties": False,
    },
    "operator.serviceAccount.annotations": {"additionalProperties": {"type": "string"}},
    "operator.podAnnotations": {"additionalProperties": {"type": "string"}},
    "operator.podLabels": {"additionalProperties": {"type": "string"}},
    "operator.nodeSelector": {"additionalProperties": {"type": "string"}},
    "operator.tolerations": {"items": {"type": "object"}},
    "operator.monitoring.runbookUrl": {"pattern": "^(https?://[^ ]+)?$"},
    "operator.monitoring.labels": {"additionalProperties": {"type": "string"}},
}


def build_files() -> dict[Path, str]:
    """Every generated file as it should be."""
    values = (CHART / "values.yaml").read_text(encoding="utf-8")
    comments = read_comments(values)
    spec = _spec_schema()
    files = {CHART / "crds" / name: read_crd(name) for name in CRDS}
    files[CHART / "files" / "rules.yaml"] = _build_rules()
    schema = _build_schema(yaml.safe_load(values), comments, _strict(spec))
    files[CHART / "values.schema.json"] = json.dumps(schema, indent=1, ensure_ascii=False) + "\n"
    readme = CHART / "README.md"
    text = readme.read_text(encoding="utf-8")
    text = _between(text, "values", _values_table(yaml.safe_load(values), comments))
    files[readme] = _between(text, "spec", _spec_table(spec))
    return files


def read_comments(values: str) -> dict[str, str]:
    """What stands above each key of a YAML page in block style, by the key's dotted path."""
    found: dict[str, str] = {}
    path: list[tuple[int, str]] = []
    above: list[str] = []
    for line in values.splitlines():
        text = line.strip()
        if text.startswith("#"):
            above.append(text.removeprefix("#").strip())
        elif match := re.match(r"( *)([A-Za-z]+):", line):
            indent = len(match[1])
            path = [*(part for part in path if part[0] < indent), (indent, match[2])]
            if above:
                found[".".join(name for _, name in path)] = " ".join(above)
            above = []
        else:
            above = []
    return found


def list_leaves(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Each value that is one setting, by its dotted path: an object that has a narrower type of its own is one."""
    for name, value in values.items():
        path = f"{prefix}{name}"
        if isinstance(value, dict) and value and path not in NARROWER:
            yield from list_leaves(value, f"{path}.")
        else:
            yield path, value


def _build_rules() -> str:
    """The rules in two parts: for where the operator runs, and for where workspaces are."""
    own: list[Schema] = []
    workspaces: list[Schema] = []
    for rule in list_rules():
        (own if rule["resources"] == ["leases"] else workspaces).append(rule)
    head = "# What the operator may do; written by `make chart` from the operator's list of kinds.\n"
    return head + yaml.safe_dump({"own": own, "workspaces": workspaces}, sort_keys=False, default_flow_style=None)


def _build_schema(values: Mapping[str, Any], comments: Mapping[str, str], spec: Schema) -> Schema:
    schema = _schema_of(values, comments, "", spec)
    schema["properties"]["global"] = {"type": "object", "description": "What Helm hands on from a chart above."}
    return {"$schema": "http://json-schema.org/draft-07/schema#", "title": "Values of the chart palaver", **schema}


def _schema_of(value: Any, comments: Mapping[str, str], path: str, spec: Schema) -> Schema:
    described = {"description": comments[path]} if path in comments else {}
    if path == SPEC:
        return described | spec
    if path in NARROWER:
        return described | {"type": _type_of(value)} | NARROWER[path]
    if isinstance(value, dict) and value:
        prefix = f"{path}." if path else ""
        parts = {name: _schema_of(part, comments, f"{prefix}{name}", spec) for name, part in value.items()}
        return described | {"type": "object", "properties": parts, "additionalProperties": False}
    return described | {"type": _type_of(value)}


def _type_of(value: Any) -> str:
    names = {bool: "boolean", int: "integer", str: "string", dict: "object", list: "array"}
    return names[type(value)]


def _spec_schema() -> Schema:
    definition = yaml.safe_load(read_crd("palaver.yaml"))
    spec: Schema = definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]
    return spec


def _strict(node: Schema, *, top: bool = True) -> Schema:
    """A schema of the API server in JSON Schema's words.

    Its CEL rules are the API server's to check; at the top nothing is required, as the chart fills in what is missing.
    """
    made: Schema = {}
    for key, value in node.items():
        if key.startswith("x-kubernetes") or key == "default" or (top and key == "required"):
            continue
        if key == "properties":
            made[key] = {name: _strict(part, top=False) for name, part in value.items()}
            made["additionalProperties"] = False
        elif key in ("items", "additionalProperties") and isinstance(value, dict):
            made[key] = _strict(value, top=False)
        elif key == "exclusiveMinimum":
            made[key] = node["minimum"]
        elif key != "minimum" or "exclusiveMinimum" not in node:
            made[key] = value
    if node.get("x-kubernetes-int-or-string"):
        made["type"] = ["integer", "string"]
    return made


def _values_table(values: Mapping[str, Any], comments: Mapping[str, str]) -> str:
    rows = ["| value | default | what for |", "|---|---|---|"]
    for path, value in list_leaves(values):
        shown = json.dumps(value, ensure_ascii=False) if value not in ("", {}, []) else ""
        rows.append(f"| `{path}` | {f'`{shown}`' if shown else ''} | {_cell(_comment(path, comments))} |")
    return "\n".join(rows)


def _comment(path: str, comments: Mapping[str, str]) -> str:
    """Its own, or the one above what it is a part of."""
    while path not in comments:
        path = path.rpartition(".")[0]
    return comments[path]


def _spec_table(spec: Schema) -> str:
    rows = ["| field | type | what for |", "|---|---|---|"]
    for path, node in _list_fields(spec):
        kind = " or ".join(f"`{value}`" for value in node["enum"]) if "enum" in node else node.get("type", "any")
        rows.append(f"| `{path}` | {_cell(kind)} | {_cell(node.get('description', ''))} |")
    return "\n".join(rows)


def _list_fields(node: Schema, prefix: str = "") -> Iterator[tuple[str, Schema]]:
    parts: Mapping[str, Schema] = node.get("properties", {})
    first = next(iter(parts.values()), {})
    if len(parts) > 2 and "properties" in first and all(part == first for part in parts.values()):
        parts = {"ROLE": first | {"description": f"ROLE: {', '.join(parts)}."}}
    for name, part in parts.items():
        yield f"{prefix}{name}", part
        yield from _list_fields(part, f"{prefix}{name}.")


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _between(text: str, name: str, content: str) -> str:
    """The text with this content between its markers."""
    begin, end = f"<!-- {name} -->", f"<!-- end of {name} -->"
    before, _, rest = text.partition(begin)
    _, found, after = rest.partition(end)
    if not found:
        raise ValueError(f"README.md lacks {begin} or {end}")
    return f"{before}{begin}\n{content}\n{end}{after}"


if __name__ == "__main__":
    for file, content in build_files().items():
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content, encoding="utf-8")
