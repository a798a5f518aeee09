"""The permissions, roles and settings of a new workspace, and how what the database holds goes over them.

The JSON files beside this module are the data. Called by policy.py, roles.py and bootstrap.py.
"""

from functools import cache
from importlib import resources
from typing import Any
from urllib.parse import urlsplit

import orjson

from palaver.config import Config
from palaver.database import Document

CHANGED_AT = {"$date": 1_795_219_200_000}
"""When these defaults were last changed: `_updatedAt` of what nobody has changed. Clients that sync ask by it."""

_COPIED = ("public", "group", "section", "enterprise", "invalidValue", "modules", "secret", "readonly", "hidden")


class Defaults:
    """What a workspace begins with. Settings that are computed from the configuration have their value already."""

    def __init__(self, config: Config) -> None:
        computed = {
            "Site_Url": config.site_url,
            "Federation_Matrix_homeserver_domain": urlsplit(config.site_url).hostname or "",
        }
        self.permissions: dict[str, Document] = {
            row["_id"]: {**row, "_updatedAt": CHANGED_AT} for row in _rows("permissions")
        }
        self.roles: dict[str, Document] = {row["_id"]: {**row, "_updatedAt": CHANGED_AT} for row in _rows("roles")}
        self.settings: dict[str, Document] = {}
        self.made_once: list[str] = []
        for row in _rows("settings"):
            default: Any = row["default"]
            if default == {"computed": True}:
                default = computed.get(row["_id"], "")
                if row["_id"] not in computed:
                    self.made_once.append(row["_id"])
            self.settings[row["_id"]] = _setting(row, default)


def _setting(row: Document, default: Any) -> Document:
    """A setting's document in the shape that clients know."""
    setting: Document = {
        "_id": row["_id"],
        "type": row["type"],
        "value": default,
        "packageValue": default,
        "i18nLabel": row["_id"],
        "i18nDescription": f"{row['_id']}_Description",
        "enterprise": False,
        "hidden": False,
        "blocked": bool(row.get("readonly")),
        "_updatedAt": CHANGED_AT,
    }
    setting.update({name: row[name] for name in _COPIED if name in row})
    if "values" in row:
        setting["values"] = [{"key": key, "i18nLabel": key} for key in row["values"]]
    return setting


@cache
def _rows(name: str) -> list[Document]:
    rows: list[Document] = orjson.loads(resources.files(__name__).joinpath(f"{name}.json").read_bytes())
    return rows


def merged_permission(default: Document | None, stored: Document | None) -> Document:
    """The permission as it is. One of both is there."""
    return _clean({**(default or {}), **(stored or {})})


def merged_role(default: Document | None, stored: Document | None) -> Document | None:
    """The role as it is; None for a deleted one."""
    if stored is not None and "deleted_at" in stored:
        return None
    return _clean({**(default or {}), **(stored or {})})


def merged_setting(default: Document | None, stored: Document | None) -> Document:
    """The setting as it is: what it is comes from the defaults of this version; its value, and whether the server's
    configuration decides it, from the database."""
    if default is None or stored is None:
        return _clean(default or stored or {})
    blocked = default["blocked"] or stored.get("blocked", False)
    return {**default, "value": stored["value"], "blocked": blocked, "_updatedAt": stored["_updatedAt"]}


def _clean(document: Document) -> Document:
    """Without what the database remembers for itself."""
    return {name: value for name, value in document.items() if name not in ("workspace_seq", "deleted_at")}
