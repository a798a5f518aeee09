"""DDP frames as ready websocket bytes. A frame that many get is built once and written as it is to every socket."""

from collections.abc import Iterator
from typing import Any

import orjson


def text_frame(payload: bytes) -> bytes:
    """An unmasked, final text frame (RFC 6455, section 5.2)."""
    size = len(payload)
    if size < 126:
        return bytes((0x81, size)) + payload
    if size < 65536:
        return b"\x81\x7e" + size.to_bytes(2, "big") + payload
    return b"\x81\x7f" + size.to_bytes(8, "big") + payload


def close_frame(code: int, reason: str) -> bytes:
    """RFC 6455, section 5.5.1."""
    payload = code.to_bytes(2, "big") + reason.encode()[:120]
    return bytes((0x88, len(payload))) + payload


def split_frames(data: bytes) -> Iterator[tuple[int, bytes, bytes]]:
    """Ready frames that stand one after another, each as its opcode, its payload and the whole of it."""
    start = 0
    while start < len(data):
        size, payload = data[start + 1], start + 2
        if size > 125:
            payload += 2 if size == 126 else 8
            size = int.from_bytes(data[start + 2 : payload], "big")
        end = payload + size
        yield data[start] & 0x0F, data[payload:end], data[start:end]
        start = end


def changed_prefix(collection: str, event_name: str) -> bytes:
    """The beginning of every `changed` frame of one event; its arguments and `CHANGED_SUFFIX` follow.

    The id is literally "id": some clients drop anything else.
    """
    return (
        b'{"msg":"changed","collection":"'
        + collection.encode()
        + b'","id":"id","fields":{"eventName":'
        + orjson.dumps(event_name)
        + b',"args":['
    )


CHANGED_SUFFIX = b"]}}"


def changed_frame(collection: str, event_name: str, arguments: bytes) -> bytes:
    """A `changed` frame; `arguments` is encoded JSON without the brackets: `value,value`."""
    return text_frame(changed_prefix(collection, event_name) + arguments + CHANGED_SUFFIX)


def result_frames(id: bytes, result: Any) -> bytes:
    """`result` and `updated` for a method's id (encoded). Without a value there is no key `result`."""
    body = b'{"msg":"result","id":' + id
    if result is not None:
        body += b',"result":' + orjson.dumps(result)
    return text_frame(body + b"}") + text_frame(b'{"msg":"updated","methods":[' + id + b"]}")


def error_frames(id: bytes, error: dict[str, Any]) -> bytes:
    return text_frame(b'{"msg":"result","id":' + id + b',"error":' + orjson.dumps(error) + b"}") + text_frame(
        b'{"msg":"updated","methods":[' + id + b"]}"
    )


def frame(**fields: Any) -> bytes:
    return text_frame(orjson.dumps(fields))


# Exactly these bytes, and no `msg`: old clients compare the literal string.
SERVER_ID = text_frame(b'{"server_id":"0"}')
PING = text_frame(b'{"msg":"ping"}')
PONG = text_frame(b'{"msg":"pong"}')
