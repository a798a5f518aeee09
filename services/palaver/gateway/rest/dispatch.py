"""From an HTTP request to an endpoint's handler and back: the checks that every endpoint shares, in one order."""

import logging
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any
from urllib.parse import parse_qsl

import msgspec
from prometheus_client import Counter, Histogram
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from palaver.access import Access
from palaver.addresses import counted_address
from palaver.errors import InternalError, InvalidInput, LoginRequired, PalaverError, TooManyRequests
from palaver.gateway.admission import Admission
from palaver.gateway.call import Call
from palaver.gateway.ddp.method import Method
from palaver.gateway.ejson import loads, rest_dumps
from palaver.gateway.limits import RateLimiter
from palaver.gateway.pictures import Pictures
from palaver.gateway.presence_reports import PresenceReports
from palaver.gateway.rest.endpoint import Endpoint, is_strict
from palaver.gateway.rest.errors import (
    LOGIN_MESSAGE,
    Failure,
    Unauthorized,
    answer_for,
    invalid_params,
    match_failure,
)
from palaver.gateway.uploads import Incoming
from palaver.node import Node
from palaver.telemetry import name_request, request_span
from palaver.v1.auth_pb2 import AuthenticateRequest

logger = logging.getLogger(__name__)

REQUESTS = Histogram(
    "palaver_rest_request_seconds",
    "REST requests, by the declared path; `other` is what no endpoint answers",
    ["endpoint", "method", "status"],
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1, 5),
)
CRASHES = Counter("palaver_rest_errors_total", "REST requests that failed unexpectedly", ["endpoint"])

MAX_BODY_BYTES = 5 * 1024 * 1024
_HEADERS = {"Cache-Control": "no-store", "Pragma": "no-cache"}


_CORS_HEADERS = {
    "Access-Control-Allow-Methods": "GET, POST, PUT, DELETE, HEAD, PATCH",
    "Access-Control-Allow-Headers": "Origin, X-Requested-With, Content-Type, Accept, X-User-Id, X-Auth-Token, "
    "X-2fa-Code, X-2fa-Method",
    "Access-Control-Expose-Headers": "X-Request-Id",
}


class BodyTooLarge(InvalidInput):
    code = "error-body-too-large"
    reason = "The request body is too large"


class RestSurface:
    """Every endpoint under /api/v1/, by path and method. `ddp_methods` are what `method.call` may name."""

    def __init__(
        self,
        node: Node,
        endpoints: Iterable[Endpoint],
        admission: Admission,
        presence: PresenceReports,
        pictures: Pictures,
        limiter: RateLimiter,
        ddp_methods: Mapping[str, Method] | None = None,
    ) -> None:
        self._node = node
        self._admission = admission
        self._presence = presence
        self._pictures = pictures
        self._ddp_methods = ddp_methods or {}
        self._limiter = limiter
        self._exact: dict[str, dict[str, Endpoint]] = {}
        self._patterns: dict[str, list[Endpoint]] = {}
        for declared in endpoints:
            if declared.parameter_names:
                self._patterns.setdefault(declared.path.split("/")[0], []).append(declared)
            else:
                methods = self._exact.setdefault(declared.path, {})
                if declared.method in methods:
                    raise ValueError(f"{declared.method} {declared.path} is declared twice")
                methods[declared.method] = declared

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        """The ASGI application of everything under /api/v1/, for a route with a `path`: any method comes here."""
        request = Request(scope, receive, send)
        allowed = cors_headers(request, self._node.access)
        answer = self._preflight(request) if "Access-Control-Allow-Origin" in allowed else None
        if answer is None:
            answer = await self.answer(request)
        answer.headers.update(allowed)
        await answer(scope, receive, send)

    def _preflight(self, request: Request) -> Response | None:
        """The answer to a browser that asks whether a page of another origin may call an endpoint."""
        if request.method != "OPTIONS" or "access-control-request-method" not in request.headers:
            return None
        return Response() if self._find(request.path_params["path"].rstrip("/"))[0] else None

    async def answer(self, request: Request) -> Response:
        """Answers one request."""
        started = time.perf_counter()
        path = request.path_params["path"].rstrip("/")
        methods, parameters = self._find(path)
        method = "GET" if request.method == "HEAD" else request.method
        found = methods.get(method)
        headers = {**_HEADERS, "X-Request-Id": name_request(request.headers.get("x-request-id", ""))}
        if found is None:
            self._observe(
                next(iter(methods.values())).path if methods else "other", "other", 405 if methods else 404, started
            )
            if methods:
                headers["Allow"] = ", ".join(sorted(methods))
                return _json(405, {"status": "error", "message": "API endpoint does not exist"}, headers)
            return _json(404, {"success": False, "error": "Resource not found"}, headers)
        span = request_span(f"{found.method} {found.path}", request.headers.get("traceparent", ""))
        if span.trace:
            headers["Traceparent"] = span.trace
        try:
            with span:
                answer = await self._run(found, request, parameters, headers)
            answer.headers["X-Request-Id"] = headers["X-Request-Id"]
        except InternalError:
            answer = _failed(found, headers)
        except InvalidParameters as error:
            answer = _json(*answer_for(error.told), headers)
        except PalaverError as error:
            status, body = answer_for(error, at_login=found.path == "login")
            answer = _json(status, body, headers)
        except ClientDisconnect:
            answer = Response(status_code=400)
        except Exception:
            answer = _failed(found, headers)
        logger.debug("%s %s: %d", found.method, found.path, answer.status_code)
        self._observe(found.path, found.method, answer.status_code, started)
        return answer

    def _observe(self, path: str, method: str, status: int, started: float) -> None:
        REQUESTS.labels(path, method, status).observe(time.perf_counter() - started)

    def _find(self, path: str) -> tuple[dict[str, Endpoint], dict[str, str]]:
        exact = self._exact.get(path)
        if exact is not None:
            return exact, {}
        parts = path.split("/")
        methods: dict[str, Endpoint] = {}
        parameters: dict[str, str] = {}
        for declared in self._patterns.get(parts[0], ()):
            pattern = declared.path.split("/")
            if len(pattern) == len(parts) and all(
                wanted == part or (wanted.startswith(":") and part) for wanted, part in zip(pattern, parts, strict=True)
            ):
                methods[declared.method] = declared
                parameters = {w[1:]: p for w, p in zip(pattern, parts, strict=True) if w.startswith(":")}
        return methods, parameters

    async def _run(
        self, found: Endpoint, request: Request, parameters: dict[str, str], headers: dict[str, str]
    ) -> Response:
        call = Call(
            self._node.services,
            self._node.access,
            self._node.config,
            self._admission,
            self._presence,
            self._node.live,
            self._pictures,
            address=request.client.host if request.client else "",
            user_agent=request.headers.get("user-agent", "")[:512],
            second_factor_code=request.headers.get("x-2fa-code", ""),
            second_factor_method=request.headers.get("x-2fa-method", ""),
            methods=self._ddp_methods,
        )
        if found.login != "none":
            with suppress(LoginRequired):
                await self.authenticate(call, request)
        if found.login == "required" and call.user is None:
            return _json(401, {"status": "error", "message": LOGIN_MESSAGE}, headers)
        self._check_rate(found, call, headers)
        arguments: list[Any] = []
        try:
            if found.query is not None:
                arguments.append(convert(_grouped(request.query_params.multi_items()), found.query, strict=False))
            if found.body is not None:
                arguments.append(await read_body(request, found.body))
            if found.form:
                arguments.append(Incoming(request, self._node.blobs))
        except InvalidParameters as error:
            if found.invalid is not None:
                code, reason = found.invalid
                raise InvalidInput(reason, code=code) from error
            raise error.told from error
        if found.permissions:
            granted = [call.may(permission) for permission in found.permissions]
            if not (any(granted) if found.any_permission else all(granted)):
                raise Unauthorized
        if found.second_factor:
            await call.check_second_factor()
        answer = await found.handler(call, *arguments, **parameters)
        if isinstance(answer, Response):
            return answer
        if answer.get("status") != "success":
            answer.setdefault("success", True)
        return _json(200, answer, headers)

    async def authenticate(self, call: Call, request: Request) -> None:
        """Sets `call.user` from the request's headers, if they name one. Raises LoginRequired for a wrong token."""
        token = request.headers.get("x-auth-token", "")
        user_id = request.headers.get("x-user-id", "")
        if not token or not user_id:
            return
        reply = await call.services.auth.authenticate(AuthenticateRequest(token=token, user_id=user_id))
        call.user = await call.access.find_user(reply.user_id)
        call.hashed_token = reply.hashed_token
        call.token = token
        call.token_expires_at = reply.expires_at

    def _check_rate(self, found: Endpoint, call: Call, headers: dict[str, str]) -> None:
        limit = found.rate_limit
        if self._node.config.test_mode or not call.setting("API_Enable_Rate_Limiter"):
            return
        if call.may("api-bypass-rate-limit"):
            return
        if limit is not None:
            calls, seconds = int(call.setting(limit.setting)) if limit.setting else limit.calls, limit.seconds
        else:
            calls = int(call.setting("API_Enable_Rate_Limiter_Limit_Calls_Default"))
            seconds = int(call.setting("API_Enable_Rate_Limiter_Limit_Time_Default")) / 1000
        by_user = call.user if limit is not None and limit.per_user else None
        caller = counted_address(call.address) if by_user is None else by_user.id
        left, reset = self._limiter.count(f"{caller} {found.method} {found.path}", calls, seconds)
        headers["X-RateLimit-Limit"] = str(calls)
        headers["X-RateLimit-Remaining"] = str(max(0, left))
        headers["X-RateLimit-Reset"] = str(int((time.time() + reset) * 1000))
        if left < 0:
            raise TooManyRequests(
                "Error, too many requests. Please slow down. "
                f"You must wait {max(1, round(reset))} seconds before trying this endpoint again."
            )


def cors_headers(request: Request, access: Access) -> dict[str, str]:
    """What lets a page of the request's origin read the answer, as far as the settings do."""
    if not access.setting("API_Enable_CORS"):
        return {}
    origins = [origin.strip().lower() for origin in str(access.setting("API_CORS_Origin") or "").split(",")]
    if "*" in origins:
        return {"Access-Control-Allow-Origin": "*", **_CORS_HEADERS}
    origin = request.headers.get("origin", "")
    if not origin or origin.lower() not in origins:
        return {"Vary": "Origin"}
    return {"Access-Control-Allow-Origin": origin, "Vary": "Origin", **_CORS_HEADERS}


class InvalidParameters(Exception):
    """Parameters of a wrong form; `told` is the error in the words that the endpoint's clients know."""

    def __init__(self, told: InvalidInput) -> None:
        super().__init__(str(told))
        self.told = told


def convert(value: Any, kind: type[Any], *, strict: bool) -> Any:
    """Values to a declared type. Raises InvalidParameters."""
    try:
        return msgspec.convert(value, kind, strict=strict)
    except msgspec.ValidationError as error:
        told = invalid_params(error) if is_strict(kind) else match_failure(error)
        raise InvalidParameters(told) from error


def _grouped(pairs: Sequence[tuple[str, str]]) -> dict[str, Any]:
    """Names with their values; `name[]=` and a name that comes twice make a list."""
    values: dict[str, Any] = {}
    for name, value in pairs:
        is_list, name = name.endswith("[]"), name.removesuffix("[]")
        if name not in values:
            values[name] = [value] if is_list else value
        elif isinstance(known := values[name], list):
            known.append(value)
        else:
            values[name] = [known, value]
    return values


async def read_data(request: Request) -> bytes:
    """A request's whole body. Raises BodyTooLarge."""
    declared = request.headers.get("content-length", "0")
    if declared.isascii() and declared.isdecimal() and int(declared[:20]) > MAX_BODY_BYTES:
        raise BodyTooLarge
    data = bytearray()
    async for chunk in request.stream():
        data += chunk
        if len(data) > MAX_BODY_BYTES:
            raise BodyTooLarge
    return bytes(data)


async def read_body(request: Request, kind: type[Any]) -> Any:
    """A request's whole body, JSON or a form, as a declared type. Raises InvalidParameters, BodyTooLarge, Failure."""
    data = await read_data(request)
    content_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if content_type == "application/x-www-form-urlencoded":
        try:
            pairs = parse_qsl(data.decode(), keep_blank_values=True, max_num_fields=1000)
        except ValueError as error:
            raise Failure(f"Invalid form: {error}") from error
        return convert(_grouped(pairs), kind, strict=False)
    return convert(loads(data) if data else {}, kind, strict=True)


def _failed(found: Endpoint, headers: dict[str, str]) -> Response:
    """The answer to what failed unexpectedly, here or in another process. Called where it is caught."""
    CRASHES.labels(found.path).inc()
    logger.exception("%s %s failed", found.method, found.path)
    return _json(500, {"success": False, "error": "Internal error occured"}, headers)


def _json(status: int, body: dict[str, Any], headers: dict[str, str]) -> Response:
    return Response(rest_dumps(body), status, headers=headers, media_type="application/json")
