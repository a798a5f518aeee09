"""E-mail, out only: the one way to send some, by the SMTP server that the workspace's settings name.

Called by the services, each with the settings as they are at that moment. Whatever can't be sent raises: nobody is
told of a letter that nobody gets.
"""

import asyncio
import contextlib
import functools
import logging
import re
import smtplib
import ssl
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from email.errors import HeaderParseError
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime, localtime, make_msgid, parseaddr
from html.parser import HTMLParser
from typing import Any

from prometheus_client import Counter

from palaver.errors import InvalidInput, PalaverError, Unavailable

logger = logging.getLogger(__name__)

SENT = Counter("palaver_mails_sent_total", "E-mails that an SMTP server has taken, or that failed", ["outcome"])

_STEP_SECONDS = 10.0  # for each word of the server's
_SECONDS = 30.0  # for all of it
_MAX_WAITING = 200
_THREADS = 2

_PHRASE = re.compile(r"\{([A-Za-z_]+)\}")
_VALUE = re.compile(r"\[([A-Za-z_]+)\]")


class MailNotConfigured(InvalidInput):
    code = "error-smtp-not-configured"
    reason = "This server can't send e-mail: its settings name no SMTP server and sender (SMTP_Host, From_Email)"


class MailFailed(PalaverError):
    code = "error-email-send-failed"
    reason = "The e-mail could not be sent"


class MailInDoubt(MailFailed):
    """The server had the letter, or was about to get it, and its answer did not come: it may have been sent."""

    reason = "It is not known whether the e-mail has been sent"


@dataclass(frozen=True, slots=True)
class _Server:
    host: str
    port: int
    is_tls: bool
    ignores_starttls: bool
    demands_tls: bool
    username: str
    password: str


class Mail:
    """Sends letters. `setting` gives a setting's value, as `Access.setting` does; `tls` is `PALAVER_SMTP_TLS`."""

    def __init__(self, setting: Callable[[str], Any], tls: str = "credentials") -> None:
        self._setting = setting
        self._tls = tls
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="mail")
        self._waiting = 0

    @property
    def is_configured(self) -> bool:
        return is_configured(self._setting)

    def check_configured(self) -> None:
        """Raises MailNotConfigured."""
        if not self.is_configured:
            raise MailNotConfigured()

    async def send(self, to: str, subject: str, html: str) -> None:
        """Returns when the server has taken the letter. Raises MailNotConfigured, MailFailed, Unavailable.

        MailInDoubt is the failure after which who sends it again may send it twice.
        """
        self.check_configured()
        if self._waiting >= _MAX_WAITING:
            raise Unavailable("Too many e-mails wait to be sent; try again")
        self._waiting += 1
        deadline = asyncio.timeout(_SECONDS)
        try:
            compose = functools.partial(
                _message, str(self._setting("From_Email")), to, subject, html, self._setting("email_plain_text_only")
            )
            async with deadline:
                await asyncio.get_running_loop().run_in_executor(self._threads, _send, self._server(), compose)
        except Exception as error:  # settings that can't be right fail in every way, and must stop no process
            SENT.labels("failed").inc()
            logger.warning("an e-mail could not be sent: %s", error.__cause__ or error)
            # Past the deadline the thread goes on: it may be anywhere.
            is_in_doubt = isinstance(error, MailInDoubt) or deadline.expired()
            raise (MailInDoubt() if is_in_doubt else MailFailed()) from error
        finally:
            self._waiting -= 1
        SENT.labels("sent").inc()

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _server(self) -> _Server:
        setting = self._setting
        is_tls = setting("SMTP_Protocol") == "smtps"
        return _Server(
            host=str(setting("SMTP_Host")).strip(),
            port=int(str(setting("SMTP_Port")).strip() or (465 if is_tls else 25)),
            is_tls=is_tls,
            ignores_starttls=bool(setting("SMTP_IgnoreTLS")),
            demands_tls=self._tls == "always" or (self._tls == "credentials" and bool(setting("SMTP_Username"))),
            username=str(setting("SMTP_Username")),
            password=str(setting("SMTP_Password")),
        )


def is_configured(setting: Callable[[str], Any]) -> bool:
    """Whether the settings name a server and a sender."""
    return bool(str(setting("SMTP_Host")).strip()) and bool(str(setting("From_Email")).strip())


def is_address(text: str) -> bool:
    """Whether a letter may be addressed to this."""
    try:
        return bool(Address(addr_spec=text).domain)
    except (ValueError, IndexError, HeaderParseError):
        return False


def fill(text: str, values: Mapping[str, str], phrases: Mapping[str, str]) -> str:
    """The text with its phrases (`{Key}`), and then with its values (`[Name]`); what is neither stays."""
    text = _PHRASE.sub(lambda found: phrases.get(found[1], found[0]), text)
    return _VALUE.sub(lambda found: values.get(found[1], found[0]), text)


def wrap(setting: Callable[[str], Any], body: str, values: Mapping[str, str], phrases: Mapping[str, str]) -> str:
    """The HTML of a letter between the header and the footer of the settings; `values` are escaped already."""
    known = {**values, "email_style": str(setting("email_style")).replace("<", "")}
    header, footer = (fill(str(setting(id)), known, phrases) for id in ("Email_Header", "Email_Footer"))
    return header + body + footer


def _message(sender: str, to: str, subject: str, html: str, plain_only: bool) -> EmailMessage:
    message = EmailMessage(policy=SMTP)
    name, address = parseaddr(sender)
    message["From"] = Address(name, addr_spec=address)
    message["To"] = Address(addr_spec=to)
    message["Subject"] = " ".join(subject.split())
    message["Date"] = format_datetime(localtime())
    message["Message-ID"] = make_msgid(domain=address.rpartition("@")[2] or None)
    message["Auto-Submitted"] = "auto-generated"
    message.set_content(plain_text(html))
    if not plain_only:
        message.add_alternative(html, subtype="html")
    return message


def _send(server: _Server, compose: Callable[[], EmailMessage]) -> None:
    """The whole conversation, in a thread; the letter is made there, too: it may be one of megabytes."""
    message = compose()
    context = ssl.create_default_context()
    connection: smtplib.SMTP
    if server.is_tls:
        connection = smtplib.SMTP_SSL(server.host, server.port, timeout=_STEP_SECONDS, context=context)
    else:
        connection = smtplib.SMTP(server.host, server.port, timeout=_STEP_SECONDS)
    try:
        connection.ehlo_or_helo_if_needed()
        wants_tls = server.demands_tls or not server.ignores_starttls
        if not server.is_tls and wants_tls and connection.has_extn("starttls"):
            connection.starttls(context=context)
        elif not server.is_tls and server.demands_tls:
            raise smtplib.SMTPNotSupportedError("the server offers no STARTTLS, which PALAVER_SMTP_TLS demands")
        if server.username:
            connection.login(server.username, server.password)
        try:
            connection.send_message(message)
        except OSError as error:
            if isinstance(error, smtplib.SMTPException) and not isinstance(error, smtplib.SMTPServerDisconnected):
                raise  # the server has said no
            raise MailInDoubt() from error
        with contextlib.suppress(OSError):  # the letter is taken, whatever becomes of the goodbye
            connection.quit()
    finally:
        connection.close()


# -- the same without pictures -----------------------------------------------------------------------------------------

_BLOCKS = frozenset({"p", "div", "br", "h1", "h2", "h3", "tr", "li", "table", "body"})
_SILENT = frozenset({"style", "script", "title", "head"})


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.parts: list[str] = []
        self._silent = 0
        self._links: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in _SILENT:
            self._silent += 1
        if tag in _BLOCKS:
            self.parts.append("\n")
        if tag == "a":
            self._links.append(dict(attrs).get("href") or "")

    def handle_endtag(self, tag: str) -> None:
        if tag in _SILENT:
            self._silent = max(0, self._silent - 1)
        if tag in _BLOCKS:
            self.parts.append("\n")
        if tag == "a" and self._links and (link := self._links.pop()):
            self.parts.append(f": {link}")

    def handle_data(self, data: str) -> None:
        if not self._silent:
            self.parts.append(data.replace("\n", " "))


def plain_text(html: str) -> str:
    """What a letter says, for who reads no HTML: a line for each block, links written out."""
    reader = _Reader()
    reader.feed(html)
    reader.close()
    lines = (" ".join(line.split()) for line in "".join(reader.parts).split("\n"))
    return "\n\n".join(line for line in lines if line) + "\n"
