"""The letters that the auth service writes: texts of the settings, with what they speak of filled in.

In a text `{Key}` is a phrase of the table here, and `[Name]` a value: a link, a code, who it is for. Values are
escaped. Called by the use cases of this service.
"""

import logging
import re
from collections.abc import Mapping
from html import escape
from typing import Any

from palaver.database import Document
from palaver.errors import PalaverError
from palaver.mail import Mail
from palaver.node import Node

logger = logging.getLogger(__name__)

PHRASES: Mapping[str, str] = {
    "Welcome_to": "Welcome to [Site_Name]",
    "Visit_Site_Url_and_try_the_best_open_source_chat_solution_available_today": "Visit [Site_URL] and say hello.",
    "Login": "Log in",
    "Hi": "Hi [name]",
    "Hi_username": "Hi [name]",
    "Verification_Email_Subject": "[Site_Name] - Verify your e-mail address",
    "Verification_email_body": "Please click on the button below to confirm your e-mail address.",
    "Verify_your_email": "Verify your e-mail address",
    "Forgot_Password_Email_Subject": "[Site_Name] - Password recovery",
    "Forgot_password": "Forgot your password?",
    "Lets_get_you_new_one_": "Let's get you a new one!",
    "Reset": "Choose a new password",
    "If_you_didnt_ask_for_reset_ignore_this_email": "If you didn't ask for this, ignore this e-mail.",
    "Code_Subject": "[Site_Name] - Your code: [code]",
    "Code_Text": "Your code is",
    "Code_Advice": "It works for [minutes] minutes. If you are not logging in, somebody else knows your password.",
    "Test_Subject": "[Site_Name] - A test of the mail settings",
    "Test_Text": "It works: this e-mail was sent by [Site_Name].",
}

# Settings of subject and text; texts of our own where no setting has them.
LETTERS: Mapping[str, tuple[str, str]] = {
    "forgot-password": ("Forgot_Password_Email_Subject", "Forgot_Password_Email"),
    "verification": ("Verification_Email_Subject", "Verification_Email"),
    "welcome": ("Accounts_UserAddedEmail_Subject", "Accounts_UserAddedEmail_Email"),
}
_OWN: Mapping[str, tuple[str, str]] = {
    "code": ("{Code_Subject}", "<p>{Code_Text}</p><h2>[code]</h2><p class='advice'>{Code_Advice}</p>"),
    "test": ("{Test_Subject}", "<p>{Test_Text}</p>"),
}

_PHRASE = re.compile(r"\{([A-Za-z_]+)\}")
_VALUE = re.compile(r"\[([A-Za-z_]+)\]")


class Letters:
    """Writes and sends them."""

    def __init__(self, node: Node, mail: Mail) -> None:
        self._node = node
        self._mail = mail

    @property
    def is_configured(self) -> bool:
        return self._mail.is_configured

    def check_configured(self) -> None:
        """Raises MailNotConfigured."""
        self._mail.check_configured()

    async def send(self, kind: str, user: Document, to: str, **values: str) -> None:
        """Returns when the letter is on its way. Raises MailNotConfigured, MailFailed."""
        subject, html = self._write(kind, user, to, values)
        await self._mail.send(to, subject, html)

    def post(self, kind: str, user: Document, to: str, **values: str) -> None:
        """The same in the background, for who must not learn by the time it takes whether there is such a user.

        A failure is logged and counted by `mail.py`. Raises MailNotConfigured.
        """
        self.check_configured()
        subject, html = self._write(kind, user, to, values)
        self._node.spawn(self._post(to, subject, html), "letter")

    async def _post(self, to: str, subject: str, html: str) -> None:
        try:
            await self._mail.send(to, subject, html)
        except PalaverError as error:
            logger.warning("a letter is lost: %s", error)

    def _write(self, kind: str, user: Document, to: str, values: Mapping[str, str]) -> tuple[str, str]:
        setting = self._node.access.setting
        if kind in _OWN:
            subject, body = _OWN[kind]
        else:
            subject, body = (str(setting(id)) for id in LETTERS[kind])
        name = str(user.get("name") or user.get("username", ""))
        known = {
            "Site_Name": str(setting("Site_Name")),
            "Site_URL": site_url(self._node),
            "name": name,
            "fname": name.split(" ")[0],
            "username": str(user.get("username", "")),
            "email": to,
            **values,
        }
        html = str(setting("Email_Header")) + body + str(setting("Email_Footer"))
        style = str(setting("email_style")).replace("<", "")
        filled = fill(html, {name: escape(value) for name, value in known.items()} | {"email_style": style})
        return fill(subject, known), filled


def fill(text: str, values: Mapping[str, str]) -> str:
    """The text with its phrases, and then with its values; what is neither stays."""
    text = _PHRASE.sub(lambda found: PHRASES.get(found[1], found[0]), text)
    return _VALUE.sub(lambda found: values.get(found[1], found[0]), text)


def site_url(node: Node) -> str:
    """Where people reach this server, without a slash at the end."""
    found: Any = node.access.setting("Site_Url") or node.config.site_url
    return str(found).rstrip("/")
