"""The workspace's permissions, roles and settings as they are at one moment, and how events change them.

Without any I/O: `access.Access` owns the one of each process, and follows the workspace's stream with it.
"""

from typing import Any

import orjson

from palaver.database import Document
from palaver.v1.event_pb2 import Event, PermissionChanged, RoleDeleted, RoleSaved, SettingChanged


class Policy:
    """Permissions, roles and settings, and how events change them."""

    def __init__(self) -> None:
        self.seq = 0
        self.permissions: dict[str, Document] = {}
        self.roles: dict[str, Document] = {}
        self.settings: dict[str, Document] = {}

    def setting(self, setting_id: str) -> Any:
        """The value of a setting. Raises KeyError for a name that does not exist: that is a programming error."""
        return self.settings[setting_id]["value"]

    def roles_of(self, permission_id: str) -> list[str]:
        """The roles that a permission is granted to; nobody, for an unknown permission."""
        permission = self.permissions.get(permission_id)
        return [] if permission is None else permission["roles"]

    def list_changes(self, before: "Policy") -> list[Event]:
        """What must have happened since another policy: events with which that one would be this one."""
        changes: list[Event] = []
        for id, document in self.settings.items():
            if before.settings.get(id) != document:
                changed = SettingChanged(setting_id=id, setting=orjson.dumps(document))
                changes.append(Event(setting_changed=changed))
        for id, document in self.permissions.items():
            if before.permissions.get(id) != document:
                granted = PermissionChanged(permission_id=id, permission=orjson.dumps(document))
                changes.append(Event(permission_changed=granted))
        for id, document in self.roles.items():
            if before.roles.get(id) != document:
                changes.append(Event(role_saved=RoleSaved(role_id=id, role=orjson.dumps(document))))
        changes += [Event(role_deleted=RoleDeleted(role_id=id)) for id in before.roles if id not in self.roles]
        for event in changes:
            event.stream_kind, event.seq = "workspace", self.seq
        return changes

    def apply(self, event: Event) -> None:
        """Takes one event of the workspace's stream."""
        self.seq = event.seq
        match event.WhichOneof("fact"):
            case "setting_changed":
                self.settings[event.setting_changed.setting_id] = orjson.loads(event.setting_changed.setting)
            case "permission_changed":
                fact = event.permission_changed
                self.permissions[fact.permission_id] = orjson.loads(fact.permission)
            case "role_saved":
                self.roles[event.role_saved.role_id] = orjson.loads(event.role_saved.role)
            case "role_deleted":
                self.roles.pop(event.role_deleted.role_id, None)
