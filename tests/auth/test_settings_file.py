"""Settings that a file decides: as it stands at the start, as it changes, and as replicas see different ones."""

import asyncio
import json
import logging
import os
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from palaver.access import Access
from palaver.auth import settings_file
from palaver.auth.defaults import Defaults
from palaver.auth.settings_file import parse_decided
from palaver.config import ConfigError
from palaver.errors import InvalidInput
from palaver.events import SYSTEM, WORKSPACE
from palaver.v1.auth_pb2 import GetPolicyRequest
from palaver.v1.event_pb2 import Event
from tests.auth.helpers import loaded, set_setting
from tests.services import RunningServices, Transport, make_config, service_nodes
from tests.waiting import eventually

pytestmark = pytest.mark.usefixtures("cheap_hashes")

VALUES = {"Site_Name": "Ours", "Accounts_AllowUserProfileChange": False, "Accounts_LoginExpiration": 7}


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settings_file, "_LOOK_SECONDS", 0.05)


class Mounted:
    """A file as Kubernetes mounts a ConfigMap: a link to a link, of which the second is replaced as a whole."""

    def __init__(self, folder: Path, values: Any) -> None:
        self._folder = folder
        self._number = 0
        folder.mkdir()
        self.file = folder / "settings.json"
        self.write(values)
        self.file.symlink_to("..data/settings.json")

    def write(self, values: Any) -> None:
        self.write_text(json.dumps(values))

    def write_text(self, text: str) -> None:
        self._number += 1
        version = self._folder / f"..version{self._number}"
        version.mkdir()
        (version / "settings.json").write_text(text)
        aside = self._folder / "..data_tmp"
        aside.symlink_to(version.name)
        os.rename(aside, self._folder / "..data")


@pytest.fixture
def mounted(tmp_path: Path) -> Mounted:
    return Mounted(tmp_path / "mounted", VALUES)


@asynccontextmanager
async def deciding(folder: Path, transport: Transport, file: Path | None) -> AsyncIterator[RunningServices]:
    options: dict[str, Any] = {} if file is None else {"settings_file": str(file)}
    async with service_nodes(folder / "data", ("auth",), transport, **options) as running:
        yield running


def access_of(running: RunningServices) -> Access:
    return running.node.access


async def get_settings(running: RunningServices) -> dict[str, dict[str, Any]]:
    reply = await running.services.auth.get_policy(GetPolicyRequest())
    return {setting["_id"]: setting for setting in map(loaded, reply.settings)}


async def test_what_the_file_says_counts_from_the_first_moment(
    tmp_path: Path, transport: Transport, mounted: Mounted
) -> None:
    for _ in range(2):
        async with deciding(tmp_path, transport, mounted.file) as running:
            settings = await get_settings(running)
            assert {id: settings[id]["value"] for id in VALUES} == VALUES
            assert all(settings[id]["blocked"] for id in VALUES)
            assert settings["Site_Name"]["packageValue"] == "Palaver"
            assert not settings["Accounts_AllowEmailChange"]["blocked"]
            assert access_of(running).setting("Accounts_LoginExpiration") == 7


async def test_nobody_else_changes_what_is_decided(tmp_path: Path, transport: Transport, mounted: Mounted) -> None:
    async with deciding(tmp_path, transport, mounted.file) as running:
        auth = running.services.auth
        with pytest.raises(InvalidInput, match="Site_Name is decided by the server's configuration") as raised:
            await set_setting(auth, "Site_Name", "Mine")
        assert raised.value.error_code == "error-setting-readonly"
        with pytest.raises(InvalidInput):
            await set_setting(auth, "Site_Name", "Ours")  # nor does anybody set what it is
        await set_setting(auth, "Livechat_title", "Another")
        assert (await get_settings(running))["Site_Name"]["value"] == "Ours"


async def test_a_changed_file_needs_no_restart(tmp_path: Path, transport: Transport, mounted: Mounted) -> None:
    async with deciding(tmp_path, transport, mounted.file) as running:
        followed: list[Event] = []
        await running.node.log.follow(WORKSPACE, followed.append)
        access = access_of(running)
        mounted.write({**VALUES, "Site_Name": "Another", "Livechat_title": "Help"})
        await eventually(lambda: access.setting("Livechat_title") == "Help")
        await eventually(lambda: len(followed) == 2)
        changed = {event.setting_changed.setting_id: event for event in followed}
        assert changed.keys() == {"Site_Name", "Livechat_title"}
        assert all(event.actor == SYSTEM for event in followed)
        told = loaded(changed["Site_Name"].setting_changed.setting)
        assert told == (await get_settings(running))["Site_Name"]
        assert (told["value"], told["blocked"]) == ("Another", True)


async def test_what_leaves_the_file_keeps_its_value_and_is_free(
    tmp_path: Path, transport: Transport, mounted: Mounted
) -> None:
    async with deciding(tmp_path, transport, mounted.file) as running:
        access = access_of(running)
        mounted.write({"Accounts_LoginExpiration": 7})
        await eventually(lambda: not access.policy.settings["Site_Name"]["blocked"])
        assert access.setting("Site_Name") == "Ours"
        await set_setting(running.services.auth, "Site_Name", "Mine")
        assert (await get_settings(running))["Accounts_LoginExpiration"]["blocked"]
    async with deciding(tmp_path, transport, None) as running:
        settings = await get_settings(running)
        assert not any(settings[id]["blocked"] for id in VALUES)
        assert (settings["Site_Name"]["value"], settings["Accounts_LoginExpiration"]["value"]) == ("Mine", 7)
        assert settings["uniqueID"]["blocked"]


async def test_a_file_that_becomes_wrong_changes_nothing(
    tmp_path: Path, mounted: Mounted, caplog: pytest.LogCaptureFixture
) -> None:
    async with deciding(tmp_path, "process", mounted.file) as running:
        access = access_of(running)

        def complaints() -> list[str]:
            return [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR]

        mounted.write_text('{"Site_Name": "Half')
        await eventually(lambda: len(complaints()) == 1)
        mounted.write({"Site_Name": 5, "Livechat_title": "Help"})
        await eventually(lambda: len(complaints()) == 2)
        mounted.file.unlink()
        await eventually(lambda: len(complaints()) == 3)
        await asyncio.sleep(0.3)
        said = complaints()
        assert len(said) == 3  # each once
        assert ["no JSON" in said[0], "Site_Name" in said[1], "can't be read" in said[2]] == [True] * 3
        assert access.setting("Site_Name") == "Ours"
        assert access.setting("Livechat_title") != "Help"
        mounted.file.symlink_to("..data/settings.json")
        mounted.write({"Site_Name": "Mended"})
        await eventually(lambda: access.setting("Site_Name") == "Mended")


async def test_a_workspace_that_has_run_starts_with_what_it_has(tmp_path: Path, mounted: Mounted) -> None:
    async with deciding(tmp_path, "process", mounted.file):
        pass
    mounted.write({"Site_Nam": "Another"})
    for _ in range(2):
        async with deciding(tmp_path, "process", mounted.file) as running:
            settings = await get_settings(running)
            assert {id: settings[id]["value"] for id in VALUES} == VALUES
            assert all(settings[id]["blocked"] for id in VALUES), "nobody else decides meanwhile"
            await asyncio.sleep(0.2)
            settings = await get_settings(running)
            assert all(settings[id]["blocked"] for id in VALUES)
            assert running.node.problems == {"settings file": "PALAVER_SETTINGS_FILE: there is no setting Site_Nam"}
            assert settings_file.WRONG._value.get() == 1
    async with deciding(tmp_path, "process", mounted.file) as running:
        mounted.write({"Site_Name": "Mended"})
        await eventually(lambda: access_of(running).setting("Site_Name") == "Mended")
        await eventually(lambda: not access_of(running).policy.settings["Accounts_LoginExpiration"]["blocked"])
        assert running.node.problems == {}
        assert settings_file.WRONG._value.get() == 0
        mounted.write({"Site_Name": 5})
        await eventually(lambda: bool(running.node.problems))
        mounted.write({"Site_Name": "Mended"})
        await eventually(lambda: not running.node.problems)


@pytest.mark.parametrize("transport", ["grpc", pytest.param("cluster", marks=pytest.mark.needs_servers)])
async def test_replicas_with_different_files_do_not_undo_each_other(
    tmp_path: Path, transport: Transport, mounted: Mounted, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A rolling upgrade: the old process decides until it ends, then the new one does. In between nothing flaps."""
    newer = Mounted(tmp_path / "newer", {"Site_Name": "Newer", "Livechat_title": "Help"})
    async with AsyncExitStack() as old:
        running = await old.enter_async_context(deciding(tmp_path, transport, mounted.file))
        async with running.another("auth", "auth-2", settings_file=str(newer.file)) as second:
            followed: list[Event] = []
            await second.log.follow(WORKSPACE, followed.append)
            await asyncio.sleep(0.5)
            assert followed == []
            assert (await get_settings(running))["Site_Name"]["value"] == "Ours"
            await running.nodes["auth"].roles["auth"].close()
            await eventually(lambda: second.access.policy.settings["Site_Name"]["value"] == "Newer")
            await eventually(lambda: not second.access.policy.settings["Accounts_LoginExpiration"]["blocked"])
            settings = second.access.policy.settings
            assert settings["Livechat_title"]["value"] == "Help"
            assert settings["Accounts_LoginExpiration"]["value"] == 7
            await eventually(lambda: len(followed) >= 4)
            await asyncio.sleep(0.3)
            assert len(followed) == 4


def test_what_a_file_may_hold(tmp_path: Path) -> None:
    settings = Defaults(make_config(tmp_path)).settings
    values = {"Site_Name": "", "Accounts_LoginExpiration": 30.0, "Accounts_AllowUserProfileChange": True}
    assert parse_decided(json.dumps(values).encode(), settings) == values
    assert parse_decided(b"{}", settings) == {}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "no JSON"),
        ("{", "no JSON"),
        ("[]", "one JSON object"),
        ('"Site_Name"', "one JSON object"),
        ('{"Site_Nam": "x"}', "there is no setting Site_Nam"),
        ('{"Site_Name": 5}', "Invalid value for setting Site_Name: expected string"),
        ('{"Site_Name": null}', "Invalid value for setting Site_Name"),
        ('{"Site_Name": {"$ne": ""}}', "Invalid value for setting Site_Name"),
        ('{"Accounts_LoginExpiration": "7"}', "Accounts_LoginExpiration: expected int"),
        ('{"Accounts_AllowUserProfileChange": "false"}', "Accounts_AllowUserProfileChange: expected boolean"),
        ('{"Accounts_RegistrationForm": "nobody"}', "Accounts_RegistrationForm: expected select of"),
        ('{"UTF8_User_Names_Validation": "(a+)+"}', "UTF8_User_Names_Validation"),
        ('{"uniqueID": "mine"}', "the setting uniqueID can't be changed"),
        ('{"SMTP_Test_Button": "x"}', "SMTP_Test_Button"),
        ('{"Nothing": 1, "Site_Name": 5}', "there is no setting Nothing; Invalid value for setting Site_Name"),
    ],
)
def test_what_a_file_may_not_hold(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(ConfigError, match="PALAVER_SETTINGS_FILE") as raised:
        parse_decided(text.encode(), Defaults(make_config(tmp_path)).settings)
    assert said in str(raised.value)


@pytest.mark.parametrize("make", [lambda path: None, Path.mkdir, lambda path: path.write_bytes(b" " * 3_000_000)])
async def test_a_new_workspace_is_not_begun_with_a_file_that_can_not_be_read(
    tmp_path: Path, make: Callable[[Path], None]
) -> None:
    path = tmp_path / "settings.json"
    make(path)
    with pytest.raises(ConfigError, match=str(path)):
        async with deciding(tmp_path, "process", path):
            pass
