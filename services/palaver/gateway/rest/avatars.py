"""Pictures of users: set, reset and found."""

from starlette.responses import Response

from palaver.access import User
from palaver.gateway.call import Call
from palaver.gateway.multipart import MultipartForm
from palaver.gateway.operations import avatars
from palaver.gateway.operations.authentication import avatar_url
from palaver.gateway.operations.users import get_user, is_myself
from palaver.gateway.pictures import MAX_BYTES, InvalidPicture
from palaver.gateway.rest.dispatch import read_body
from palaver.gateway.rest.endpoint import Answer, LooseParams, endpoint
from palaver.gateway.uploads import Incoming


class AvatarBody(LooseParams, rename="camel"):
    avatar_url: str = ""
    user_id: str | None = None
    username: str | None = None


class WhoseAvatar(LooseParams, rename="camel"):
    user_id: str | None = None
    username: str | None = None
    user: str | None = None


@endpoint("POST", "users.setAvatar", form=("image", "userId", "username"))
async def set_avatar(call: Call, incoming: Incoming) -> Answer:
    """A picture as the form's file `image`, or by the address `avatarUrl` in JSON."""
    content_type = incoming.request.headers.get("content-type", "")
    if not content_type.lower().startswith("multipart/form-data"):
        body: AvatarBody = await read_body(incoming.request, AvatarBody)
        user = await _whose(call, body.user_id, body.username)
        avatars.check_may_change(call, user)
        if not body.avatar_url:
            raise InvalidPicture("The required avatarUrl or image was not provided", code="error-avatar-invalid-url")
        await avatars.set_avatar(call, user, await call.pictures.fetch(body.avatar_url), "url")
        return {}
    picture = bytearray()
    fields: dict[str, str] = {}
    async for part in MultipartForm(content_type, incoming.request.stream()).parts():
        if part.filename is None:
            fields[part.name] = await part.text()
            continue
        if part.name != "image" or picture:
            raise InvalidPicture("The form has one file, its image", code="invalid-field")
        # By what the form has said so far; what comes later is checked, too, before anything is kept.
        avatars.check_may_change(call, await _whose(call, fields.get("userId"), fields.get("username")))
        async for chunk in part.chunks():
            picture += chunk
            if len(picture) > MAX_BYTES:
                raise InvalidPicture("The picture is too large", code="error-file-too-large")
    user = await _whose(call, fields.get("userId"), fields.get("username"))
    await avatars.set_avatar(call, user, bytes(picture), "rest")
    return {}


@endpoint("POST", "users.resetAvatar", body=WhoseAvatar)
async def reset_avatar(call: Call, body: WhoseAvatar) -> Answer:
    await avatars.reset_avatar(call, await _whose(call, body.user_id, body.username or body.user))
    return {}


@endpoint("GET", "users.getAvatar", query=WhoseAvatar, login="optional", answer="redirect")
async def get_avatar(call: Call, query: WhoseAvatar) -> Answer:
    """Leads to the picture."""
    user = await get_user(call, query.user_id, query.username or query.user)
    address = avatar_url(call, user.username)
    return Response(address, 307, {"Location": address})


@endpoint("GET", "users.getAvatarSuggestion")
async def get_avatar_suggestion(call: Call) -> Answer:
    return {"suggestions": avatars.suggest(call)}


async def _whose(call: Call, user_id: str | None, username: str | None) -> User:
    if is_myself(call, user_id, username):
        return call.me
    return await get_user(call, user_id, username)
