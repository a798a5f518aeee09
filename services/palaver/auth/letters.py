"""The letters that the auth service writes: texts of the settings, with what they speak of filled in.

In a text `{Key}` is a phrase of the table here, and `[Name]` a value: a link, a code, who it is for. Values are
escaped. Called by the use cases of this service.
"""

import logging
from collections.abc import Mapping
from html import escape
from typing import Any

from palaver import mail
from palaver.database import Document
from palaver.errors import PalaverError
from palaver.mail import Mail, wrap
from palaver.node import Node

logger = logging.getLogger(__name__)

PHRASES: Mapping[str, str] = {
    "Welcome_to": "Welcome to [Site_Name]",
    "Visit_Site_Url_and_try_the_best_open_source_chat_solution_available_today": "Visit [Site_URL] and say hello.",
    "Invitation_Subject_Default": "You have been invited to [Site_Name]",
    "Join_Chat": "Join the chat",
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
    "Email_Changed_Subject": "[Site_Name] - Your e-mail address was changed",
    "Email_Changed_Text": "The e-mail address of your account [username] is no longer this one.",
    "Email_Changed_Advice": "If you didn't do this, tell an administrator at once.",
    "Takeout_Subject": "[Site_Name] - Your data is ready",
    "Takeout_Text": "Download it within a week, where you are logged in",
    "Test_Subject": "[Site_Name] - A test of the mail settings",
    "Test_Text": "It works: this e-mail was sent by [Site_Name].",
}

# Settings of subject and text; texts of our own where no setting has them.
LETTERS: Mapping[str, tuple[str, str]] = {
    "forgot-password": ("Forgot_Password_Email_Subject", "Forgot_Password_Email"),
    "verification": ("Verification_Email_Subject", "Verification_Email"),
    "invitation": ("Invitation_Subject", "Invitation_Email"),
    "welcome": ("Accounts_UserAddedEmail_Subject", "Accounts_UserAddedEmail_Email"),
}
_OWN: Mapping[str, tuple[str, str]] = {
    "code": ("{Code_Subject}", "<p>{Code_Text}</p><h2>[code]</h2><p class='advice'>{Code_Advice}</p>"),
    "email-changed": (
        "{Email_Changed_Subject}",
        "<p>{Email_Changed_Text}</p><p class='advice'>{Email_Changed_Advice}</p>",
    ),
    "takeout": ("{Takeout_Subject}", "<p>{Takeout_Text}</p><p><a href='[Download_Url]'>[Download_Url]</a></p>"),
    "test": ("{Test_Subject}", "<p>{Test_Text}</p>"),
}


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
        escaped = {name: escape(value) for name, value in known.items()}
        return fill(subject, known), wrap(setting, fill(body, escaped), escaped, PHRASES)


def fill(text: str, values: Mapping[str, str]) -> str:
    """The text with its phrases, and then with its values; what is neither stays."""
    return mail.fill(text, values, PHRASES)


def site_url(node: Node) -> str:
    """Where people reach this server, without a slash at the end."""
    found: Any = node.access.setting("Site_Url") or node.config.site_url
    return str(found).rstrip("/")
