"""Files of rooms: who may add one, what a message of one looks like, who may have it, and what is removed.

The gateway passes the bytes to the blobs; here is everything else. A file that no message is of expires after a day;
one whose message or room is deleted goes with it. Their bytes are removed a day later, by `run_cleaning`: they may be
on their way to somebody, and a backup that began before (`backup/`) has events that need them.
"""

import asyncio
import logging
import random
from collections.abc import Sequence
from urllib.parse import quote

import orjson
from prometheus_client import Counter

from palaver.blobs import AVATARS, FILES, Blob, BlobNotFound
from palaver.commit import Draft, now
from palaver.database import Document
from palaver.errors import InvalidInput, NotAllowed, RoomNotFound, Unavailable
from palaver.events import room_stream
from palaver.messaging import rules
from palaver.messaging.files import find_end, is_gone
from palaver.messaging.messages import Messages
from palaver.messaging.store import Store
from palaver.messaging.views import View, Views
from palaver.node import Node
from palaver.v1.auth_pb2 import Empty, PicturesRequest
from palaver.v1.event_pb2 import Event
from palaver.v1.messaging_pb2 import GetUploadRequest, UploadReply, UploadRequest

logger = logging.getLogger(__name__)

ADDED = Counter("palaver_uploads_added_total", "Files whose bytes were stored")
REMOVED = Counter("palaver_uploads_removed_total", "Files whose bytes were removed: nobody can have them any more")

KIND = FILES
_KEEP_MILLISECONDS = 24 * 3_600_000
_CLEAN_EVERY_SECONDS = 3600.0
_AT_ONCE = 100
_MAX_NAME = 255


class Uploads:
    """The use cases of uploads."""

    def __init__(self, node: Node, store: Store, views: Views, messages: Messages) -> None:
        self._node = node
        self._store = store
        self._views = views
        self._messages = messages

    async def check(self, request: UploadRequest) -> Empty:
        """Raises RoomNotFound, NotAllowed, InvalidInput for a file that `add` would refuse."""
        user = await self._node.access.get_actor(request.actor)
        self._check(await self._views.view_for(user, await self._store.find_room(request.room_id)), request)
        return Empty()

    async def add(self, request: UploadRequest) -> UploadReply:
        """Gives the file its document. Raises what `check` does."""
        user = await self._node.access.get_actor(request.actor)

        async def decide(draft: Draft) -> bytes:
            view = await self._views.get_drafted(draft, user)
            at = rules.event_time(view.room, now())
            upload = _compose(request, at)
            if (known := await draft.get("uploads", request.upload_id)) is not None:
                if any(known[name] != upload[name] for name in ("rid", "userId", "sha256", "size", "name", "type")):
                    raise InvalidInput("An upload with this id exists already", code="invalid-file")
                return orjson.dumps(known)  # it is the same command, repeated
            self._check(view, request)
            event = Event()
            event.upload_added.upload_id = request.upload_id
            event.upload_added.upload = orjson.dumps(upload)
            draft.append(event, actor=request.actor, command_id=f"upload/{request.upload_id}", at=at)
            return event.upload_added.upload

        upload = await self._node.commits.execute(room_stream(request.room_id), decide)
        ADDED.inc()
        return UploadReply(upload=upload)

    async def get(self, request: GetUploadRequest) -> UploadReply:
        """A file's document, for somebody who may have it. Raises BlobNotFound, NotAllowed."""
        upload = await self._node.database.get("uploads", request.upload_id) if request.upload_id else None
        room = None if upload is None else await self._store.find_room(upload["rid"])
        if upload is None or room is None or is_gone(upload, room, now()):
            raise BlobNotFound()
        setting = self._node.access.setting
        if "expiresAt" in upload:
            if request.actor.id != upload["userId"]:
                raise BlobNotFound()
        elif setting("FileUpload_ProtectFiles"):
            user = await self._node.access.find_user(request.actor.id) if request.actor.id else None
            if user is None or not user.active:
                raise NotAllowed()
            try:
                view = await self._views.view_for(user, room)
            except RoomNotFound:
                raise NotAllowed() from None
            if setting("FileUpload_Restrict_to_room_members"):
                if view.subscription is None:
                    raise NotAllowed()
            elif not self._views.may_read(view):
                raise NotAllowed()
        return UploadReply(upload=orjson.dumps(upload))

    def _check(self, view: View, request: UploadRequest) -> None:
        self._messages.check_post(view)
        setting = self._node.access.setting
        if not setting("FileUpload_Enabled"):
            raise NotAllowed("File uploads are disabled", code="error-file-upload-disabled")
        if view.room["t"] == "d" and not setting("FileUpload_Enabled_Direct"):
            raise NotAllowed(
                "File uploads in direct messages are disabled", code="error-direct-message-file-upload-not-allowed"
            )
        limit = int(setting("FileUpload_MaxFileSize"))
        if 0 <= limit < request.size:
            raise InvalidInput(f"File exceeds allowed size of {limit} bytes", code="error-file-too-large")
        allowed, refused = setting("FileUpload_MediaTypeWhiteList"), setting("FileUpload_MediaTypeBlackList")
        if not rules.is_type_allowed(request.type, str(allowed or ""), str(refused or "")):
            raise InvalidInput("File type is not accepted.", code="error-invalid-file-type")
        if not request.name or len(request.name) > _MAX_NAME:
            raise InvalidInput("The file's name is empty or too long", code="invalid-file")

    # -- removing ------------------------------------------------------------------------------------------------------

    async def run_cleaning(self) -> None:
        """The background task that removes bytes that nobody can have any more; one process does it, under a lease."""
        while True:
            await asyncio.sleep(_CLEAN_EVERY_SECONDS * random.uniform(0.5, 1.0))
            try:
                if await self._node.live.acquire("uploads", self._node.config.node_id, _CLEAN_EVERY_SECONDS):
                    await self.clean(now())
            except Unavailable as error:
                logger.warning("removing what is left of uploads has to wait: %s", error)

    async def clean(self, at: int) -> None:
        """Removes what is in nobody's reach at this time (epoch milliseconds)."""
        await self._node.blobs.sweep()
        for kind, clean in ((KIND, self._clean), (AVATARS, self._clean_pictures)):
            some: list[Blob] = []
            async for blob in self._node.blobs.list(kind):
                some.append(blob)
                if len(some) == _AT_ONCE:
                    await clean(some, at)
                    some = []
            await clean(some, at)

    async def _clean_pictures(self, blobs: Sequence[Blob], at: int) -> None:
        """Removes pictures that no user and no room has: replaced, or never given to anybody."""
        old = {blob.key.partition("/")[2] for blob in blobs if blob.stored_at < at - _KEEP_MILLISECONDS}
        if not old:
            return
        reply = await self._node.services.auth.list_pictures_in_use(PicturesRequest(picture_ids=sorted(old)))
        of_rooms = await self._store.list_pictures(sorted(old))
        for picture_id in old.difference(reply.picture_ids, of_rooms):
            await self._node.blobs.delete(f"{AVATARS}/{picture_id}")
            REMOVED.inc()

    async def _clean(self, blobs: Sequence[Blob], at: int) -> None:
        ids = [blob.key.partition("/")[2] for blob in blobs]
        uploads = await self._node.database.get_many("uploads", ids)
        rooms = await self._node.database.get_many("rooms", sorted({upload["rid"] for upload in uploads.values()}))
        for id, blob in zip(ids, blobs, strict=True):
            upload = uploads.get(id)
            if upload is None:
                # Its document comes after its bytes; a process that died between the two never made one.
                is_left = blob.stored_at < at - _KEEP_MILLISECONDS
            else:
                end = find_end(upload, rooms.get(upload["rid"]))
                is_left = end is not None and end < at - _KEEP_MILLISECONDS
            if is_left:
                await self._node.blobs.delete(blob.key)
                REMOVED.inc()


def _compose(request: UploadRequest, at: int) -> Document:
    path = f"/file-upload/{request.upload_id}/{quote(request.name, safe='')}"
    dot = request.name.rfind(".")
    return {
        "_id": request.upload_id,
        "rid": request.room_id,
        "userId": request.actor.id,
        "name": request.name,
        "type": request.type,
        "extension": request.name[dot + 1 :] if dot > 0 else "",
        "typeGroup": request.type.partition("/")[0],
        "size": request.size,
        "sha256": request.sha256,
        "complete": True,
        "path": path,
        "url": path,
        "uploadedAt": {"$date": at},
        "expiresAt": {"$date": at + _KEEP_MILLISECONDS},
    }
