"""The addresses of incoming webhooks: /hooks/<integration>/<token>, from outside to messaging.

Whoever knows the token posts; there is no login. A body is JSON, or a form whose `payload` is. Many of its fields have
two names, as those of `chat.postMessage`.
"""

import logging
from typing import Any
from urllib.parse import parse_qsl

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from palaver.errors import InvalidInput, NotFound, PalaverError
from palaver.gateway.ejson import encode, loads, rest_dumps
from palaver.gateway.operations.attachments import check_attachments
from palaver.gateway.rest.dispatch import InvalidParameters, convert, read_data
from palaver.gateway.rest.errors import answer_for
from palaver.gateway.rest.posting import Posting
from palaver.node import Node
from palaver.telemetry import name_request, request_span
from palaver.v1.event_pb2 import Actor
from palaver.v1.integration_pb2 import PostByWebhookRequest

logger = logging.getLogger(__name__)

METHODS = ["GET", "POST", "PUT", "DELETE"]
_HEADERS = {"Cache-Control": "no-store", "Pragma": "no-cache"}


class Hooks:
    """Every incoming webhook of the workspace."""

    def __init__(self, node: Node) -> None:
        self._node = node

    async def receive(self, request: Request) -> Response:
        """Answers one post."""
        headers = {**_HEADERS, "X-Request-Id": name_request(request.headers.get("x-request-id", ""))}
        try:
            with request_span(f"{request.method} /hooks", request.headers.get("traceparent", "")):
                await self._post(request)
        except PalaverError as error:
            return _answer(*_refusal(error), headers)
        except ClientDisconnect:
            return Response(status_code=400)
        except Exception:
            logger.exception("a webhook failed")
            return _answer(500, {"success": False, "error": "Internal error occured"}, headers)
        return _answer(200, {"success": True}, headers)

    async def _post(self, request: Request) -> None:
        data = await read_data(request)
        payload = _parse(data, request.headers.get("content-type", ""))
        parameters = request.path_params
        posted = PostByWebhookRequest(
            actor=Actor(kind=Actor.INTEGRATION, id=parameters["id"]), token=parameters["token"]
        )
        if payload is not None:  # otherwise somebody looks whether the address works
            _fill(posted, payload)
        await self._node.services.messaging.post_by_webhook(posted)


def _fill(posted: PostByWebhookRequest, payload: Posting) -> None:
    posted.targets.extend(payload.list_targets())
    posted.text = payload.get_text()
    posted.thread_id = payload.tmid or ""
    attachments = payload.list_attachments()
    if attachments:
        check_attachments(attachments)
    extra = {
        **payload.get_sender()._asdict(),
        "attachments": attachments,
        "groupable": bool(payload.groupable),
        "parseUrls": payload.parse_urls,
    }
    posted.extra = encode({name: value for name, value in extra.items() if value is not None})


def _parse(data: bytes, content_type: str) -> Posting | None:
    """The payload; None for an empty body, and for one that names nothing. Raises InvalidInput."""
    if not data.strip():
        return None
    if content_type.partition(";")[0].strip().lower() == "application/x-www-form-urlencoded":
        try:
            fields = dict(parse_qsl(data.decode(), keep_blank_values=True, max_num_fields=1000))
        except ValueError as error:
            raise InvalidInput(f"Invalid form: {error}") from error
        found: Any = loads(fields["payload"]) if "payload" in fields else fields
    else:
        found = loads(data)
    if found == {}:
        return None
    try:
        payload: Posting = convert(found, Posting, strict=True)
    except InvalidParameters as error:
        raise error.told from error
    return payload


def _refusal(error: PalaverError) -> tuple[int, dict[str, Any]]:
    if isinstance(error, NotFound) and error.error_code == "error-integration-not-found":
        return 404, {"success": False, "error": error.error_reason}
    if error.error_code == "error-integration-disabled":
        return 503, {"success": False, "error": error.error_reason}
    status, body = answer_for(error)
    if "errorType" in body:
        body["error"] = error.error_reason or error.error_code
    return status, body


def _answer(status: int, body: dict[str, Any], headers: dict[str, str]) -> Response:
    return Response(rest_dumps(body), status, headers=headers, media_type="application/json")
