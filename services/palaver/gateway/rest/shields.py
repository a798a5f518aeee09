"""Small pictures for other pages, which say how many are online here, or where to find a room or somebody."""

from html import escape

from starlette.responses import Response

from palaver.errors import InvalidInput, NotAllowed
from palaver.gateway.call import Call
from palaver.gateway.rest.endpoint import Answer, LooseParams, RateLimit, endpoint
from palaver.v1.presence_pb2 import GetPresenceRequest

_LETTER = 7  # pixels, about
_MAX_TEXT = 60
_PICTURE = (
    '<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="20" role="img" aria-label="{label}: {text}">'
    '<rect width="{width}" height="20" rx="3" fill="#555555"/>'
    '<rect x="{left}" width="{right}" height="20" rx="3" fill="#4a55c2"/>'
    '<g fill="#ffffff" text-anchor="middle" font-family="Verdana, Arial, sans-serif" font-size="11">'
    '<text x="{left_middle}" y="14">{label}</text><text x="{right_middle}" y="14">{text}</text></g></svg>'
)


class ShieldQuery(LooseParams):
    type: str = ""
    channel: str = ""
    name: str = ""
    icon: str = ""


@endpoint("GET", "shield.svg", query=ShieldQuery, login="optional", rate_limit=RateLimit(60, 60), answer="picture")
async def shield(call: Call, query: ShieldQuery) -> Answer:
    """`type` is online, channel or user, or left out for an invitation; `name` stands to the left."""
    if not call.setting("API_Enable_Shields"):
        raise NotAllowed("This endpoint is disabled", code="error-endpoint-disabled")
    allowed = [name.strip() for name in str(call.setting("API_Shield_Types") or "").split(",")]
    if "*" not in allowed and query.type not in allowed:
        raise NotAllowed("This shield type is disabled", code="error-shield-disabled")
    match query.type:
        case "online":
            people = (await call.services.presence.get_presence(GetPresenceRequest())).users
            text = f"{len(people)} online"
        case "channel" if query.channel:
            text = f"#{query.channel.lstrip('#')}"
        case "user":
            if call.setting("API_Shield_user_require_auth") and call.user is None:
                raise NotAllowed()
            text = f"@{call.user.username}" if call.user is not None else query.name or "user"
        case "":
            text = "Join Chat"
        case _:
            raise InvalidInput("Invalid shield type", code="error-invalid-params")
    return Response(_draw(query.name or "Chat", text), headers={"Content-Type": "image/svg+xml;charset=utf-8"})


def _draw(label: str, text: str) -> str:
    label, text = label[:_MAX_TEXT], text[:_MAX_TEXT]
    left, right = len(label) * _LETTER + 12, len(text) * _LETTER + 12
    return _PICTURE.format(
        width=left + right,
        left=left,
        right=right,
        left_middle=left // 2,
        right_middle=left + right // 2,
        label=escape(label),
        text=escape(text),
    )
