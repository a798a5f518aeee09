"""Strict JSON schemas for kubeconform, made from what a running API server says of itself: custom kinds included."""

import asyncio
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import orjson

from tests.kubernetes.access import Access

Schema = dict[str, Any]

_QUANTITY = "io.k8s.apimachinery.pkg.api.resource.Quantity"


async def check_manifests(kubernetes: Access, folder: Path, manifests: str) -> None:
    """Every object of these YAML documents has just the fields that its kind has, of the right types.

    Raises CommandFailed, with the wrong ones in its message. The schemas are written into `folder`, once.
    """
    if not folder.exists():
        await write_schemas(kubernetes, folder)
    location = f"{folder}/{{{{.ResourceKind}}}}{{{{.KindSuffix}}}}.json"
    # Like kubectl, kubeconform says what is wrong in its output.
    await kubernetes.run("kubeconform", "-strict", "-summary", "-schema-location", location, "-", text=manifests)


async def write_schemas(kubernetes: Access, folder: Path) -> None:
    """A file for each kind and version that the server has now, those of its CustomResourceDefinitions included."""
    definitions = await kubernetes.until(lambda: _definitions(kubernetes))
    await asyncio.to_thread(_write, definitions, folder)


async def _definitions(kubernetes: Access) -> Mapping[str, Schema] | None:
    """What the server publishes, once every custom kind is in it: that comes a moment after the kind itself."""
    document = await kubernetes.request("GET", "/openapi/v2")
    definitions: Mapping[str, Schema] = document["definitions"]
    published = {(kind["group"], kind["version"], kind["kind"]) for _, kind in _kinds(definitions)}
    for custom in await kubernetes.list_objects("apiextensions.k8s.io/v1", "customresourcedefinitions"):
        spec = custom["spec"]
        for version in spec["versions"]:
            if version["served"] and (spec["group"], version["name"], spec["names"]["kind"]) not in published:
                return None
    return definitions


def _kinds(definitions: Mapping[str, Schema]) -> Iterable[tuple[str, Mapping[str, str]]]:
    for name, definition in definitions.items():
        for kind in definition.get("x-kubernetes-group-version-kind", ()):
            yield name, kind


def _write(definitions: Mapping[str, Schema], folder: Path) -> None:
    folder.mkdir(parents=True)
    strict = {name: _strict(definition) for name, definition in definitions.items()}
    if _QUANTITY in strict:
        strict[_QUANTITY] = {"oneOf": [{"type": "string"}, {"type": "number"}]}
    for name, kind in _kinds(definitions):
        needed: set[str] = set()
        _collect(strict, strict[name], needed)
        schema = {**strict[name], "definitions": {other: strict[other] for other in sorted(needed)}}
        # As kubeconform names them: {{.ResourceKind}}{{.KindSuffix}}.
        group = kind["group"].partition(".")[0]
        suffix = f"-{group}-{kind['version']}" if group else f"-{kind['version']}"
        (folder / f"{kind['kind'].lower()}{suffix}.json").write_bytes(orjson.dumps(schema))


def _strict(node: Any) -> Any:
    """The schema without what is only for people, and with no field besides those that it names."""
    if isinstance(node, list):
        return [_strict(part) for part in node]
    if not isinstance(node, dict):
        return node
    if node.get("format") == "int-or-string" or node.get("x-kubernetes-int-or-string"):
        return {"oneOf": [{"type": "string"}, {"type": "integer"}]}
    made: Schema = {}
    for key, value in node.items():
        if key == "properties":
            # Names of fields, not words of a schema: one of them may be called `description`.
            made[key] = {name: _strict(part) for name, part in value.items()}
        elif key in ("items", "additionalProperties", "allOf", "anyOf", "oneOf", "not"):
            made[key] = _strict(value)
        elif not key.startswith("x-kubernetes") and key not in ("description", "default"):
            made[key] = value
    keeps_unknown = node.get("x-kubernetes-preserve-unknown-fields")
    if "properties" in made and "additionalProperties" not in made and not keeps_unknown:
        made["additionalProperties"] = False
    return made


def _collect(strict: Mapping[str, Schema], node: Any, needed: set[str]) -> None:
    """Adds the names of all definitions that a schema refers to."""
    if isinstance(node, list):
        for part in node:
            _collect(strict, part, needed)
    elif isinstance(node, dict):
        reference = node.get("$ref")
        if isinstance(reference, str):
            name = reference.rpartition("/")[2]
            if name not in needed:
                needed.add(name)
                _collect(strict, strict[name], needed)
        for part in node.values():
            _collect(strict, part, needed)
