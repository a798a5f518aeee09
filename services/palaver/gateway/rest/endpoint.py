"""The one way to declare a REST endpoint: path, methods, typed parameters, permission, second factor, rate limit.

    class Body(Params):
        name: str

    @endpoint("POST", "channels.create", body=Body, permissions=["create-c"])
    async def create(call: Call, body: Body) -> Answer: ...

The declaration gives validation, the answer's form, `docs/api-coverage.md`, the OpenAPI document (`openapi.py`; a
handler's docstring is its text there) and the tests that every endpoint gets.
`query=` types come from strings; `body=` from JSON (or a form). Both may be given; the handler's arguments follow in
the order query, body, then path parameters by name. A handler returns the answer's fields (`success` is added), or a
Starlette Response for what is not JSON.

Checks run in this order: login, rate limit, parameters, permissions, second factor, handler.
"""

from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from inspect import isfunction
from typing import Any, Literal, TypeAlias, TypeVar

import msgspec
from starlette.responses import Response

Answer: TypeAlias = dict[str, Any] | Response
Handler = Callable[..., Awaitable[Answer]]
H = TypeVar("H", bound=Handler)

Login = Literal["required", "optional", "none"]
AnswerKind = Literal["object", "list", "picture", "redirect"]


class Params(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """Parameters of an endpoint; unknown ones are refused, as by any class with `forbid_unknown_fields`.

    Use `msgspec.field(name="roomId")` for other names, or `rename="camel"` for a whole class (`room_id` is `roomId` in
    JSON). Errors speak as ajv does.
    """


class LooseParams(msgspec.Struct, omit_defaults=True):
    """Parameters of an endpoint whose clients also send others. Errors speak as Meteor's `check` does."""


def is_strict(kind: type[msgspec.Struct]) -> bool:
    """Whether parameters of this class refuse unknown ones; their errors speak as ajv does."""
    return bool(kind.__struct_config__.forbid_unknown_fields)


class Page(LooseParams, rename="camel"):
    """What every list takes: `offset`, `count`, `sort` as JSON, and the deprecated `fields` and `query`."""

    offset: int = 0
    count: int | None = None
    sort: str = ""
    fields: str = ""
    query: str = ""


@dataclass(frozen=True, slots=True)
class RateLimit:
    """At most `calls` within `seconds`, for each endpoint and address, or user where they are logged in.

    `setting` names the one that has the number of calls.
    """

    calls: int
    seconds: float
    setting: str = ""
    per_user: bool = False


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A declared endpoint. `path` is what follows /api/v1/, with `:name` for parameters in it."""

    method: str
    path: str
    handler: Handler
    query: type[msgspec.Struct] | None
    body: type[msgspec.Struct] | None
    login: Login
    permissions: tuple[str, ...]
    any_permission: bool
    second_factor: bool
    rate_limit: RateLimit | None
    invalid: tuple[str, str] | None
    form: tuple[str, ...]
    answer: AnswerKind
    lists: str
    shows: str

    @property
    def parameter_names(self) -> tuple[str, ...]:
        return tuple(part[1:] for part in self.path.split("/") if part.startswith(":"))


def endpoint(
    method: str,
    *paths: str,
    query: type[msgspec.Struct] | None = None,
    body: type[msgspec.Struct] | None = None,
    login: Login = "required",
    permissions: Iterable[str] = (),
    any_permission: bool = False,
    second_factor: bool = False,
    rate_limit: RateLimit | None = None,
    invalid: tuple[str, str] | None = None,
    form: tuple[str, ...] = (),
    answer: AnswerKind = "object",
    lists: str = "",
    shows: str = "",
) -> Callable[[H], H]:
    """Declares `handler` as an endpoint under one or more paths (aliases such as `im.` and `dm.`).

    `permissions`: all are needed, or any one with `any_permission`. `invalid`: code and reason of the error for wrong
    parameters, where clients know another one than usual. `form`: the fields of a multipart form whose first one is a
    file; the handler gets it as it comes (`uploads.Incoming`), in the place of `body`. `answer`: what the handler
    answers with, where that is no object. `lists`: the answer's field with a page of a list, which has `count`,
    `offset` and `total` beside it. `shows`: the answer's field with the one thing that it is about.
    """

    def declare(handler: H) -> H:
        declared: list[Endpoint] = getattr(handler, "endpoints", [])
        declared += [
            Endpoint(
                method=method,
                path=path,
                handler=handler,
                query=query,
                body=body,
                login=login,
                permissions=tuple(permissions),
                any_permission=any_permission,
                second_factor=second_factor,
                rate_limit=rate_limit,
                invalid=invalid,
                form=form,
                answer=answer,
                lists=lists,
                shows=shows,
            )
            for path in paths
        ]
        handler.endpoints = declared  # type: ignore[attr-defined]
        return handler

    return declare


def endpoints_of(module: Any) -> list[Endpoint]:
    """Every endpoint that a module declares."""
    found: list[Endpoint] = []
    seen: set[int] = set()
    for value in vars(module).values():
        for declared in getattr(value, "endpoints", ()) if isfunction(value) else ():
            if isinstance(declared, Endpoint) and id(declared) not in seen and value.__module__ == module.__name__:
                seen.add(id(declared))
                found.append(declared)
    return found
