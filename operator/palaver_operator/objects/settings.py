"""The workspace settings that the resource decides: a ConfigMap that auth reads as PALAVER_SETTINGS_FILE.

It is there even if it decides nothing: auth reads it again when it changes, so no pod starts anew for a setting.
"""

import msgspec

from palaver_operator.objects.naming import Object, make
from palaver_operator.resource import Workspace
from palaver_operator.roles import SINGLE

READERS = ("auth", SINGLE.name)
FILE = "settings.json"


def build_settings(workspace: Workspace) -> list[Object]:
    content = msgspec.json.encode(workspace.spec.settings, order="sorted").decode()
    return [make(workspace, "ConfigMap", settings_name(workspace), "auth", data={FILE: content})]


def settings_name(workspace: Workspace) -> str:
    return f"{workspace.name}-settings"
