"""The one way to declare a DDP method: its name and the types of its parameters.

    @method("sendMessage", SentMessage, list[str] | None)
    async def send_message(call: Call, message: SentMessage, preview_urls: list[str] | None) -> Any: ...

Parameters that are absent are None (their type must allow it); surplus ones are ignored, because clients append
things of their own: an empty string at the end that has no place there counts as absent. The result is any JSON
value, a `Fragment` of an encoded document, or None for no result.
The same methods answer `method.call` over REST.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from inspect import isfunction
from typing import Annotated, Any, TypeAlias, TypeVar

import msgspec

from palaver.errors import InvalidInput, LoginRequired, NotFound
from palaver.gateway.call import Call

MethodHandler = Callable[..., Awaitable[Any]]
M = TypeVar("M", bound=MethodHandler)


class MatchFailed(InvalidInput):
    """An argument is not what the method takes. `said`: what is wrong with it, which only REST tells."""

    code = "400"
    reason = "Match failed"

    def __init__(
        self,
        reason: str | None = None,
        *,
        code: str | None = None,
        details: Mapping[str, Any] | None = None,
        said: str = "Failed validation",
    ) -> None:
        super().__init__(reason, code=code, details=details)
        self.said = said


class MethodNotFound(NotFound):
    code = "404"


class Date(msgspec.Struct):
    """A date as a parameter: {"$date": epoch milliseconds}, within the dates that JavaScript has."""

    # Clients without integers of their own write 1700000000000.0.
    number: Annotated[float, msgspec.Meta(ge=-8_640_000_000_000_000, le=8_640_000_000_000_000)] = msgspec.field(
        name="$date"
    )

    @property
    def milliseconds(self) -> int:
        return int(self.number)


Count: TypeAlias = Annotated[int, msgspec.Meta(ge=0, le=2**31 - 1)]
"""A limit or an offset as a parameter."""


@dataclass(frozen=True, slots=True)
class Method:
    """A declared method. `anonymous`: it may be called before login. `second_factor`: a login alone is not enough."""

    name: str
    handler: MethodHandler
    parameters: tuple[Any, ...]
    anonymous: bool
    second_factor: bool
    variadic: bool  # the last type is that of all further arguments
    shape: type[msgspec.Struct]  # the others as one array: a struct's types are analysed once, not in each call


def method(
    name: str, *parameters: Any, anonymous: bool = False, second_factor: bool = False, variadic: bool = False
) -> Callable[[M], M]:
    """Declares `handler` as the method `name`."""

    fixed = parameters[:-1] if variadic else parameters
    shape = msgspec.defstruct("Parameters", [(f"p{i}", kind) for i, kind in enumerate(fixed)], array_like=True)

    def declare(handler: M) -> M:
        declared: list[Method] = getattr(handler, "methods", [])
        declared.append(Method(name, handler, parameters, anonymous, second_factor, variadic, shape))
        handler.methods = declared  # type: ignore[attr-defined]
        return handler

    return declare


def methods_of(*modules: Any) -> dict[str, Method]:
    """Every method that the modules declare, by name."""
    found: dict[str, Method] = {}
    for module in modules:
        for value in vars(module).values():
            for declared in getattr(value, "methods", ()) if isfunction(value) else ():
                if isinstance(declared, Method) and value.__module__ == module.__name__:
                    if declared.name in found:
                        raise ValueError(f"method {declared.name} is declared twice")
                    found[declared.name] = declared
    return found


async def call_method(methods: Mapping[str, Method], name: str, call: Call, arguments: list[Any]) -> Any:
    """Runs a method. Raises MethodNotFound, LoginRequired, MatchFailed, or what the method raises."""
    declared = methods.get(name)
    if declared is None:
        raise MethodNotFound(f"Method '{name[:100]}' not found")
    if call.user is None and not declared.anonymous:
        raise LoginRequired("Invalid user", code="error-invalid-user")
    try:
        converted = _convert(declared, arguments)
    except msgspec.ValidationError as error:
        if not arguments or arguments[-1] != "":
            raise MatchFailed from error
        try:
            converted = _convert(declared, arguments[:-1])
        except msgspec.ValidationError:
            raise MatchFailed from error
    if declared.second_factor:
        await call.check_second_factor()
    return await declared.handler(call, *converted)


def _convert(declared: Method, arguments: list[Any]) -> tuple[Any, ...]:
    """The arguments as the method's types, absent ones as None. Raises ValidationError."""
    count = len(declared.shape.__struct_fields__)
    given = arguments if len(arguments) >= count else [*arguments, *[None] * (count - len(arguments))]
    converted = msgspec.structs.astuple(msgspec.convert(given, declared.shape))
    if declared.variadic:
        converted += tuple(msgspec.convert(arguments[count:], list[declared.parameters[-1]]))  # type: ignore[name-defined]
    return converted
