"""The Secrets that are made once: passwords. What exists is never made anew; only what is missing is added.

reconcile.py creates them where they are missing, and never applies them: so a lost answer or a stale view of the
cluster can't change a password that something depends on.
"""

import base64
import secrets
from collections.abc import Mapping

from palaver_operator.objects.naming import MONGODB_PORT, NATS_PORT, Object, component_name, make
from palaver_operator.resource import Workspace

Values = Mapping[str, str]


def secret(workspace: Workspace, name: str, component: str, values: Values, *, type: str = "Opaque") -> Object:
    """A Secret of the workspace with these values."""
    data = {key: base64.b64encode(value.encode()).decode() for key, value in values.items()}
    return make(workspace, "Secret", name, component, type=type, data=data)


def values_of(found: Object) -> dict[str, str]:
    """The values in a Secret; those that are no text are left out."""
    values = {}
    for key, encoded in (found.get("data") or {}).items():
        try:
            values[key] = base64.b64decode(encoded).decode()
        except ValueError:
            continue
    return values


def build_secrets(workspace: Workspace, existing: Mapping[str, Values]) -> list[Object]:
    """The passwords of a workspace: those that exist (by their Secrets' names), and new ones for what is missing."""
    found = []
    if not workspace.spec.admin.secret_name:
        fresh = {
            "username": "admin",
            "password": _password(),
            "email": f"admin@{workspace.spec.hostname}",
            "name": "Administrator",
        }
        found.append(
            secret(workspace, workspace.admin_secret, "auth", _complete(fresh, existing.get(workspace.admin_secret)))
        )
    if workspace.managed_nats:
        name = component_name(workspace, "nats")
        known = _complete({"user": "palaver", "password": _password()}, existing.get(name))
        address = f"nats://{known['user']}:{known['password']}@{name}.{workspace.namespace}.svc:{NATS_PORT}"
        found.append(secret(workspace, name, "nats", _complete({"url": address}, known)))
    if workspace.trial_mongodb:
        name = component_name(workspace, "mongodb")
        known = _complete({"username": "palaver", "password": _password()}, existing.get(name))
        server = f"{name}.{workspace.namespace}.svc:{MONGODB_PORT}"
        address = f"mongodb://{known['username']}:{known['password']}@{server}/?authSource=admin"
        found.append(secret(workspace, name, "mongodb", _complete({"url": address}, known)))
    return found


def outlives(workspace: Workspace, name: str) -> bool:
    """Whether a Secret stays when its workspace is deleted: the one that opens a volume which stays."""
    return name == component_name(workspace, "mongodb") and workspace.spec.data_policy == "Retain"


def _complete(fresh: Values, existing: Values | None) -> dict[str, str]:
    return dict(fresh) | dict(existing or {})


def _password() -> str:
    return secrets.token_urlsafe(24)
