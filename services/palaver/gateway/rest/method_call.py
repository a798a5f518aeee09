"""DDP methods over HTTP: `method.call/<name>`, where the answer is a string of EJSON and always arrives with 200."""

from typing import Any

import msgspec

from palaver.errors import InvalidInput
from palaver.gateway.call import Call
from palaver.gateway.ddp.errors import error_object
from palaver.gateway.ddp.login import strip_second_factor
from palaver.gateway.ddp.method import call_method
from palaver.gateway.ejson import dumps, loads
from palaver.gateway.rest.endpoint import Answer, Params, RateLimit, endpoint
from palaver.gateway.rest.errors import Failure


class MethodBody(Params):
    message: str


class Frame(msgspec.Struct):
    """The method frame inside the string."""

    msg: str
    id: str
    method: str
    params: list[Any] = []


@endpoint(
    "POST",
    "method.call/:method",
    body=MethodBody,
    rate_limit=RateLimit(1200, 60, setting="DDP_Rate_Limit_User_Requests_Allowed", per_user=True),
)
async def call_with_login(call: Call, body: MethodBody, method: str) -> Answer:
    return await _run(call, body)


@endpoint("POST", "method.callAnon/:method", body=MethodBody, login="none", rate_limit=RateLimit(600, 60))
async def call_without_login(call: Call, body: MethodBody, method: str) -> Answer:
    return await _run(call, body)


async def _run(call: Call, body: MethodBody) -> Answer:
    """Runs what the message names; the name in the URL is for people and logs."""
    try:
        frame = msgspec.convert(loads(body.message), Frame)
    except (InvalidInput, msgspec.ValidationError) as error:
        raise Failure("Invalid method call") from error
    if frame.msg != "method":
        raise Failure("Invalid method call")
    answer: dict[str, Any] = {"msg": "result", "id": frame.id}
    parameters, code, factor = strip_second_factor(frame.params)
    call.second_factor_code = code or call.second_factor_code
    call.second_factor_method = factor or call.second_factor_method
    try:
        result = await call_method(call.methods, frame.method, call, parameters)
        if result is not None:
            answer["result"] = result
    except Exception as error:
        answer["error"] = error_object(error, frame.method if frame.method in call.methods else "other")
    return {"message": dumps(answer).decode()}
