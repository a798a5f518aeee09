"""Settings that the server's own configuration decides: the values in a file, kept true for as long as they are there.

`PALAVER_SETTINGS_FILE` names a JSON object, {setting id: value}. Its values are committed as any change of a setting
is, so every process hears of them in the same way and all agree. A setting that is decided is `blocked`: policy.py
refuses to change it for anybody else, and clients show it so. What leaves the file keeps its value, and is free again.

The file is read again every few seconds (a mounted ConfigMap changes by another target of a link). One that is wrong
changes nothing: the workspace goes on with the settings that it has, which are those of the last file that was right.
That it is wrong stands in the log, in a metric and among the node's problems. Only a workspace that has no settings yet
is not begun with such a file: what it was to forbid would be allowed.

Replicas of auth may have different files for a moment, as a change reaches one after the other; they must not undo each
other's work. So one of them decides, under a lease, for as long as it lives.

Made by role.py.
"""

import asyncio
import contextlib
import logging
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import orjson
from prometheus_client import Counter, Gauge

from palaver.auth.defaults import Defaults
from palaver.auth.policy import Policies
from palaver.auth.values import check_value
from palaver.config import ConfigError
from palaver.database import Document
from palaver.errors import InvalidInput, Unavailable
from palaver.node import Node

logger = logging.getLogger(__name__)

DECIDED = Gauge("palaver_settings_decided", "Settings that the file of this process decides (PALAVER_SETTINGS_FILE)")
REFUSED = Counter("palaver_settings_files_refused_total", "Settings files that were not taken: nothing was changed")
WRONG = Gauge(
    "palaver_settings_file_wrong", "1 while the settings file of this process can't be taken (PALAVER_SETTINGS_FILE)"
)

PROBLEM = "settings file"

_LEASE = "settings"
_LEASE_SECONDS = 6.0
_LOOK_SECONDS = 2.0
_MAX_BYTES = 2 * 1024 * 1024


class SettingsFile:
    """Decides what the file says, or nothing where there is none."""

    def __init__(self, node: Node, policies: Policies, defaults: Defaults) -> None:
        self._node = node
        self._policies = policies
        self._defaults = defaults
        name = node.config.settings_file
        self._path = Path(name) if name else None
        self._content: bytes | None = None  # of the last one that was right
        self._decided: dict[str, Any] | None = {} if self._path is None else None  # None: none was right so far
        self._running: asyncio.Task[Any] | None = None

    async def open(self) -> None:
        """Reads the file, decides, and goes on doing so. Raises ConfigError for a wrong file of a new workspace."""
        settings = await self._policies.list_settings()
        is_new = not any(setting["_id"] == "uniqueID" and setting["value"] for setting in settings)
        if (error := await self._take()) is not None and is_new:
            raise error
        await self._settle(settings)
        self._running = self._node.spawn(self._run(), "settings file")

    async def close(self) -> None:
        """Leaves deciding to others at once."""
        if self._running is not None:
            self._running.cancel()
            await asyncio.gather(self._running, return_exceptions=True)
            with contextlib.suppress(Unavailable):
                await self._node.live.release(_LEASE, self._node.config.node_id)

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(_LOOK_SECONDS)
            await self._take()
            try:
                await self._settle(self._node.access.policy.settings.values())
            except Unavailable as error:
                logger.warning("what the settings file decides has to wait: %s", error)

    async def _take(self) -> ConfigError | None:
        """Takes the file if it is another one than the last time. Says what is wrong with it, once to people."""
        problems = self._node.problems
        try:
            await self._read()
        except ConfigError as error:
            if problems.get(PROBLEM) != str(error):
                problems[PROBLEM] = str(error)
                REFUSED.inc()
                logger.error("the settings stay as they are: %s", error)
            WRONG.set(1)
            return error
        problems.pop(PROBLEM, None)
        WRONG.set(0)
        return None

    async def _read(self) -> None:
        if self._path is None:
            return
        content = await asyncio.to_thread(_read, self._path)
        if content == self._content:
            return
        self._decided = parse_decided(content, self._defaults.settings)
        self._content = content
        DECIDED.set(len(self._decided))

    async def _settle(self, settings: Iterable[Document]) -> None:
        """Makes these settings, as they are, what the file says; if deciding is this process's."""
        if self._decided is None:
            return  # others may know better
        differing = [setting["_id"] for setting in settings if not self._is_settled(setting)]
        if not differing and self._path is None:
            return
        if await self._node.live.acquire(_LEASE, self._node.config.node_id, _LEASE_SECONDS):
            for setting_id in differing:
                if setting_id in self._decided:
                    await self._policies.decide_value(setting_id, self._decided[setting_id])
                else:
                    await self._policies.release_value(setting_id)
            if differing:
                logger.info("settings decided by the settings file, or free again: %s", ", ".join(differing))

    def _is_settled(self, setting: Document) -> bool:
        id, decided = setting["_id"], self._decided or {}
        if id in decided:
            return bool(setting.get("blocked")) and setting["value"] == decided[id]
        # Of a setting that this version does not know, it does not know either who may change it.
        return not setting.get("blocked") or bool(setting.get("readonly")) or id not in self._defaults.settings


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            content = file.read(_MAX_BYTES + 1)
    except OSError as error:
        raise ConfigError(f"PALAVER_SETTINGS_FILE={path} can't be read: {error.strerror}") from error
    if len(content) > _MAX_BYTES:
        raise ConfigError(f"PALAVER_SETTINGS_FILE={path} is too large")
    return content


def parse_decided(content: bytes, settings: Mapping[str, Document]) -> dict[str, Any]:
    """The values by their settings' ids. Raises ConfigError that names everything that is wrong."""
    try:
        found = orjson.loads(content)
    except orjson.JSONDecodeError as error:
        raise ConfigError(f"PALAVER_SETTINGS_FILE is no JSON: {error}") from error
    if not isinstance(found, dict):
        raise ConfigError("PALAVER_SETTINGS_FILE: one JSON object is wanted, setting ids with their values")
    decided: dict[str, Any] = {}
    wrong: list[str] = []
    for id, value in found.items():
        setting = settings.get(id)
        if setting is None:
            wrong.append(f"there is no setting {id[:100]}")
        elif setting.get("readonly"):
            wrong.append(f"the setting {id} can't be changed")
        else:
            try:
                decided[id] = check_value(setting, value)
            except InvalidInput as error:
                wrong.append(error.error_reason)
    if wrong:
        raise ConfigError(f"PALAVER_SETTINGS_FILE: {'; '.join(wrong)}")
    return decided
