"""Pure rules of accounts: what a username, an e-mail address, a password and a profile may be.

Nothing here reads or writes; the use cases bring the settings' values. Raises InvalidInput with the codes that
Rocket.Chat's clients know. (What a setting's value may be is `values.py`.)
"""

import functools
import hashlib
import re
import warnings
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec
import orjson

from palaver.account_names import fold
from palaver.errors import InvalidInput

MAX_USERNAME = 100
MAX_EMAIL = 254
MAX_NAME = 255
MAX_PASSWORD = 1024
MAX_BIO = 260
MAX_NICKNAME = 120
MAX_STATUS_TEXT = 120

STATUSES = ("online", "away", "busy", "offline")
FALLBACK_PATTERN = "[0-9a-zA-Z-_.]+"

_SHA256 = re.compile(r"[0-9a-f]{64}")
_EMAIL = re.compile(r"[^@\s\x00-\x1f\x7f\"(),:;<>\[\\\]]+@(?:[\w](?:[\w-]*[\w])?\.)*[\w](?:[\w-]*[\w])?")
# A sequence of characters and classes, each with at most one quantifier. Without groups and alternatives, and with few
# quantifiers, matching a short name can't take long, whatever an administrator writes.
_PATTERN = re.compile(
    r"\^?(?:(?:\[(?:\\.|[^\]\\])+\]|\\[^0-9bBAZ]|[^\\()\[\]{}*+?|^$])(?:[+*?]|\{\d{1,3}(?:,\d{0,3})?\})?)+\$?"
)
_QUANTIFIER = re.compile(r"\[(?:\\.|[^\]\\])+\]|\\.|([+*?{])")
_MAX_QUANTIFIERS = 3
_MAX_PATTERN = 500


def digest_of(password: str) -> str:
    """The hexadecimal SHA-256 of a password: what clients may send instead of it, and what is hashed and stored."""
    return hashlib.sha256(password.encode("utf-8", "surrogatepass")).hexdigest()


def normal_digest(text: str) -> str | None:
    """A hexadecimal SHA-256 in its usual form; None for anything else."""
    text = text.lower()
    return text if _SHA256.fullmatch(text) else None


# -- usernames -------------------------------------------------------------------------------------------------------


@functools.lru_cache(maxsize=32)
def compile_name_pattern(pattern: str) -> "re.Pattern[str] | None":
    """The expression of a setting such as `UTF8_User_Names_Validation`; None if it is none that is safe to run."""
    if len(pattern) > _MAX_PATTERN or not _PATTERN.fullmatch(pattern):
        return None
    if sum(1 for match in _QUANTIFIER.finditer(pattern) if match[1]) > _MAX_QUANTIFIERS:
        return None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about classes that a later version of Python may read differently
            return re.compile(pattern)
    except (re.error, OverflowError):
        return None


def check_username(username: str, pattern: str) -> None:
    """Raises InvalidInput unless the username can be one."""
    compiled = compile_name_pattern(pattern) or compile_name_pattern(FALLBACK_PATTERN)
    assert compiled is not None
    plain = all(not character.isspace() and character.isprintable() for character in username)
    if not username or len(username) > MAX_USERNAME or not plain or not compiled.fullmatch(username):
        raise InvalidInput(
            f"{username[:MAX_USERNAME]} is not a valid username",
            code="error-input-is-not-a-valid-field",
            details={"input": username[:MAX_USERNAME], "field": "Username"},
        )


def check_user_id(user_id: str) -> None:
    """Raises InvalidInput unless the id can be one that somebody has chosen."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", user_id):
        raise InvalidInput("Invalid user id", code="error-invalid-user-id")


# -- e-mail ------------------------------------------------------------------------------------------------------------


def is_email(text: str) -> bool:
    return len(text) <= MAX_EMAIL and _EMAIL.fullmatch(text) is not None


def check_email(email: str, *, allowed_domains: str = "", blocked_domains: str = "") -> None:
    """Raises InvalidInput unless the address has the right form and its domain is welcome."""
    if not is_email(email):
        raise InvalidInput(
            f"Invalid email {email[:MAX_EMAIL]}", code="error-invalid-email", details={"email": email[:MAX_EMAIL]}
        )
    domain = fold(email.rpartition("@")[2])
    allowed = [fold(name.strip()) for name in allowed_domains.split(",") if name.strip()]
    blocked = [fold(name.strip()) for name in blocked_domains.split(",") if name.strip()]
    if allowed and not _is_in(domain, allowed):
        raise InvalidInput("The email domain is not allowed", code="error-invalid-domain")
    if _is_in(domain, blocked):
        raise InvalidInput("The email domain is blocked", code="error-email-domain-blacklisted")


def _is_in(domain: str, domains: Iterable[str]) -> bool:
    return any(domain == name or domain.endswith("." + name) for name in domains)


# -- passwords -------------------------------------------------------------------------------------------------------


def check_password(password: str, policy: Mapping[str, Any]) -> None:
    """Raises InvalidInput unless the password obeys the settings `Accounts_Password_Policy_…`, named without prefix."""
    if not password.strip() or len(password) > MAX_PASSWORD:
        raise InvalidInput("The password can't be empty or longer than 1024 characters", code="error-invalid-password")
    if not policy.get("Enabled"):
        return
    repeating = int(policy["ForbidRepeatingCharactersCount"])
    rules = (
        ("length", policy["MinLength"] < 1 or len(password) >= policy["MinLength"]),
        ("length", policy["MaxLength"] < 1 or len(password) <= policy["MaxLength"]),
        ("repeating", not policy["ForbidRepeatingCharacters"] or _longest_run(password) <= max(1, repeating)),
        ("lowercase", not policy["AtLeastOneLowercase"] or any(c.islower() for c in password)),
        ("uppercase", not policy["AtLeastOneUppercase"] or any(c.isupper() for c in password)),
        ("number", not policy["AtLeastOneNumber"] or any(c.isdigit() for c in password)),
        ("special", not policy["AtLeastOneSpecialCharacter"] or not password.isalnum()),
    )
    failed = list(dict.fromkeys(name for name, obeyed in rules if not obeyed))
    if failed:
        raise InvalidInput(
            "The password does not meet the server's password policy",
            code="error-password-policy-not-met",
            details={"rules": failed},
        )


def _longest_run(text: str) -> int:
    longest = run = 0
    previous = ""
    for character in text:
        run = run + 1 if character == previous else 1
        longest, previous = max(longest, run), character
    return longest


# -- profiles --------------------------------------------------------------------------------------------------------


def check_length(field: str, text: str, longest: int, code: str) -> None:
    """Raises InvalidInput when a text of a profile is too long."""
    if len(text) > longest:
        raise InvalidInput(f"{field} size exceeds {longest} characters", code=code)


class CustomField(msgspec.Struct, frozen=True):
    """One field that the setting `Accounts_CustomFields` declares."""

    type: str = "text"
    required: bool = False
    public: bool = False
    minLength: int = 0
    maxLength: int = 0
    options: list[str] = []
    defaultValue: Any = None


def declared_custom_fields(setting: str) -> dict[str, CustomField]:
    """What `Accounts_CustomFields` declares; nothing when it is empty or can't be understood."""
    if not setting.strip():
        return {}
    try:
        return msgspec.json.decode(setting, type=dict[str, CustomField])
    except (msgspec.MsgspecError, UnicodeError):
        return {}


def check_custom_fields(fields: Mapping[str, Any], declared: Mapping[str, CustomField]) -> dict[str, Any]:
    """The declared fields among `fields`; others are dropped. Raises InvalidInput when one breaks its declaration."""
    found: dict[str, Any] = {}
    for name, rule in declared.items():
        value = fields.get(name)
        if value is None or value == "":
            if rule.required:
                raise _custom_field(f"Field {name} is required", name)
            if name in fields:
                found[name] = value
            continue
        if rule.type == "select" and value not in rule.options:
            raise _custom_field(f"Value for field {name} is invalid", name)
        if not _is_small(value):
            raise _custom_field(f"Value for field {name} is invalid", name)
        if isinstance(value, str):
            if rule.maxLength and len(value) > rule.maxLength:
                raise _custom_field(f"Max length of field {name} {rule.maxLength}", name)
            if rule.minLength and len(value) < rule.minLength:
                raise _custom_field(f"Min length of field {name} {rule.minLength}", name)
        found[name] = value
    return found


def _is_small(value: Any) -> bool:
    """Whether it is plain JSON of a reasonable size."""
    try:
        return not isinstance(value, dict) and len(orjson.dumps(value)) <= 10_000
    except TypeError:  # a number beyond 64 bits, or nested without end
        return False


def _custom_field(reason: str, name: str) -> InvalidInput:
    return InvalidInput(reason, code="error-user-registration-custom-field", details={"field": name})


def default_roles(setting: str, known: Iterable[str]) -> list[str]:
    """The roles of a new user, from a setting that lists them; unknown ones and `admin` don't count."""
    roles = set(known) - {"admin"}
    found = list(dict.fromkeys(name.strip() for name in setting.split(",") if name.strip() in roles))
    return found or ["user"]
