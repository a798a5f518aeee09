"""What the operator may do is what it does: no verb is granted that no code uses, and none is used that is not."""

import ast
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import palaver_operator
from palaver_operator.kinds import KINDS, list_rules
from palaver_operator.objects import Surroundings, build
from palaver_operator.objects.backup import build_backup
from palaver_operator.objects.jobs import build_migration
from palaver_operator.objects.restore import build_restore
from palaver_operator.resource import Identity, parse_backup
from tests.palaver_operator.workspaces import SINGLE, workspace

NOW = datetime(2026, 1, 1, tzinfo=UTC)
Right = tuple[str, str]  # a kind, with its part if it is not all of it, and a verb

VERBS = {
    "find": ("get",),
    "list": ("list",),
    "create": ("create",),
    "apply": ("create", "patch"),
    "replace": ("update",),
    "patch": ("patch",),
    "delete": ("delete",),
}
"""By the method of kube.Kube."""
OWNED = ("list", "watch", "create", "patch", "delete")
"""Of what is made and owned: the mirror watches it, apply.py applies it, and who makes something with an owner must be
allowed to delete it, where the API server looks at that (OwnerReferencesPermissionEnforcement)."""
WATCHED = ("Pod", "HorizontalPodAutoscaler", "Palaver", "PalaverBackup")
"""By the mirror, and the last two by kopf."""


def _made() -> set[str]:
    """The kinds of all that is ever built."""
    volume = {"volume": {"claimName": "c"}}
    found = set()
    for base in (
        workspace(
            monitoring={"serviceMonitor": True, "rules": True, "dashboards": True}, restore={"from": volume}, tls={}
        ),
        workspace(route={"kind": "HTTPRoute", "gateway": {"name": "g"}}),
        workspace(SINGLE),
    ):
        built = build(base, Surroundings(secrets={}, now=NOW))
        found |= {one["kind"] for one in [*built.passwords, *built.others, build_migration(base)]}
        if (restore := build_restore(base)) is not None:
            found.add(restore["kind"])
        spec = parse_backup({"spec": {"workspace": "chat", "to": volume}})
        identity = Identity("now", "talk", "u", 1)
        found |= {one["kind"] for one in build_backup(base, identity, spec, created="2026-01-01T00:00:00Z", keep=0)}
    return found


def _called() -> Iterator[Right]:
    """The requests whose kind stands in the code beside them; what has any kind is of those that are made."""
    for file in sorted(Path(palaver_operator.__path__[0]).rglob("*.py")):
        for function in ast.walk(ast.parse(file.read_text())):
            if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
                yield from _called_in(function)


def _called_in(function: ast.FunctionDef | ast.AsyncFunctionDef) -> Iterator[Right]:
    named = {
        target.id: kind
        for node in ast.walk(function)
        if isinstance(node, ast.Assign) and (kind := _kind(node.value, {}))
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    for node in ast.walk(function):
        if isinstance(node, ast.Call) and node.args and (kind := _kind(node.args[0], named)):
            # A method that is chosen before it is called may be any that stands there.
            chosen = [part.attr for part in ast.walk(function) if isinstance(part, ast.Attribute)]
            methods = [node.func.attr] if isinstance(node.func, ast.Attribute) else chosen
            values = [one.value for one in node.keywords if one.arg == "subresource"]
            parts = [str(value.value) for value in values if isinstance(value, ast.Constant)]
            for method in methods:
                for verb in VERBS.get(method, ()):
                    yield "/".join([kind, *parts]), verb


def _kind(node: ast.expr, named: dict[str, str]) -> str:
    if isinstance(node, ast.Name):
        return named.get(node.id, "")
    if isinstance(node, ast.Subscript) and isinstance(node.value, ast.Name) and node.value.id == "KINDS":
        return str(node.slice.value) if isinstance(node.slice, ast.Constant) else ""
    return ""


def test_exactly_what_it_does_is_what_it_may_do() -> None:
    used: set[Right] = {(kind, verb) for kind in _made() for verb in OWNED}
    used |= {(kind, verb) for kind in WATCHED for verb in ("list", "watch")} | set(_called())
    names = {(kind.group, kind.plural): kind.name for kind in KINDS.values()}
    granted = set()
    for rule in list_rules():
        (group,), (plural,) = rule["apiGroups"], rule["resources"]
        whole, *part = plural.split("/")
        granted |= {("/".join([names[group, whole], *part]), verb) for verb in rule["verbs"]}
    assert granted - used == set(), "granted, and never used"
    assert used - granted == set(), "used, and not granted"
