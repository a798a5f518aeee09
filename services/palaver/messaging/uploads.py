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

from palaver.blobs import AVATARS, FILES, MEDIA, Blob, BlobNotFound
from palaver.commit import Draft, now
from palaver.database import Document, Filter
from palaver.database.schema import COLLECTIONS, FieldType
from palaver.errors import InvalidInput, NotAllowed, RoomNotFound, Unavailable
from palaver.events import room_stream
from palaver.filters import read_filter, read_sort, with_id
from palaver.messaging import rules
from palaver.messaging.files import THUMBNAILS, find_end, is_gone
from palaver.messaging.messages import Messages
from palaver.messaging.store import Store
from palaver.messaging.views import View, Views
from palaver.node import Node
from palaver.v1.auth_pb2 import DocumentsReply, Empty, GetUsersRequest, PicturesRequest
from palaver.v1.event_pb2 import Event
from palaver.v1.messaging_pb2 import (
    GetUploadRequest,
    ListUploadsRequest,
    Picture,
    Thumbnail,
    UploadReply,
    UploadRequest,
)

logger = logging.getLogger(__name__)

ADDED = Counter("palaver_uploads_added_total", "Files whose bytes were stored")
REMOVED = Counter("palaver_uploads_removed_total", "Files whose bytes were removed: nobody can have them any more")

KIND = FILES
_KEEP_MILLISECONDS = 24 * 3_600_000
_CLEAN_EVERY_SECONDS = 3600.0
_AT_ONCE = 100
_MAX_NAME = 255
# What lists of files can be filtered and sorted by, and what of a file they don't show.
_FILTERED: dict[str, FieldType] = {
    "_id": "text",
    **{name: COLLECTIONS["uploads"].fields[name] for name in ("name", "type", "typeGroup", "userId", "uploadedAt")},
}
_INSIDE = ("sha256", "message_id", "deleted_at", "expiresAt", "preview", "thumbnail_id")
_MAX_PREVIEW = 4096
_MAX_LISTED = 10_000  # some hundred bytes each


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

    async def add(self, request: UploadRequest, *, by_system: bool = False) -> UploadReply:
        """Gives the file its document. Raises what `check` does.

        `by_system`: it is none that somebody sends, so what members may send does not matter.
        """
        user = await self._node.access.get_actor(request.actor)

        async def decide(draft: Draft) -> bytes:
            view = await self._views.get_drafted(draft, user)
            at = rules.event_time(view.room, now())
            upload = _compose(request, at)
            if (known := await draft.get("uploads", request.upload_id)) is not None:
                if any(known[name] != upload[name] for name in ("rid", "userId", "sha256", "size", "name", "type")):
                    raise InvalidInput("An upload with this id exists already", code="invalid-file")
                return orjson.dumps(known)  # it is the same command, repeated
            if not by_system:
                self._check(view, request)
            event = Event()
            event.upload_added.upload_id = request.upload_id
            event.upload_added.upload = orjson.dumps(upload)
            if thumbnail_id := upload.get("thumbnail_id"):
                if await draft.get("uploads", thumbnail_id) is not None:
                    raise InvalidInput("An upload with this id exists already", code="invalid-file")
                event.upload_added.thumbnail_id = thumbnail_id
                event.upload_added.thumbnail = orjson.dumps(_compose_thumbnail(request, at))
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

    async def list_some(self, request: ListUploadsRequest) -> DocumentsReply:
        """A page of the room's files that messages are of, newest first unless asked otherwise.

        Raises RoomNotFound, NotAllowed, InvalidInput.
        """
        if request.offset < 0 or request.count < 0:
            raise InvalidInput("offset and count can't be negative")
        view = await self._views.get_readable(request.actor, request.room_id)
        where: list[Filter] = [
            {"rid": request.room_id, "deleted_at": None, "message_id": {"$exists": True}},
            read_filter(request.filter, _FILTERED),
        ]
        if cleared := view.room.get("cleared_at"):
            where.append({"uploadedAt": {"$gt": cleared}})
        database = self._node.database
        if request.starting_from_id:
            first = await database.get("uploads", request.starting_from_id)
            if first is None or first["rid"] != request.room_id:
                raise InvalidInput("There is no such file in the room", code="invalid-file")
            where.append({"uploadedAt": {"$lte": first["uploadedAt"]}})
        every = {"$and": [one for one in where if one]}
        sort = read_sort(request.sort, _FILTERED) or [("uploadedAt", -1)]
        count = min(request.count or _MAX_LISTED, _MAX_LISTED)
        found = await database.find("uploads", every, sort=with_id(sort), skip=request.offset, limit=count)
        total = len(found)
        if request.offset or total == count:
            total = await database.count("uploads", every)
        return DocumentsReply(documents=await self._show(found), total=total)

    async def _show(self, uploads: Sequence[Document]) -> list[bytes]:
        """Files as clients see them, with who sent each."""
        ids = sorted({upload["userId"] for upload in uploads})
        reply = await self._node.services.auth.get_users(GetUsersRequest(user_ids=ids))
        users = {user["_id"]: user for user in map(orjson.loads, reply.documents)}
        store = f"{self._node.access.setting('FileUpload_Storage_Type')}:Uploads"
        shown: list[bytes] = []
        for upload in uploads:
            user = users.get(upload["userId"], {})
            public = {name: value for name, value in upload.items() if name not in _INSIDE}
            public |= {"store": store, "_updatedAt": upload["uploadedAt"]}
            public["user"] = {
                "_id": upload["userId"],
                **{name: user[name] for name in ("username", "name") if name in user},
            }
            shown.append(orjson.dumps(public))
        return shown

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
        if request.HasField("picture"):
            _check_picture(request)

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
        for kind, clean in ((KIND, self._clean), (AVATARS, self._clean_pictures), (MEDIA, self._clean_pictures)):
            some: list[Blob] = []
            async for blob in self._node.blobs.list(kind):
                some.append(blob)
                if len(some) == _AT_ONCE:
                    await clean(some, at)
                    some = []
            await clean(some, at)

    async def _clean_pictures(self, blobs: Sequence[Blob], at: int) -> None:
        """Removes pictures and sounds that nobody and nothing has: replaced, or never given to anybody."""
        old = {blob.key.partition("/")[2]: blob.key for blob in blobs if blob.stored_at < at - _KEEP_MILLISECONDS}
        if not old:
            return
        reply = await self._node.services.auth.list_pictures_in_use(PicturesRequest(picture_ids=sorted(old)))
        of_rooms = await self._store.list_pictures(sorted(old))
        for picture_id in set(old).difference(reply.picture_ids, of_rooms):
            await self._node.blobs.delete(old[picture_id])
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


def _check_picture(request: UploadRequest) -> None:
    """Raises InvalidInput for what no gateway makes of a picture."""
    picture, thumbnail = request.picture, request.picture.thumbnail
    sides = [picture.width, picture.height]
    if picture.HasField("thumbnail"):
        sides += [thumbnail.width, thumbnail.height]
        if not thumbnail.upload_id or thumbnail.upload_id == request.upload_id or thumbnail.size < 1:
            raise InvalidInput("The picture's thumbnail is none", code="invalid-file")
    if min(sides) < 1 or len(picture.preview) > _MAX_PREVIEW or not 1 <= len(picture.format) <= 10:
        raise InvalidInput("The picture is none", code="invalid-file")


def _compose(request: UploadRequest, at: int) -> Document:
    dot = request.name.rfind(".")
    extension = request.name[dot + 1 :] if dot > 0 else ""
    group = request.type.partition("/")[0]
    upload = _document(request, at, request, name=request.name, extension=extension, group=group)
    if request.HasField("picture"):
        picture = request.picture
        upload["identify"] = _identify(picture.format, picture)
        upload["preview"] = picture.preview
        if picture.HasField("thumbnail"):
            upload["thumbnail_id"] = picture.thumbnail.upload_id
    return upload


def _compose_thumbnail(request: UploadRequest, at: int) -> Document:
    """The document of a picture's thumbnail, which is in no list: no message is of it by itself."""
    thumbnail = request.picture.thumbnail
    format = thumbnail.type.partition("/")[2]
    document = _document(request, at, thumbnail, name=f"thumb-{request.name}", extension=format, group=THUMBNAILS)
    return {**document, "identify": _identify(format, thumbnail)}


def _document(
    request: UploadRequest, at: int, file: UploadRequest | Thumbnail, *, name: str, extension: str, group: str
) -> Document:
    path = f"/file-upload/{file.upload_id}/{quote(name, safe='')}"
    return {
        "_id": file.upload_id,
        "rid": request.room_id,
        "userId": request.actor.id,
        "name": name,
        "type": file.type,
        "extension": extension,
        "typeGroup": group,
        "size": file.size,
        "sha256": file.sha256,
        "complete": True,
        "path": path,
        "url": path,
        "uploadedAt": {"$date": at},
        "expiresAt": {"$date": at + _KEEP_MILLISECONDS},
    }


def _identify(format: str, picture: Picture | Thumbnail) -> Document:
    return {"format": format, "size": {"width": picture.width, "height": picture.height}}
