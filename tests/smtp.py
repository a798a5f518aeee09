"""An SMTP server on loopback that keeps what it gets: aiosmtpd, with a name and a password if a test wants them."""

import asyncio
import ssl
import warnings
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from email import message_from_bytes, policy
from email.message import EmailMessage
from typing import Any

from aiosmtpd.smtp import SMTP, AuthResult, Envelope

from palaver.api import Auth
from tests.auth.helpers import set_setting

SENDER = "Palaver <chat@example.org>"


class Mailbox:
    """What has arrived, and how the server behaves."""

    def __init__(self, port: int = 0) -> None:
        self.port = port
        self.letters: list[EmailMessage] = []
        self.recipients: list[str] = []
        self.passwords: list[str] = []
        self.refusal = ""
        self._arrived = asyncio.Event()

    async def handle_DATA(self, server: SMTP, session: Any, envelope: Envelope) -> str:
        if self.refusal:
            return self.refusal
        assert isinstance(envelope.content, bytes)
        letter = message_from_bytes(envelope.content, policy=policy.default)
        assert isinstance(letter, EmailMessage)
        self.recipients += envelope.rcpt_tos
        self.letters.append(letter)
        self._arrived.set()
        return "250 OK"

    async def next_letter(self) -> EmailMessage:
        """Waits for one, and takes it away."""
        async with asyncio.timeout(30):
            while not self.letters:
                self._arrived.clear()
                await self._arrived.wait()
        return self.letters.pop(0)


@asynccontextmanager
async def smtp_server(
    *, login: tuple[str, str] | None = None, tls: ssl.SSLContext | None = None, is_implicit: bool = False
) -> AsyncIterator[Mailbox]:
    """`login`: name and password that it wants. `tls`: it offers STARTTLS, or speaks nothing else (`is_implicit`)."""
    mailbox = Mailbox()

    def authenticate(server: SMTP, session: Any, envelope: Envelope, mechanism: str, data: Any) -> AuthResult:
        assert login is not None
        mailbox.passwords.append(data.password.decode())
        return AuthResult(success=(data.login.decode(), data.password.decode()) == login)

    def serve() -> SMTP:
        options: dict[str, Any] = {"hostname": "mail.example.org", "decode_data": False}
        if login is not None:
            options |= {"authenticator": authenticate, "auth_required": True, "auth_require_tls": False}
        if tls is not None and not is_implicit:
            options |= {"tls_context": tls}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that passwords come unencrypted: this is loopback
            return SMTP(mailbox, **options)

    server = await asyncio.get_running_loop().create_server(serve, "127.0.0.1", 0, ssl=tls if is_implicit else None)
    mailbox.port = server.sockets[0].getsockname()[1]
    try:
        yield mailbox
    finally:
        server.close()


def body(letter: EmailMessage, kind: str = "plain") -> str:
    """What the letter says, as text or as HTML."""
    part = letter.get_body((kind,))
    assert part is not None
    content: str = part.get_content()
    return content.replace("\r\n", "\n")


async def use_mail(auth: Auth, mailbox: Mailbox) -> None:
    """Has the workspace send its letters there."""
    await set_setting(auth, "SMTP_Host", "127.0.0.1")
    await set_setting(auth, "SMTP_Port", str(mailbox.port))
    await set_setting(auth, "From_Email", SENDER)
