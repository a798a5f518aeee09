"""The Secrets that are made once: passwords. What exists is never made anew; only what is missing is added, and
addresses follow the passwords that are part of them.

apply.py creates them where they are missing, and changes them only as they were seen: so a lost answer or a stale view
of the cluster can't change a password that something depends on.
"""

import base64
import hashlib
import secrets
from collections.abc import Mapping
from urllib.parse import quote, urlsplit

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


def digest(text: str) -> str:
    """Names what pods read when they start, without telling it."""
    return hashlib.sha256(text.encode()).hexdigest()[:16] if text else ""


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
        found.append(secret(workspace, name, "nats", _nats(workspace, existing.get(name, {}))))
    if workspace.trial_mongodb:
        name = component_name(workspace, "mongodb")
        known = _complete({"username": "palaver", "password": _password()}, existing.get(name))
        server = f"{name}.{workspace.namespace}.svc:{MONGODB_PORT}"
        url = known.get("url", f"mongodb://{known['username']}@{server}/?authSource=admin")
        known["url"] = _with_password(url, known["username"], known["password"])
        found.append(secret(workspace, name, "mongodb", known))
    return found


def is_secured(nats: Values) -> bool:
    """Whether the managed NATS with these values of its Secret speaks TLS, and knows gateways from services.

    One whose Secret was made before that stays as it is: its servers, changed one after another, would not find each
    other half way.
    """
    return (nats.get("gatewayUrl") or nats.get("url") or "tls://").startswith("tls://")


def _nats(workspace: Workspace, existing: Values) -> dict[str, str]:
    """`password` is that of services (of everybody, where it is not secured); routes have one that never changes, as
    servers with different ones would not find each other.
    """
    host = f"{component_name(workspace, 'nats')}.{workspace.namespace}.svc:{NATS_PORT}"
    if not is_secured(existing):
        known = _complete({"user": "palaver", "password": _password()}, existing)
        known["url"] = _with_password(known["url"], known["user"], known["password"])
        return _complete({"routesPassword": known["password"]}, known) | {"gatewayUrl": known["url"]}
    fresh = {"user": "services", "password": _password(), "gatewayPassword": _password(), "routesPassword": _password()}
    known = _complete({**fresh, "url": f"tls://services@{host}", "gatewayUrl": f"tls://gateway@{host}"}, existing)
    known["url"] = _with_password(known["url"], known["user"], known["password"])
    known["gatewayUrl"] = _with_password(known["gatewayUrl"], "gateway", known["gatewayPassword"])
    return known


def _with_password(url: str, user: str, password: str) -> str:
    """An address with these credentials; one that has none is of somebody who needs none."""
    parts = urlsplit(url)
    if parts.username is None:
        return url
    return parts._replace(
        netloc=f"{quote(user, safe='')}:{quote(password, safe='')}@{parts.netloc.rpartition('@')[2]}"
    ).geturl()


def outlives(workspace: Workspace, name: str) -> bool:
    """Whether a Secret stays when its workspace is deleted: the one that opens a volume which stays."""
    return name == component_name(workspace, "mongodb") and workspace.spec.data_policy == "Retain"


def _complete(fresh: Values, existing: Values | None) -> dict[str, str]:
    return dict(fresh) | dict(existing or {})


def _password() -> str:
    return secrets.token_urlsafe(24)
