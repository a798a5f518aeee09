"""The pure rules of accounts, for any input."""

import re
import time
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from palaver.account_names import fold, is_blocked
from palaver.auth import rules
from palaver.errors import InvalidInput

POLICY = {
    "Enabled": True,
    "MinLength": 8,
    "MaxLength": 20,
    "ForbidRepeatingCharacters": True,
    "ForbidRepeatingCharactersCount": 3,
    "AtLeastOneLowercase": True,
    "AtLeastOneUppercase": True,
    "AtLeastOneNumber": True,
    "AtLeastOneSpecialCharacter": True,
}


@given(st.text())
def test_folding_twice_changes_nothing_for_case(name: str) -> None:
    assert fold(name.upper()) == fold(name.upper())
    assert fold(fold(name)) == fold(fold(fold(name)))


@given(st.from_regex(r"[0-9a-zA-Z_.-]{1,100}", fullmatch=True))
def test_plain_usernames_are_valid(name: str) -> None:
    rules.check_username(name, rules.FALLBACK_PATTERN)


@given(st.text(max_size=120))
@example("")
@example("a b")
@example("a\n")
@example("ü")
@example("a/b")
@example("x" * 101)
def test_a_username_is_refused_or_harmless(name: str) -> None:
    if re.fullmatch(r"[0-9a-zA-Z_.-]{1,100}", name):
        rules.check_username(name, rules.FALLBACK_PATTERN)
    else:
        with pytest.raises(InvalidInput, match="error-input-is-not-a-valid-field"):
            rules.check_username(name, rules.FALLBACK_PATTERN)


@given(st.text(min_size=1, max_size=30))
@example("a\u0000")
@example("a\u202eb")
@example("a b")
def test_even_a_pattern_for_everything_lets_no_spaces_or_controls_in(name: str) -> None:
    try:
        rules.check_username(name, ".+")
    except InvalidInput:
        return
    assert name.isprintable()
    assert not any(character.isspace() for character in name)


@pytest.mark.parametrize(
    "pattern", ["[0-9a-zA-Z-_.]+", r"\w+", "[^@/]{3,20}", "^[a-z][a-z0-9]*$", r"\p", "[\\w\\-.]+", "[a-z]+@?"]
)
def test_common_patterns_can_be_run(pattern: str) -> None:
    assert (rules.compile_name_pattern(pattern) is None) == (pattern == r"\p")


@pytest.mark.parametrize(
    "pattern",
    ["", "(a+)+", "(a|a)*", "a|b", "a**", "[", "a{2,1}", "(?=a)", "\\1", "a*a*a*a*b", "+", "a++", "x" * 501, "a{9999}"],
)
def test_dangerous_or_broken_patterns_are_not_run(pattern: str) -> None:
    assert rules.compile_name_pattern(pattern) is None


@given(st.text(max_size=60))
def test_any_pattern_is_refused_or_quick(pattern: str) -> None:
    compiled = rules.compile_name_pattern(pattern)
    if compiled is not None:
        started = time.perf_counter()
        compiled.fullmatch("a" * rules.MAX_USERNAME + "!")
        assert time.perf_counter() - started < 30


@given(st.text(alphabet="ab.*+?{}[]()|\\^$-1,"))
def test_patterns_of_special_characters_never_raise(pattern: str) -> None:
    rules.compile_name_pattern(pattern)


def test_a_broken_pattern_falls_back_to_the_usual_one() -> None:
    rules.check_username("alice", "(")
    with pytest.raises(InvalidInput):
        rules.check_username("ali ce", "(")


def test_blocked_names_are_compared_without_case_and_spaces() -> None:
    settings = {"Accounts_BlockedUsernameList": "alic,a.c.", "Accounts_SystemBlockedUsernameList": " admin , root"}
    for blocked in ("Admin", "ROOT", "alic", "all", "Here"):
        assert is_blocked(blocked, settings.get)
    for free in ("alice", "lic", "a.c", "ad min"):
        assert not is_blocked(free, settings.get)


@pytest.mark.parametrize("address", ["a@b", "first.last+tag@sub.example.org", "ü@exämple.org", "a@127.0.0.1"])
def test_addresses(address: str) -> None:
    assert rules.is_email(address)


@pytest.mark.parametrize(
    "address",
    [
        "",
        "a",
        "@b",
        "a@",
        "a@@b",
        "a b@c",
        "a@b c",
        "a\n@b",
        "a@b\n",
        "<a@b>",
        "a@b,c@d",
        "a@-b",
        "a@b..c",
        "x" * 250 + "@b.cd",
    ],
)
def test_what_is_no_address(address: str) -> None:
    assert not rules.is_email(address)


@given(st.text())
def test_an_address_is_refused_or_has_two_parts(text: str) -> None:
    if rules.is_email(text):
        assert text.count("@") == 1
        assert not any(character.isspace() for character in text)


def test_domains_of_addresses() -> None:
    rules.check_email("a@example.org", allowed_domains="example.org, example.net")
    rules.check_email("a@sub.Example.org", allowed_domains="example.org")
    with pytest.raises(InvalidInput, match="error-invalid-domain"):
        rules.check_email("a@badexample.org", allowed_domains="example.org")
    with pytest.raises(InvalidInput, match="error-email-domain-blacklisted"):
        rules.check_email("a@sub.EVIL.org", blocked_domains="evil.org")
    with pytest.raises(InvalidInput, match="error-invalid-email"):
        rules.check_email("nobody", allowed_domains="example.org")


@given(st.text(min_size=1, max_size=1024).filter(str.strip))
def test_without_a_policy_any_password_will_do(password: str) -> None:
    rules.check_password(password, {"Enabled": False})


@pytest.mark.parametrize("password", ["", " ", "\n", "x" * 1025])
def test_no_password_is_none(password: str) -> None:
    with pytest.raises(InvalidInput, match="error-invalid-password"):
        rules.check_password(password, {})


@pytest.mark.parametrize(
    ("password", "broken"),
    [
        ("Abcdef1!", []),
        ("Abc1!", ["length"]),
        ("Abcdefgh1!Abcdefgh1!x", ["length"]),
        ("Abbbbcd1!", ["repeating"]),
        ("ABCDEF1!", ["lowercase"]),
        ("abcdef1!", ["uppercase"]),
        ("Abcdefg!", ["number"]),
        ("Abcdefg1", ["special"]),
        ("aaaa", ["length", "repeating", "uppercase", "number", "special"]),
    ],
)
def test_the_policy_names_what_is_broken(password: str, broken: list[str]) -> None:
    if not broken:
        rules.check_password(password, POLICY)
        return
    with pytest.raises(InvalidInput) as raised:
        rules.check_password(password, POLICY)
    assert raised.value.details == {"rules": broken}


@given(st.text())
def test_both_forms_of_a_password_are_one(password: str) -> None:
    digest = rules.digest_of(password)
    assert rules.normal_digest(digest.upper()) == digest


@given(st.text())
def test_what_is_no_digest(text: str) -> None:
    if not re.fullmatch(r"[0-9a-fA-F]{64}", text):
        assert rules.normal_digest(text) is None


CUSTOM = (
    '{"team": {"type": "select", "options": ["red", "blue"], "required": true, "public": true},'
    ' "motto": {"type": "text", "minLength": 2, "maxLength": 5}}'
)


def test_custom_fields() -> None:
    declared = rules.declared_custom_fields(CUSTOM)
    assert rules.check_custom_fields({"team": "red", "motto": "abc", "other": 1}, declared) == {
        "team": "red",
        "motto": "abc",
    }
    for fields in ({}, {"team": "green"}, {"team": "red", "motto": "a"}, {"team": "red", "motto": "abcdef"}):
        with pytest.raises(InvalidInput, match="error-user-registration-custom-field"):
            rules.check_custom_fields(fields, declared)
    hostile: Any
    for hostile in ({"$ne": 1}, 2**80, [{}] * 10_000):
        with pytest.raises(InvalidInput):
            rules.check_custom_fields({"team": "red", "motto": hostile}, declared)
    assert rules.check_custom_fields({"anything": 1}, rules.declared_custom_fields("")) == {}


@given(st.text())
@example("[]")
@example("{")
@example('{"a": 1}')
def test_any_declaration_of_custom_fields_can_be_read(setting: str) -> None:
    assert isinstance(rules.declared_custom_fields(setting), dict)


def test_roles_of_new_users() -> None:
    known = ["admin", "user", "guest"]
    assert rules.default_roles("user", known) == ["user"]
    assert rules.default_roles(" guest,user ,guest", known) == ["guest", "user"]
    assert rules.default_roles("admin", known) == ["user"]
    assert rules.default_roles("", known) == ["user"]
    assert rules.default_roles("nothing, known", known) == ["user"]
