"""Exports: a room as a file for who asked, or some of its messages in letters. Called by role.py.

What is asked for is a record; one process of all works these off, one after another, under a lease, so that an export
outlives whoever began it. A file is put into the direct room of who asked with rocket.cat: there it is a file like any
other, which only they can have. Its ids stand in the record, so that who does it a second time does it once.

A letter can't be taken back, so each goes out once at most: the record says that it is being sent before it is. Where
nobody knows what became of it (the process died, the server gave no answer), it is not sent again, and who asked hears
whom it was for.
"""

import contextlib
import logging
from html import escape

import orjson
from prometheus_client import Counter

from palaver import failpoints
from palaver.blobs import FILES, BlobTooLarge
from palaver.commit import now
from palaver.database import Document
from palaver.errors import InvalidInput, NotAllowed, NotFound, PalaverError, TooManyRequests, Unavailable
from palaver.events import SYSTEM, user_actor
from palaver.ids import new_id
from palaver.mail import Mail, MailFailed, MailInDoubt, is_address, wrap
from palaver.messaging import rules, transcripts
from palaver.messaging.archives import Archive
from palaver.messaging.direct import DirectRooms
from palaver.messaging.messages import Messages
from palaver.messaging.notices import ROCKET_CAT
from palaver.messaging.rounds import GoOn, Rounds
from palaver.messaging.store import Store
from palaver.messaging.uploads import Uploads
from palaver.messaging.views import View, Views
from palaver.node import Node
from palaver.v1.auth_pb2 import GetUsersRequest
from palaver.v1.messaging_pb2 import (
    ExportRoomReply,
    ExportRoomRequest,
    OpenDirectRoomRequest,
    SendMessageRequest,
    UploadRequest,
)

logger = logging.getLogger(__name__)

EXPORTED = Counter("palaver_rooms_exported_total", "Exports of rooms, by how they ended", ["outcome"])

KIND = "exports"
_ROUND_SECONDS = 10.0
_MAX_WAITING = 100
_MAX_WAITING_EACH = 5  # of one user
_MAX_RECIPIENTS = 100
_MAX_MESSAGES = 500  # of a letter
_MAX_ATTEMPTS = 5
_MAX_UNAVAILABLE = 10  # where a part of the system did not answer: for some hours
_PAUSE = 60_000  # milliseconds before the second try; each next one is twice as long
_MAX_BYTES = 16 * 1024**3
_PERMISSION = "mail-messages"


class _NotMine(Exception):
    """Another process has the lease now."""


class Exports:
    """The use case, and the task of one process, which may have the lease or not."""

    def __init__(
        self,
        node: Node,
        store: Store,
        views: Views,
        uploads: Uploads,
        messages: Messages,
        direct: DirectRooms,
        mail: Mail,
    ) -> None:
        self._node = node
        self._database = node.database
        self._store = store
        self._views = views
        self._uploads = uploads
        self._messages = messages
        self._direct = direct
        self._mail = mail
        self._rounds = Rounds(node, KIND, _ROUND_SECONDS, self._export_due)

    async def ask(self, request: ExportRoomRequest) -> ExportRoomReply:
        """Has it done. Raises RoomNotFound, NotAllowed, InvalidInput, MailNotConfigured, TooManyRequests."""
        view = await self._views.get_readable(request.actor, request.room_id)
        self._check(view)
        reply = ExportRoomReply()
        wanted: Document = {"room_id": request.room_id, "user_id": view.user.id, "attempts": 0, "due": now()}
        wanted["message_id"] = new_id()  # of what who asked is told at last
        if request.format:
            if request.format not in ("html", "json"):
                raise InvalidInput("The format is html or json", code="error-invalid-format")
            if request.oldest > request.latest:
                raise InvalidInput("From date cannot be after to date", code="error-invalid-dates")
            wanted |= {"format": request.format, "oldest": request.oldest, "latest": request.latest}
            wanted["upload_id"] = new_id()
        else:
            self._mail.check_configured()
            emails, missing = await self._find_recipients(request)
            reply.missing.extend(missing)
            await self._get_messages(view, list(request.message_ids))
            wanted |= {"emails": emails, "subject": request.subject, "message_ids": list(request.message_ids)}
            if not emails:
                return reply
        await self._check_waiting(view.user.id)
        await self._database.put_record(KIND, f"{wanted['due']:014d}-{new_id()}", wanted)
        await self._rounds.wake()
        return reply

    def _check(self, view: View) -> None:
        self._views.check(view.user, _PERMISSION, view.roles, code="error-action-not-allowed")

    async def _check_waiting(self, user_id: str) -> None:
        waiting = [record for _, record in await self._database.list_records(KIND, limit=_MAX_WAITING)]
        own = sum(record["user_id"] == user_id for record in waiting)
        if len(waiting) >= _MAX_WAITING or own >= _MAX_WAITING_EACH:
            raise TooManyRequests("Too many exports are waiting already")

    async def _find_recipients(self, request: ExportRoomRequest) -> tuple[list[str], list[str]]:
        """The addresses that a letter goes to, and the names of those who have none."""
        if not request.emails and not request.usernames:
            raise InvalidInput("Invalid recipient", code="error-invalid-recipient")
        if len(request.emails) + len(request.usernames) > _MAX_RECIPIENTS:
            raise InvalidInput(f"At most {_MAX_RECIPIENTS} recipients", code="error-invalid-recipient")
        if wrong := [email for email in request.emails if not is_address(email)]:
            raise InvalidInput(f"Invalid email {wrong[0][:254]}", code="error-invalid-recipient")
        found: Document = {}
        if request.usernames:
            reply = await self._node.services.auth.get_users(GetUsersRequest(usernames=request.usernames))
            users = [orjson.loads(data) for data in reply.documents]
            found = {user["username"]: user["emails"][0]["address"] for user in users if user.get("emails")}
        emails = list(dict.fromkeys([*request.emails, *found.values()]))
        return emails, [name for name in request.usernames if name not in found]

    async def _get_messages(self, view: View, ids: list[str]) -> list[Document]:
        """Those of the room that are there, in the order asked for. Raises InvalidInput when there are none."""
        if len(ids) > _MAX_MESSAGES:
            raise InvalidInput(f"At most {_MAX_MESSAGES} messages", code="error-invalid-messages")
        found = await self._database.get_many("messages", ids) if ids else {}
        there = [found[id] for id in dict.fromkeys(ids) if id in found and found[id]["rid"] == view.room_id]
        there = [message for message in there if not rules.is_gone(view.room, message)]
        if not there:
            raise InvalidInput("None of the messages is in the room", code="error-invalid-messages")
        return there

    # -- doing it ------------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """The background task."""
        await self._rounds.run()

    async def _export_due(self) -> None:
        while await self.export_next(now(), self._rounds.is_mine):
            pass

    async def export_next(self, at: int, go_on: GoOn) -> bool:
        """Does the oldest export that is due at this time (epoch milliseconds). False when there is none, or `go_on`
        said so, which is asked before a letter is sent and before the record is replaced."""
        for id, wanted in await self._database.list_records(KIND, limit=_MAX_WAITING):
            if wanted["due"] <= at:
                return await self._attempt(id, wanted, at, go_on)
        return False

    async def _attempt(self, id: str, wanted: Document, at: int, go_on: GoOn) -> bool:
        try:
            view = await self._get_view(wanted)
            if "format" in wanted:
                await self._write_file(wanted, view)
            else:
                await self._send_letters(id, wanted, view, go_on)
        except _NotMine:
            return False
        except (BlobTooLarge, InvalidInput, NotAllowed, NotFound) as error:
            await self._give_up(id, wanted, error)
        except Exception as error:  # whatever it is, it keeps no other export waiting
            if not await go_on():
                return False
            attempts = wanted["attempts"] + 1
            logger.warning("export %s has failed %d times", id, attempts, exc_info=error)
            if attempts >= (_MAX_UNAVAILABLE if isinstance(error, Unavailable) else _MAX_ATTEMPTS):
                await self._give_up(id, wanted, error)
            else:
                current = await self._database.find_record(KIND, id) or wanted
                due = at + _PAUSE * 2 ** (attempts - 1)
                await self._database.replace_record(KIND, id, {**current, "attempts": attempts, "due": due})
        else:
            failpoints.reach("export.before_end")
            await self._database.delete_record(KIND, id)
            EXPORTED.labels("done").inc()
        return True

    async def _give_up(self, id: str, wanted: Document, error: Exception) -> None:
        logger.warning("export %s is given up: %s", id, error)
        await self._database.delete_record(KIND, id)
        EXPORTED.labels("failed").inc()
        with contextlib.suppress(PalaverError):  # who is gone, or can't be written to, hears nothing
            await self._tell(wanted["user_id"], new_id(), "Your export could not be made.")

    async def _get_view(self, wanted: Document) -> View:
        """The room, if who asked may still export it. Raises RoomNotFound, NotAllowed."""
        view = await self._views.get_readable(user_actor(wanted["user_id"]), wanted["room_id"])
        self._check(view)
        return view

    async def _write_file(self, wanted: Document, view: View) -> None:
        title = str(view.room.get("fname") or view.room.get("name") or ", ".join(view.room.get("usernames", ())))
        archive = Archive(
            self._database,
            self._node.blobs,
            view.room,
            oldest=wanted["oldest"],
            latest=wanted["latest"],
            format=wanted["format"],
        )
        key = f"{FILES}/{wanted['upload_id']}"
        digest = await self._node.blobs.put(key, archive.read(title), max_size=_MAX_BYTES)
        failpoints.reach("export.after_file")
        upload = UploadRequest(
            actor=user_actor(ROCKET_CAT),
            upload_id=wanted["upload_id"],
            name=f"{view.room.get('name') or 'messages'}.zip",
            type="application/zip",
            size=digest.size,
            sha256=digest.sha256,
        )
        await self._tell(view.user.id, wanted["message_id"], f"Your export of {title} is ready.", upload)

    async def _tell(self, user_id: str, message_id: str, text: str, upload: UploadRequest | None = None) -> None:
        """Says something in the direct room of a user with rocket.cat, with a file if there is one."""
        opened = await self._direct.open(
            OpenDirectRoomRequest(actor=SYSTEM, user_ids=[ROCKET_CAT, user_id], exclude_self=True)
        )
        room_id = orjson.loads(opened.room)["_id"]
        message = SendMessageRequest(actor=user_actor(ROCKET_CAT), room_id=room_id, message_id=message_id, text=text)
        if upload is not None:
            upload.room_id = room_id
            await self._uploads.add(upload, by_system=True)
            message.upload_id = upload.upload_id
        await self._messages.send(message)

    async def _send_letters(self, id: str, wanted: Document, view: View, go_on: GoOn) -> None:
        messages = await self._get_messages(view, wanted["message_ids"])
        setting = self._node.access.setting
        values = {
            "Site_Name": escape(str(setting("Site_Name"))),
            "Site_URL": escape(str(setting("Site_Url") or self._node.config.site_url).rstrip("/")),
        }
        body = "".join(transcripts.html_of(message, {}) for message in messages)
        html = wrap(setting, body, values, {})
        subject = wanted["subject"] or f"Messages of {view.room.get('fname') or view.room.get('name', '')}".strip()
        await self._send_each(id, wanted, go_on, subject, html)

    async def _send_each(self, id: str, wanted: Document, go_on: GoOn, subject: str, html: str) -> None:
        """To each address that is left, once at most. Raises _NotMine, MailFailed: some are left then."""
        doubtful = [*wanted.get("doubtful", ()), *wanted.get("sending", ())]
        left = list(wanted["emails"])
        while left:
            if not await go_on():
                raise _NotMine
            email = left.pop(0)
            state = {**wanted, "emails": left, "doubtful": doubtful}
            # Whoever has been without the lease for long brings back no record that is done.
            if not await self._database.replace_record(KIND, id, {**state, "sending": [email]}):
                raise _NotMine
            failpoints.reach("export.before_letter")
            try:
                await self._mail.send(email, subject, html)
            except MailInDoubt:
                doubtful.append(email)
            except MailFailed:
                if await go_on():
                    await self._database.replace_record(KIND, id, {**state, "emails": [email, *left], "sending": []})
                raise
            failpoints.reach("export.after_letter")
        if doubtful:
            await self._database.replace_record(KIND, id, {**wanted, "emails": [], "sending": [], "doubtful": doubtful})
            text = f"It is not known whether your letter has reached {', '.join(doubtful)}: it is not sent again."
            await self._tell(wanted["user_id"], wanted.get("message_id") or new_id(), text)
