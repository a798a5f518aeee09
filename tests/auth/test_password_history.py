"""Passwords that somebody had before: refused, as far back as the settings count."""

import re
from typing import Any

import pytest

from palaver.api import Auth
from palaver.documents import own_user
from palaver.errors import InvalidInput
from palaver.v1.auth_pb2 import ResetPasswordRequest, SendLetterRequest
from tests.auth.helpers import PASSWORD, create_user, login, set_setting, update_user
from tests.services import ADMIN_ID, RunningServices
from tests.smtp import body, smtp_server, use_mail


async def change(auth: Auth, user_id: str, password: str, old: str) -> dict[str, Any]:
    return await update_user(auth, user_id, user_id, {"password": password}, own=True, current_password=old)


async def refused(auth: Auth, user_id: str, password: str, old: str) -> None:
    with pytest.raises(InvalidInput) as raised:
        await change(auth, user_id, password, old)
    assert raised.value.error_code == "error-password-in-history"


async def test_the_last_ones_are_refused(auth: Auth, running: RunningServices) -> None:
    alice = (await create_user(auth, "alice"))["_id"]
    await change(auth, alice, PASSWORD, PASSWORD)  # where nobody counts
    await set_setting(auth, "Accounts_Password_History_Enabled", True)
    await set_setting(auth, "Accounts_Password_History_Amount", 2)
    await refused(auth, alice, PASSWORD, PASSWORD)
    await change(auth, alice, "second", PASSWORD)
    await refused(auth, alice, PASSWORD, "second")
    await change(auth, alice, "third", "second")
    for used in (PASSWORD, "second", "third"):
        await refused(auth, alice, used, "third")
    await change(auth, alice, "fourth", "third")
    await change(auth, alice, PASSWORD, "fourth")  # three changes ago
    await login(auth, "alice")
    stored = await running.node.database.get("users", alice)
    assert stored is not None
    assert len(stored["services"]["passwordHistory"]) == 2
    assert "passwordHistory" not in str(own_user(stored))
    await set_setting(auth, "Accounts_Password_History_Enabled", False)
    await change(auth, alice, PASSWORD, PASSWORD)
    stored = await running.node.database.get("users", alice)
    assert stored is not None
    assert "passwordHistory" not in stored["services"]


async def test_a_link_is_no_way_around(auth: Auth) -> None:
    await set_setting(auth, "Accounts_Password_History_Enabled", True)
    alice = (await create_user(auth, "alice"))["_id"]
    await change(auth, alice, "second", PASSWORD)
    async with smtp_server() as mailbox:
        await use_mail(auth, mailbox)
        await auth.send_password_link(SendLetterRequest(email="alice@example.org"))
        [token] = re.findall(r"/reset-password/(\S+)", body(await mailbox.next_letter()))
        with pytest.raises(InvalidInput) as raised:
            await auth.reset_password(ResetPasswordRequest(token=token, plain=PASSWORD))
        assert raised.value.error_code == "error-password-in-history"
        await auth.reset_password(ResetPasswordRequest(token=token, plain="third"))
    await refused(auth, alice, "second", "third")


async def test_who_manages_users_gives_any_password_and_it_counts(auth: Auth) -> None:
    await set_setting(auth, "Accounts_Password_History_Enabled", True)
    alice = (await create_user(auth, "alice"))["_id"]
    await update_user(auth, ADMIN_ID, alice, {"password": "given"})
    await update_user(auth, ADMIN_ID, alice, {"password": "given"})
    await refused(auth, alice, PASSWORD, "given")
