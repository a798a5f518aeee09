"""Rooms and messages for the tests of the gateway's surfaces."""

from typing import Any

from tests.gateway.rest import Client


async def make_channel(client: Client, name: str, **fields: Any) -> str:
    """The id of a new public room."""
    room_id: str = (await client.post("channels.create", name=name, **fields))["channel"]["_id"]
    return room_id


async def make_group(client: Client, name: str, **fields: Any) -> str:
    """The id of a new private room."""
    room_id: str = (await client.post("groups.create", name=name, **fields))["group"]["_id"]
    return room_id


async def say(client: Client, room_id: str, text: str, **fields: Any) -> dict[str, Any]:
    """A message that was just sent."""
    answer = await client.post("chat.sendMessage", message={"rid": room_id, "msg": text, **fields})
    message: dict[str, Any] = answer["message"]
    return message
