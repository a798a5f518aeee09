"""`/api/docs`: the REST surface for people, as a page without scripts, and for programs, as an OpenAPI document.

Both are made when somebody first asks, in a thread, and kept. Assembled by `app.py`.
"""

import asyncio
import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from html import escape
from importlib.resources import files
from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import Response

from palaver.gateway.rest.endpoint import Endpoint
from palaver.gateway.rest.openapi import build_document

_POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"


@dataclass(frozen=True, slots=True)
class _Kept:
    """Ready bytes and the name of just these (RFC 9110, section 8.8.3)."""

    body: bytes
    tag: str


class Documentation:
    """Serves what the endpoints declare. `version` is the API's."""

    def __init__(self, endpoints: Iterable[Endpoint], version: str) -> None:
        self._endpoints = tuple(endpoints)
        self._version = version
        self._kept: tuple[_Kept, _Kept] | None = None  # page and document
        self._making = asyncio.Lock()

    async def page(self, request: Request) -> Response:
        page, _ = await self._get()
        return _answer(request, page, "text/html; charset=utf-8")

    async def document(self, request: Request) -> Response:
        _, document = await self._get()
        return _answer(request, document, "application/json")

    async def _get(self) -> tuple[_Kept, _Kept]:
        async with self._making:
            if self._kept is None:
                self._kept = await asyncio.to_thread(self._make)
        return self._kept

    def _make(self) -> tuple[_Kept, _Kept]:
        document = build_document(self._endpoints, self._version)
        return _keep(_write_page(document).encode()), _keep(orjson.dumps(document))


def _keep(body: bytes) -> _Kept:
    return _Kept(body, f'"{hashlib.sha256(body).hexdigest()[:32]}"')


def _answer(request: Request, kept: _Kept, media_type: str) -> Response:
    """The bytes, unless the client says that it has these. Asked for again each time: it changes with the version."""
    headers = {
        "ETag": kept.tag,
        "Cache-Control": "no-cache",
        "Content-Security-Policy": _POLICY,
        "X-Content-Type-Options": "nosniff",
    }
    known = [tag.strip().removeprefix("W/") for tag in request.headers.get("if-none-match", "").split(",")]
    if kept.tag in known or "*" in known:
        return Response(status_code=304, headers=headers)
    return Response(kept.body, headers={**headers, "Content-Type": media_type})


# -- the page ----------------------------------------------------------------------------------------------------------


def _write_page(document: dict[str, Any]) -> str:
    """The document for people: a line for each operation, which opens."""
    frame = files("palaver.gateway").joinpath("web/documentation.html").read_text(encoding="utf-8")
    sections: dict[str, list[str]] = {}
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            sections.setdefault(operation["tags"][0], []).append(
                _write_operation(method.upper(), path, operation, document)
            )
    contents = " ".join(f'<a href="#{escape(name)}">{escape(name)}</a>' for name in sections)
    listed = "\n".join(f'<h2 id="{escape(name)}">{escape(name)}</h2>\n{"".join(ops)}' for name, ops in sections.items())
    introduction = "".join(f"<p>{_prose(text)}</p>" for text in document["info"]["description"].strip().split("\n\n"))
    return (
        frame.replace("{{version}}", escape(document["info"]["version"]))
        .replace("{{introduction}}", introduction)
        .replace("{{contents}}", contents)
        .replace("{{operations}}", listed)
    )


def _write_operation(method: str, path: str, operation: dict[str, Any], document: dict[str, Any]) -> str:
    rows = [
        (parameter["name"], parameter["in"], parameter["schema"], parameter.get("required", False))
        for parameter in operation.get("parameters", ())
    ]
    for media_type, content in operation.get("requestBody", {}).get("content", {}).items():
        if media_type != "application/x-www-form-urlencoded":  # takes the same as JSON
            schema = _resolve(content["schema"], document)
            required = schema.get("required", ())
            rows += [(name, "body", kind, name in required) for name, kind in schema.get("properties", {}).items()]
    table = "".join(
        f"<tr><td><code>{escape(name)}</code></td><td>{place}</td><td>{escape(_kind(kind))}</td>"
        f"<td>{'required' if required else ''}</td></tr>"
        for name, place, kind, required in rows
    )
    return (
        f"<details><summary><b>{method}</b> <code>{escape(path[1:])}</code> "
        f"<span>{_prose(operation.get('summary', ''))}</span></summary>"
        + "".join(f"<p>{line}</p>" for line in _conditions(operation))
        + (f"<table>{table}</table>" if table else "<p>No parameters.</p>")
        + "</details>\n"
    )


def _conditions(operation: dict[str, Any]) -> list[str]:
    """What a caller needs, a sentence each."""
    security = operation.get("security", [])
    needs = ["Needs no login."] if not security else ["Login optional."] if {} in security else ["Needs a login."]
    for how, permissions in operation.get("x-permissions", {}).items():
        named = ", ".join(f"<code>{escape(permission)}</code>" for permission in permissions)
        needs.append(f"Permissions ({how} of): {named}.")
    if operation.get("x-second-factor"):
        needs.append("Needs a second factor.")
    if limit := operation.get("x-rate-limit"):
        needs.append(f"At most {limit['calls']} calls within {limit['seconds']:g} s for each {limit['by']}.")
    return needs


def _kind(schema: dict[str, Any]) -> str:
    """A type in a few words: "string", "list of string", "string or list of string", …"""
    if "$ref" in schema:
        return str(schema["$ref"].rpartition("/")[2].rpartition(".")[2])
    if "anyOf" in schema:
        kinds = [_kind(one) for one in schema["anyOf"] if one.get("type") != "null"]
        return " or ".join(dict.fromkeys(kinds))
    if "enum" in schema:
        return " | ".join(map(str, schema["enum"]))
    if schema.get("type") == "array":
        items = schema.get("items")
        return f"list of {_kind(items)}" if items else "list"
    return str(schema.get("type", "anything" if "contentMediaType" not in schema else "file"))


def _resolve(schema: dict[str, Any], document: dict[str, Any]) -> dict[str, Any]:
    if "$ref" not in schema:
        return schema
    found: dict[str, Any] = document["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    return found


def _prose(text: str) -> str:
    """Escaped, with `code` marked as such."""
    parts = escape(text).split("`")
    return "".join(f"<code>{part}</code>" if index % 2 else part for index, part in enumerate(parts))
