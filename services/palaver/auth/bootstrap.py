"""What every workspace has from its first moment: its own secrets, the bot rocket.cat, and an administrator.

Runs when the service opens, before anything else of the node; every step may be repeated by a restart, or be done by
two processes at once. Called by role.py.
"""

import logging

from palaver.auth import rules
from palaver.auth.accounts import Accounts, AdminExists, UserExists, email_fields, new_user
from palaver.auth.defaults import Defaults
from palaver.auth.passwords import Passwords
from palaver.auth.policy import Policies
from palaver.errors import Conflict
from palaver.events import SYSTEM
from palaver.ids import new_id, new_token
from palaver.node import Node

logger = logging.getLogger(__name__)

BOT_ID = "rocket.cat"


class Bootstrap:
    """Makes what is missing."""

    def __init__(
        self, node: Node, accounts: Accounts, passwords: Passwords, policies: Policies, defaults: Defaults
    ) -> None:
        self._node = node
        self._accounts = accounts
        self._passwords = passwords
        self._policies = policies
        self._defaults = defaults

    async def run(self) -> None:
        for setting_id in self._defaults.made_once:
            value = new_id() if setting_id == "uniqueID" else new_token()
            await self._policies.store_value(setting_id, value, SYSTEM, only_if_absent=True)
        await self._make_bot()
        await self._make_admin()
        if await self._accounts.has_admin():
            await self.complete_setup()

    async def complete_setup(self) -> None:
        """There is an administrator: clients need not ask for one."""
        await self._policies.store_value("Show_Setup_Wizard", "completed", SYSTEM)

    async def _make_bot(self) -> None:
        if await self._node.database.get("users", BOT_ID) is not None:
            return
        try:
            await self._accounts.create(new_user(BOT_ID, BOT_ID, name="Rocket.Cat", roles=["bot"], type="bot"), SYSTEM)
        except UserExists:
            pass  # another process was faster
        except Conflict:
            logger.warning("somebody has the username of the bot: there is no %s here", BOT_ID)

    async def _make_admin(self) -> None:
        config = self._node.config
        if not config.admin_username or await self._accounts.has_admin():
            return
        rules.check_username(config.admin_username, ".+")
        user = new_user(
            config.admin_id or new_id(),
            config.admin_username,
            name=config.admin_name or config.admin_username,
            roles=["admin"],
        )
        if config.admin_email:
            rules.check_email(config.admin_email)
            user.update(email_fields(config.admin_email, verified=True))
        if config.admin_password:
            user["services"] = {"password": await self._passwords.make(rules.digest_of(config.admin_password))}
        try:
            await self._accounts.create(user, SYSTEM, first_admin=True)
        except (AdminExists, UserExists):
            pass  # another process was faster
        except Conflict as error:
            if not await self._accounts.has_admin():  # another process was faster in giving them the name
                logger.warning("could not make the first administrator: %s", error)
