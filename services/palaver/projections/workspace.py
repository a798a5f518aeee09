"""What is one for the whole workspace: settings, permissions, roles, kinds of status, emoji, sounds, integrations."""

from palaver.database import Put
from palaver.projections.values import date, saved
from palaver.v1.event_pb2 import Event


def setting_changed(event: Event) -> list[Put]:
    return saved("settings", event.setting_changed.setting_id, event.setting_changed.setting)


def permission_changed(event: Event) -> list[Put]:
    return saved("permissions", event.permission_changed.permission_id, event.permission_changed.permission)


def role_saved(event: Event) -> list[Put]:
    return saved("roles", event.role_saved.role_id, event.role_saved.role)


def role_deleted(event: Event) -> list[Put]:
    return [Put("roles", event.role_deleted.role_id, set={"deleted_at": date(event.at)})]


def custom_status_saved(event: Event) -> list[Put]:
    return saved("custom_statuses", event.custom_status_saved.status_id, event.custom_status_saved.status)


def custom_status_deleted(event: Event) -> list[Put]:
    status_id = event.custom_status_deleted.status_id
    return [Put("custom_statuses", status_id, set={"deleted_at": date(event.at)}, unset=("name",))]


def integration_saved(event: Event) -> list[Put]:
    return saved("integrations", event.integration_saved.integration_id, event.integration_saved.integration)


def integration_removed(event: Event) -> list[Put]:
    gone = {"deleted_at": date(event.at), "enabled": False, "_updatedAt": date(event.at)}
    return [Put("integrations", event.integration_removed.integration_id, set=gone, unset=("token",))]


# By the kind that an event names: whatever else it says is no collection.
_MEDIA = ("emoji", "sounds")


def medium_saved(event: Event) -> list[Put]:
    fact = event.medium_saved
    return saved(fact.kind, fact.medium_id, fact.medium) if fact.kind in _MEDIA else []


def medium_deleted(event: Event) -> list[Put]:
    fact = event.medium_deleted
    gone = {"deleted_at": date(event.at), "_updatedAt": date(event.at)}
    unset = ("name", "aliases", "file", "file_id")
    return [Put(fact.kind, fact.medium_id, set=gone, unset=unset)] if fact.kind in _MEDIA else []
