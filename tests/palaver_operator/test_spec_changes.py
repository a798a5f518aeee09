"""The table of changes says something of every field that a Palaver has."""

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import yaml

from palaver_operator.cli import read_crd
from palaver_operator.resource import parse
from tests.palaver_operator.spec_changes import FIXED, LIVES, Part, merge


def _leaves(schema: Part, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """The paths of what holds no fields of its own; `*` stands for any element of a list."""
    inner = schema.get("items", {})
    if "properties" in inner:
        yield from _leaves(inner, (*path, "*"))
    elif "properties" in schema:
        for name, part in schema["properties"].items():
            yield from _leaves(part, (*path, name))
    else:
        yield path


def _values(found: Any, path: tuple[str, ...]) -> list[Any]:
    """What stands at a path; nothing where it does not lead to anything."""
    if not path:
        return [found]
    if path[0] == "*":
        return [value for one in found for value in _values(one, path[1:])] if isinstance(found, list) else []
    return _values(found[path[0]], path[1:]) if isinstance(found, dict) and path[0] in found else []


def test_every_field_of_the_spec_is_changed_once() -> None:
    crd = yaml.safe_load(read_crd("palaver.yaml"))
    schema = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]
    steps: list[tuple[Part, Part]] = [(begun, merge(begun, change)) for begun, change, _ in FIXED]
    for life in LIVES:
        specs = [life.begun]
        for change in life.changes:
            specs.append(merge(specs[-1], change.spec))
        steps += pairwise(specs)
    unchanged = {
        ".".join(path)
        for path in _leaves(schema)
        if all(_values(before, path) == _values(after, path) for before, after in steps)
    }
    assert unchanged == set()


def test_what_a_life_makes_of_a_workspace_is_one() -> None:
    for life in LIVES:
        spec = life.begun
        for change in life.changes:
            spec = merge(spec, change.spec)
            parse({"metadata": {"name": "chat", "namespace": "talk"}, "spec": spec})
