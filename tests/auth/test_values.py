"""Which value a setting may have, for every setting there is and any JSON value."""

import contextlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from palaver.auth.defaults import Defaults
from palaver.auth.preferences import check_preferences
from palaver.auth.values import check_value
from palaver.config import Config
from palaver.errors import InvalidInput

DEFAULTS = Defaults(Config(site_url="https://chat.example.org:8443/sub"))
SETTINGS = DEFAULTS.settings
EDITABLE = sorted(id for id, setting in SETTINGS.items() if setting["type"] != "action")

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=3),
    max_leaves=5,
)


def test_all_of_them_are_there() -> None:
    assert len(DEFAULTS.permissions) == 196
    assert len(DEFAULTS.roles) == 11
    listed = [id for id in SETTINGS if not id.startswith("Assets_") or id == "Assets_SvgFavicon_Enable"]
    assert len(listed) == 913
    assert SETTINGS["Assets_favicon_512"]["type"] == "asset"


def test_every_default_is_a_value_that_the_setting_may_have() -> None:
    for id in EDITABLE:
        assert check_value(SETTINGS[id], SETTINGS[id]["value"]) == SETTINGS[id]["value"], id


def test_every_permission_names_roles() -> None:
    come_with_their_features = {"auditor", "auditor-log", "livechat-monitor"}
    for permission in DEFAULTS.permissions.values():
        assert set(permission["roles"]) <= DEFAULTS.roles.keys() | come_with_their_features


def test_computed_defaults() -> None:
    assert SETTINGS["Site_Url"]["value"] == "https://chat.example.org:8443/sub"
    assert SETTINGS["Federation_Matrix_homeserver_domain"]["value"] == "chat.example.org"
    assert {"uniqueID", "Accounts_RegistrationForm_SecretURL"} <= set(DEFAULTS.made_once)
    assert all({"computed": True} not in (setting["value"], setting["packageValue"]) for setting in SETTINGS.values())


@given(st.sampled_from(EDITABLE), json_values)
def test_a_value_is_refused_or_of_the_settings_type(id: str, value: Any) -> None:
    setting = SETTINGS[id]
    try:
        stored = check_value(setting, value)
    except InvalidInput:
        return
    kinds: dict[str, Any] = {"boolean": bool, "int": int, "timespan": int, "multiSelect": list, "asset": dict}
    expected = kinds.get(setting["type"], str)
    if setting["type"] not in ("date", "roomPick"):
        assert type(stored) is expected


@pytest.mark.parametrize(
    ("id", "right", "wrong"),
    [
        ("Accounts_AllowAnonymousRead", True, [1, 0, "true", None, {}]),
        ("Accounts_LoginExpiration", 30, [True, "30", 1.5, float("nan"), float("inf"), 2**60, None]),
        ("Site_Name", "Ours", [1, None, {"$ne": ""}, ["a"]]),
        ("Accounts_RegistrationForm", "Secret URL", ["public", "", 1, {"$regex": ".*"}]),
        ("Hide_System_Messages", ["uj"], ["uj", [1], {}]),
        ("UTF8_User_Names_Validation", "[a-z]+", ["(a+)+", "[", ""]),
        ("Accounts_CustomFields", '{"a": {}}', ["[]", "{", "1"]),
        ("Assets_logo", {"url": "x"}, ["x", {"src": "x"}, {"url": 1}]),
        ("RetentionPolicy_TTL_Channels", 1000, ["1000", True]),
    ],
)
def test_values(id: str, right: Any, wrong: list[Any]) -> None:
    assert check_value(SETTINGS[id], right) == right
    for value in wrong:
        with pytest.raises(InvalidInput):
            check_value(SETTINGS[id], value)


def test_a_whole_float_is_an_integer() -> None:
    stored = check_value(SETTINGS["Accounts_LoginExpiration"], 30.0)
    assert stored == 30
    assert isinstance(stored, int)


def test_values_have_a_size() -> None:
    with pytest.raises(InvalidInput, match="too large"):
        check_value(SETTINGS["Site_Name"], "x" * 600_000)


def test_preferences() -> None:
    right = {"desktopNotifications": "mentions", "enableAutoAway": False, "highlights": ["a"], "language": "de"}
    assert check_preferences(right, SETTINGS) == right
    features = [{"name": "quickReactions", "value": True}, {"name": "secondarySidebar", "value": False}]
    shown = [{**feature, "i18n": "Title", "enabled": True} for feature in features]
    for sent in (features, shown):
        assert check_preferences({"featuresPreview": sent}, SETTINGS) == {"featuresPreview": features}
    assert check_preferences({"featuresPreview": "[]"}, SETTINGS) == {"featuresPreview": "[]"}
    as_set = dict.fromkeys(("desktopNotifications", "pushNotifications", "emailNotificationMode"), "default")
    assert check_preferences(as_set, SETTINGS) == as_set
    refused: tuple[dict[str, Any], ...] = (
        {"sidebarViewMode": "default"},
        {"desktopNotifications": "loud"},
        {"enableAutoAway": "no"},
        {"idleTimeLimit": True},
        {"highlights": "a"},
        {"highlights": [{"$ne": 1}]},
        {"featuresPreview": ["quickReactions"]},
        {"featuresPreview": [{"name": "quickReactions", "value": "yes"}]},
        {"featuresPreview": {}},
        {"clockMode": True},
        {"clockMode": 2**70},
        {"unknown": 1},
        {"__proto__": 1},
    )
    for wrong in refused:
        with pytest.raises(InvalidInput):
            check_preferences(wrong, SETTINGS)


@given(st.dictionaries(st.sampled_from(["highlights", "language", "enableAutoAway", "clockMode", "x"]), json_values))
def test_any_preferences_are_refused_or_right(preferences: dict[str, Any]) -> None:
    with contextlib.suppress(InvalidInput):
        assert check_preferences(preferences, SETTINGS) == preferences
