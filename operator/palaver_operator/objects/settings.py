"""The workspace settings that the resource decides: a ConfigMap that auth reads as PALAVER_SETTINGS_FILE."""

import hashlib

import msgspec

from palaver_operator.objects.naming import Object, make
from palaver_operator.resource import Workspace
from palaver_operator.roles import SINGLE

READERS = ("auth", SINGLE.name)
FILE = "settings.json"


def build_settings(workspace: Workspace) -> list[Object]:
    if not workspace.spec.settings:
        return []
    return [make(workspace, "ConfigMap", settings_name(workspace), "auth", data={FILE: _encode(workspace)})]


def settings_name(workspace: Workspace) -> str:
    return f"{workspace.name}-settings"


def has_settings(workspace: Workspace, component: str) -> bool:
    """Whether this component reads the file."""
    return component in READERS and bool(workspace.spec.settings)


def settings_digest(workspace: Workspace) -> str:
    """Changes when the settings do: whoever reads them at its start has to start anew."""
    return hashlib.sha256(_encode(workspace).encode()).hexdigest()[:16]


def _encode(workspace: Workspace) -> str:
    return msgspec.json.encode(workspace.spec.settings, order="sorted").decode()
