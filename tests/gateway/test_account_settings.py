"""What the settings say of accounts and their passwords, by both ways in: REST and DDP."""

from typing import Any, Literal

import pytest

from tests.gateway.rest import PASSWORD, Client, new_user
from tests.services import ADMIN_PASSWORD

Way = Literal["rest", "ddp"]
STRONG = "Str0ng-enough"
POLICY = "Accounts_Password_Policy_"
_NAMES_IN_DDP = {"name": "realname"}


@pytest.fixture(params=["rest", "ddp"])
def way(request: pytest.FixtureRequest) -> Way:
    found: Way = request.param
    return found


async def set_settings(admin: Client, **values: Any) -> None:
    for name, value in values.items():
        await admin.post(f"settings/{name}", value=value)


async def outcome(client: Client, path: str, **body: Any) -> str:
    """The code (or the text, where it has none) of the error that a POST ends with; nothing where it is done."""
    answer = (await client.request("POST", path, json=body)).json()
    return "" if answer["success"] else str(answer.get("errorType", answer["error"]))


async def outcome_of_call(client: Client, method: str, *parameters: Any, anonymous: bool = False) -> str:
    """The same of a method."""
    frame = await client.call(method, *parameters, anonymous=anonymous)
    return str(frame["error"]["error"]) if "error" in frame else ""


async def change_own(client: Client, way: Way, **changes: Any) -> str:
    if way == "rest":
        return await outcome(client, "users.updateOwnBasicInfo", data=changes)
    profile = {_NAMES_IN_DDP.get(name, name): value for name, value in changes.items()}
    return await outcome_of_call(client, "saveUserProfile", profile, {})


async def register(anybody: Client, way: Way, name: str, *, secret: str = "", **changes: Any) -> str:
    form = {"username": name, "name": name, "email": f"{name}@example.org", "pass": PASSWORD, **changes}
    if way == "rest":
        return await outcome(anybody, "users.register", **form, secret=secret)
    return await outcome_of_call(anybody, "registerUser", {**form, "secretURL": secret}, anonymous=True)


async def create(admin: Client, way: Way, name: str, **changes: Any) -> str:
    user = new_user(name, **changes)
    if way == "rest":
        return await outcome(admin, "users.create", **user)
    return await outcome_of_call(admin, "insertOrUpdateUser", user)


async def change(admin: Client, way: Way, user_id: str, **changes: Any) -> str:
    if way == "rest":
        return await outcome(admin, "users.update", userId=user_id, data=changes)
    return await outcome_of_call(admin, "insertOrUpdateUser", {"_id": user_id, **changes})


# -- passwords ---------------------------------------------------------------------------------------------------------


async def test_whoever_gives_a_password_obeys_the_policy(
    admin: Client, alice: Client, anybody: Client, way: Way
) -> None:
    await set_settings(admin, Accounts_Password_Policy_Enabled=True)
    wrong = "error-password-policy-not-met"
    assert await register(anybody, way, "carol") == wrong
    assert await create(admin, way, "carol") == wrong
    assert await change_own(alice, way, newPassword=PASSWORD) == wrong
    assert await change(admin, way, alice.user_id, password=PASSWORD) == wrong
    assert await outcome_of_call(alice, "setUserPassword", PASSWORD) == wrong
    await anybody.login("alice")
    assert await register(anybody, way, "carol", **{"pass": STRONG}) == ""
    assert await create(admin, way, "dora", password=STRONG) == ""
    assert await change_own(alice, way, newPassword=STRONG) == ""
    await anybody.login("alice", STRONG)
    assert await outcome_of_call(alice, "setUserPassword", STRONG + "er") == ""
    assert await change(admin, way, alice.user_id, password=STRONG + "est") == ""
    await anybody.login("alice", STRONG + "est")


@pytest.mark.parametrize(
    ("rule", "value", "wrong", "named"),
    [
        ("MinLength", 14, STRONG, "length"),
        ("MaxLength", 12, STRONG, "length"),
        ("ForbidRepeatingCharactersCount", 1, "Str00ng-enough", "repeating"),
        ("AtLeastOneLowercase", True, STRONG.upper(), "lowercase"),
        ("AtLeastOneUppercase", True, STRONG.lower(), "uppercase"),
        ("AtLeastOneNumber", True, "Strong-enough", "number"),
        ("AtLeastOneSpecialCharacter", True, "Str0ngenough", "special"),
    ],
)
async def test_rules_of_the_policy(
    admin: Client, alice: Client, anybody: Client, rule: str, value: int, wrong: str, named: str
) -> None:
    """Each of them refuses what it is about, by its name, and nothing where it is off."""
    await set_settings(admin, Accounts_Password_Policy_Enabled=True, **{POLICY + rule: value})
    answer = await alice.post("users.updateOwnBasicInfo", 400, data={"newPassword": wrong})
    assert (answer["errorType"], answer["details"]) == ("error-password-policy-not-met", {"rules": [named]})
    shown = str((await anybody.get("pw.getPolicy"))["policy"])
    assert rule.lower() in shown.lower()
    switch = "ForbidRepeatingCharacters" if rule == "ForbidRepeatingCharactersCount" else rule
    await set_settings(admin, **{POLICY + switch: -1 if "Length" in rule else False})
    await alice.post("users.updateOwnBasicInfo", data={"newPassword": wrong})


@pytest.mark.parametrize(("shortest", "longest"), [(7, -1), (60, -1), (4, 8), (-1, 4)])
async def test_a_random_password_obeys_the_policy(
    admin: Client, alice: Client, way: Way, shortest: int, longest: int
) -> None:
    await set_settings(
        admin,
        Accounts_Password_Policy_Enabled=True,
        Accounts_Password_Policy_ForbidRepeatingCharactersCount=1,
        Accounts_Password_Policy_MinLength=shortest,
        Accounts_Password_Policy_MaxLength=longest,
    )
    assert await create(admin, way, "carol", setRandomPassword=True) == ""
    assert await change(admin, way, alice.user_id, setRandomPassword=True) == ""


# -- what people change of themselves ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("setting", "changes"),
    [
        ("Accounts_AllowRealNameChange", {"name": "Ally"}),
        ("Accounts_AllowUsernameChange", {"username": "ally"}),
        ("Accounts_AllowEmailChange", {"email": "ally@example.org"}),
        ("Accounts_AllowPasswordChange", {"newPassword": "quite another"}),
        ("Accounts_AllowUserStatusMessageChange", {"statusText": "busy with it"}),
        ("Accounts_AllowUserProfileChange", {"name": "Ally"}),
        ("Accounts_AllowUserProfileChange", {"bio": "This is me"}),
        ("Accounts_AllowUserProfileChange", {"nickname": "al"}),
    ],
)
async def test_what_may_be_changed(
    admin: Client, alice: Client, way: Way, setting: str, changes: dict[str, Any]
) -> None:
    before = await alice.get("me")
    await set_settings(admin, **{setting: False})
    assert await change_own(alice, way, **changes) == "error-not-allowed"
    after = await alice.get("me")
    assert [before.get(name) for name in (*changes, "emails")] == [after.get(name) for name in (*changes, "emails")]
    await set_settings(admin, **{setting: True})
    assert await change_own(alice, way, **changes) == ""


async def test_methods_that_change_one_thing(admin: Client, alice: Client) -> None:
    cases = (
        ("Accounts_AllowRealNameChange", "setRealName", "Ally", "error-not-allowed"),
        ("Accounts_AllowUsernameChange", "setUsername", "ally", "error-not-allowed"),
        ("Accounts_AllowEmailChange", "setEmail", "ally@example.org", "error-action-not-allowed"),
        ("Accounts_AllowPasswordChange", "setUserPassword", "quite another", "error-not-allowed"),
        ("Accounts_AllowUserProfileChange", "saveCustomFields", {"team": "blue"}, "error-not-allowed"),
    )
    for setting, method, value, error in cases:
        await set_settings(admin, **{setting: False})
        assert await outcome_of_call(alice, method, value) == error
        await set_settings(admin, **{setting: True})
        assert await outcome_of_call(alice, method, value) == ""


async def test_a_form_as_it_was_is_no_change(admin: Client, alice: Client, way: Way) -> None:
    """Clients send everything that they show, also what nobody may change."""
    form = {"name": "Alice", "username": "alice", "email": "alice@example.org", "bio": "", "nickname": ""}
    await alice.post("users.setStatus", message="here")
    await set_settings(
        admin,
        Accounts_AllowRealNameChange=False,
        Accounts_AllowUsernameChange=False,
        Accounts_AllowEmailChange=False,
        Accounts_AllowUserStatusMessageChange=False,
    )
    assert await change_own(alice, way, **form, statusText="here") == ""
    assert await change_own(alice, way, **{**form, "bio": "new"}, statusText="here") == ""
    me = await alice.get("me")
    assert (me["bio"], me["statusText"], me["emails"][0]["verified"]) == ("new", "here", True)
    await set_settings(admin, Accounts_AllowUserProfileChange=False)
    assert await change_own(alice, way, **{**form, "bio": "new"}, statusText="here") == ""
    assert await change_own(alice, way, **form) == "error-not-allowed"


async def test_who_has_to_change_their_password_may(admin: Client, anybody: Client, way: Way) -> None:
    await set_settings(admin, Accounts_AllowPasswordChange=False)
    alice = await admin.make_user("alice", requirePasswordChange=True)
    assert (await alice.get("me"))["requirePasswordChange"] is True
    assert await change_own(alice, way, newPassword="quite another") == ""
    assert "requirePasswordChange" not in await alice.get("me")
    assert await change_own(alice, way, newPassword="one more") == "error-not-allowed"
    await anybody.login("alice", "quite another")


async def test_administrators_are_bound_by_none_of_it(admin: Client, alice: Client, way: Way) -> None:
    names = ("RealName", "Username", "Email", "Password", "UserProfile", "UserAvatar")
    await set_settings(admin, **{f"Accounts_Allow{name}Change": False for name in names})
    changes = {"name": "Ally", "username": "ally", "email": "ally@example.org", "password": "quite another"}
    assert await change(admin, way, alice.user_id, **changes) == ""


async def test_status_messages(admin: Client, alice: Client, way: Way) -> None:
    async def say(text: str) -> str:
        if way == "rest":
            return await outcome(alice, "users.setStatus", message=text)
        return await outcome_of_call(alice, "setUserStatus", "online", text)

    await set_settings(admin, Accounts_AllowUserStatusMessageChange=False)
    assert await say("away for lunch") == "error-not-allowed"
    await set_settings(admin, Accounts_AllowUserStatusMessageChange=True)
    assert await say("away for lunch") == ""
    assert (await alice.get("me"))["statusText"] == "away for lunch"


async def test_pictures_of_oneself(admin: Client, alice: Client) -> None:
    """By methods; REST is in test_avatars.py."""
    picture = "data:image/gif;base64,R0lGODlhAQABAIAAAP8AAP///yH5BAAAAAAALAAAAAABAAEAAAICRAEAOw=="
    await set_settings(admin, Accounts_AllowUserAvatarChange=False)
    send = ("setAvatarFromService", picture, "image/gif", "upload")
    assert await outcome_of_call(alice, *send) == "error-not-allowed"
    assert await outcome_of_call(alice, "resetAvatar") == "error-not-allowed"
    assert await outcome_of_call(admin, *send, alice.user_id) == ""
    await set_settings(admin, Accounts_AllowUserAvatarChange=True)
    assert await outcome_of_call(alice, "resetAvatar") == ""
    assert await outcome_of_call(alice, *send) == ""


async def test_ending_ones_own_account(admin: Client, alice: Client, way: Way) -> None:
    async def end() -> str:
        if way == "rest":
            return await outcome(alice, "users.deleteOwnAccount", password=PASSWORD)
        return await outcome_of_call(alice, "deleteUserOwnAccount", PASSWORD)

    assert await end() == "error-not-allowed"
    await alice.get("me")
    await set_settings(admin, Accounts_AllowDeleteOwnAccount=True)
    assert await end() == ""
    await alice.get("me", 401)


# -- registering -------------------------------------------------------------------------------------------------------


async def test_the_form_is_open_closed_or_for_who_knows(admin: Client, anybody: Client, way: Way) -> None:
    assert await register(anybody, way, "first") == ""
    await set_settings(admin, Accounts_RegistrationForm_SecretURL="s3cret", Accounts_RegistrationForm="Disabled")
    assert await register(anybody, way, "second", secret="s3cret") == "error-user-registration-disabled"
    await set_settings(admin, Accounts_RegistrationForm="Secret URL")
    for wrong in ("", "S3cret", "s3cret "):
        assert await register(anybody, way, "second", secret=wrong) == "error-user-registration-secret"
    assert await register(anybody, way, "second", secret="s3cret") == ""
    invite = await admin.post("findOrCreateInvite", rid="GENERAL", days=1, maxUses=5)
    assert await register(anybody, way, "third", secret=invite["_id"]) == ""
    await set_settings(admin, Accounts_RegistrationForm="Disabled")
    assert await register(anybody, way, "fourth", secret=invite["_id"]) == "error-user-registration-disabled"
    assert await create(admin, way, "fourth") == ""
    for name in ("first", "second", "third", "fourth"):
        await anybody.login(name)


async def test_who_registers_may_have_to_wait(admin: Client, anybody: Client, way: Way) -> None:
    await set_settings(admin, Accounts_ManuallyApproveNewUsers=True)
    assert await register(anybody, way, "alice", reason="I work here") == ""
    await anybody.post("login", 401, user="alice", password=PASSWORD)
    user = (await admin.get("users.info", username="alice"))["user"]
    assert (user["active"], user["reason"]) == (False, "I work here")
    await admin.post("users.setActiveStatus", userId=user["_id"], activeStatus=True)
    await anybody.login("alice")


async def test_names_that_nobody_may_choose(admin: Client, alice: Client, anybody: Client, way: Way) -> None:
    await set_settings(admin, Accounts_BlockedUsernameList="root, Owner")
    taken = "Username is already in use" if way == "rest" else "error-field-unavailable"
    for name in ("root", "OWNER", "administrator"):
        assert await register(anybody, way, name) == taken
        assert await change_own(alice, way, username=name) == "error-field-unavailable"
        await anybody.post("login", 401, user=name, password=PASSWORD)
    assert (await alice.get("me"))["username"] == "alice"


# -- domains of addresses ----------------------------------------------------------------------------------------------


async def test_domains(admin: Client, alice: Client, anybody: Client, way: Way) -> None:
    """Only those that are allowed, where some are; never those that are blocked, nor what is below them."""
    await set_settings(admin, Accounts_BlockedDomainsList="evil.org, Spam.example")
    blocked = "error-email-domain-blacklisted"
    for email in ("a@evil.org", "a@deep.down.EVIL.org", "a@spam.example"):
        assert await register(anybody, way, "carol", email=email) == blocked
        assert await create(admin, way, "carol", email=email) == blocked
        assert await change_own(alice, way, email=email) == blocked
        assert await change(admin, way, alice.user_id, email=email) == blocked
    await set_settings(admin, Accounts_AllowedDomainsList="example.org,evil.org")
    for email, error in (("a@example.net", "error-invalid-domain"), ("a@evil.org", blocked)):
        assert await register(anybody, way, "carol", email=email) == error
        assert await create(admin, way, "carol", email=email) == error
        assert await change_own(alice, way, email=email) == error
    assert (await alice.get("me"))["emails"][0]["address"] == "alice@example.org"
    assert await register(anybody, way, "carol", email="carol@example.org") == ""
    assert await change_own(alice, way, email="ally@mail.example.org") == ""
    await set_settings(admin, Accounts_AllowedDomainsList="example.net")
    # Who has an address that is no longer welcome keeps it, and logs in.
    await anybody.login("carol")
    await anybody.login("boss", ADMIN_PASSWORD)
