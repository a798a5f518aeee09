"""Forms with files (multipart/form-data), read as they come: no part is held as a whole, except in `read_form`.

For `uploads.py`, and for the endpoints of small pictures.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Literal

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from palaver.errors import InvalidInput

# How long a client may be silent in the middle of a body.
SILENCE_SECONDS = 60.0
_MAX_PARTS = 50
_MAX_FIELD_BYTES = 128 * 1024

_Event = tuple[Literal["begin", "name", "value", "header", "headers", "data", "end", "over"], bytes]


class InvalidForm(InvalidInput):
    code = "error-invalid-form"
    reason = "The request's body is no multipart form"


@dataclass(slots=True)
class Part:
    """One field of the form. `filename` is None for one that is no file."""

    name: str
    filename: str | None
    content_type: str
    _form: "MultipartForm"

    async def chunks(self) -> AsyncIterator[bytes]:
        """What the field holds, as it comes; to be read before the next part."""
        while (data := await self._form.next_data()) is not None:
            yield data

    async def text(self) -> str:
        """What a field that is no file holds. Raises InvalidForm where that is too much, or no text."""
        held = bytearray()
        async for data in self.chunks():
            held += data
            if len(held) > _MAX_FIELD_BYTES:
                raise InvalidForm
        try:
            return held.decode()
        except UnicodeDecodeError:
            raise InvalidForm from None


class MultipartForm:
    """A form as it comes over `body`."""

    def __init__(self, content_type: str, body: AsyncIterator[bytes]) -> None:
        """Raises InvalidForm where `content_type` names no multipart form."""
        kind, options = parse_options_header(content_type)
        if kind != b"multipart/form-data" or not options.get(b"boundary"):
            raise InvalidForm
        self._body = body
        self._is_in_part = False
        # What the parser has said of a chunk, in order.
        self._events: deque[_Event] = deque()
        say = self._events.append
        try:
            self._parser = MultipartParser(
                options[b"boundary"],
                {
                    "on_part_begin": lambda: say(("begin", b"")),
                    "on_header_field": lambda data, start, end: say(("name", data[start:end])),
                    "on_header_value": lambda data, start, end: say(("value", data[start:end])),
                    "on_header_end": lambda: say(("header", b"")),
                    "on_headers_finished": lambda: say(("headers", b"")),
                    "on_part_data": lambda data, start, end: say(("data", data[start:end])),
                    "on_part_end": lambda: say(("end", b"")),
                    "on_end": lambda: say(("over", b"")),
                },
            )
        except FormParserError:
            raise InvalidForm from None

    async def parts(self) -> AsyncIterator[Part]:
        """The form's fields in order; what is not read of one is passed over. Raises InvalidForm."""
        for _ in range(_MAX_PARTS):
            event, _data = await self._next_event()
            if event == "over":
                return
            if event != "begin":
                raise InvalidForm
            headers = await self._read_headers()
            self._is_in_part = True
            yield self._make_part(headers)
            while await self.next_data() is not None:
                pass
        raise InvalidForm

    async def next_data(self) -> bytes | None:
        """More of the part that is being read; None at its end, and after it."""
        if not self._is_in_part:
            return None
        event, data = await self._next_event()
        if event == "data":
            return data
        self._is_in_part = False
        if event != "end":
            raise InvalidForm
        return None

    def _make_part(self, headers: Mapping[bytes, bytes]) -> Part:
        _, options = parse_options_header(headers.get(b"content-disposition", b""))
        filename = options.get(b"filename")
        return Part(
            options.get(b"name", b"").decode(errors="replace"),
            None if filename is None else filename.decode(errors="replace"),
            headers.get(b"content-type", b"").decode("latin-1"),
            self,
        )

    async def _read_headers(self) -> dict[bytes, bytes]:
        headers: dict[bytes, bytes] = {}
        name = value = b""
        while True:
            event, data = await self._next_event()
            match event:
                case "name":
                    name += data
                case "value":
                    value += data
                case "header":
                    headers[name.lower()] = value
                    name = value = b""
                case "headers":
                    return headers
                case _:
                    raise InvalidForm

    async def _next_event(self) -> _Event:
        while not self._events:
            try:
                async with asyncio.timeout(SILENCE_SECONDS):
                    chunk = await anext(self._body, None)
            except TimeoutError:
                raise InvalidForm("The rest of the request's body does not come") from None
            if chunk is None:
                raise InvalidForm  # it ends before its last boundary
            try:
                self._parser.write(chunk)
            except FormParserError:
                raise InvalidForm from None
        return self._events.popleft()


async def read_form(form: MultipartForm, file_name: str, max_bytes: int) -> tuple[bytes | None, dict[str, str]]:
    """A form as a whole, with one file of this name or none: its bytes, and the other fields.

    Raises InvalidForm, InvalidInput for another file, or one of more bytes.
    """
    file: bytearray | None = None
    fields: dict[str, str] = {}
    async for part in form.parts():
        if part.filename is None:
            fields[part.name] = await part.text()
            continue
        if part.name != file_name or file is not None:
            raise InvalidInput("", code="invalid-field")
        file = bytearray()
        async for chunk in part.chunks():
            file += chunk
            if len(file) > max_bytes:
                raise InvalidInput("The file is too large", code="error-file-too-large")
    return None if file is None else bytes(file), fields
