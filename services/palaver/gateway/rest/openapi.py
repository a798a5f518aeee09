"""The REST surface as an OpenAPI 3.1 document, made of what the endpoints declare.

Served by `gateway/documentation.py`.
"""

from collections.abc import Iterable
from inspect import getdoc
from typing import Any

import msgspec

from palaver.gateway.rest.dispatch import MAX_BODY_BYTES
from palaver.gateway.rest.endpoint import Endpoint

Json = dict[str, Any]

_REFERENCE = "#/components/schemas/{name}"

_INTRODUCTION = f"""\
The part of Rocket.Chat's public REST API that this server answers, made of the declarations by which it checks its
input.

An answer is a JSON object with its fields beside `success: true`; an error has `success: false`, `error` as a text and
mostly `errorType` as a code. Bodies are JSON of at most {MAX_BODY_BYTES // 2**20} MiB, or forms. Checks run in this
order: login, rate limit, parameters, permissions, second factor. An operation's `x-permissions` are those that it
declares; what else it takes to do something to a room or a message depends on these.
"""

_SUCCESS: Json = {
    "description": "What was asked for, or done.",
    "type": "object",
    "anyOf": [
        {"properties": {"success": {"const": True}}, "required": ["success"]},
        {"properties": {"status": {"const": "success"}}, "required": ["status"]},
    ],
}
_FAILURE: Json = {
    "description": "What is wrong, for people (`error`) and for programs (`errorType`).",
    "type": "object",
    "properties": {
        "success": {"const": False},
        "error": {"type": "string", "examples": ['The required "roomId" param is missing. [error-invalid-params]']},
        "errorType": {"type": "string", "examples": ["error-invalid-params"]},
        "details": {"type": "object"},
    },
    "required": ["success"],
}
_REFUSAL: Json = {
    "description": "Who calls is not known, or calls what is not there.",
    "type": "object",
    "properties": {
        "status": {"const": "error"},
        "message": {"type": "string"},
        "error": {"type": ["string", "integer"]},
    },
    "required": ["status", "message"],
}

_ANSWERS: dict[str, Json] = {
    "object": {"200": {"$ref": "#/components/responses/Success"}},
    "list": {
        "200": {
            "description": "The list.",
            "content": {"application/json": {"schema": {"type": "array", "items": {"type": "object"}}}},
        }
    },
    "picture": {"200": {"description": "The picture.", "content": {"image/svg+xml": {"schema": {"type": "string"}}}}},
    "redirect": {
        "307": {
            "description": "Where it is.",
            "headers": {"Location": {"schema": {"type": "string", "format": "uri-reference"}}},
        }
    },
}

_SECOND_FACTOR_HEADERS: list[Json] = [
    {
        "name": "x-2fa-code",
        "in": "header",
        "description": "The code, or the password's SHA-256, where the answer was `totp-required`.",
        "schema": {"type": "string"},
    },
    {
        "name": "x-2fa-method",
        "in": "header",
        "schema": {"type": "string", "enum": ["totp", "email", "password"]},
    },
]


def build_document(endpoints: Iterable[Endpoint], version: str) -> Json:
    """The document, ready to be encoded. `version` is the API's."""
    declared = sorted(endpoints, key=lambda found: (found.path.lower(), found.method))
    bodies = list(dict.fromkeys(found.body for found in declared if found.body is not None))
    references, schemas = msgspec.json.schema_components(bodies, ref_template=_REFERENCE)
    body_schemas = dict(zip(bodies, references, strict=True))
    paths: dict[str, Json] = {}
    for found in declared:
        operation = _operation(found, body_schemas.get(found.body) if found.body is not None else None)
        paths.setdefault(_templated(found), {})[found.method.lower()] = operation
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Palaver",
            "version": version,
            "description": _INTRODUCTION,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/api/v1"}],
        "tags": [{"name": name} for name in sorted({_tag(found) for found in declared}, key=str.lower)],
        "paths": paths,
        "components": {
            "schemas": {**dict(sorted(schemas.items())), "Success": _SUCCESS, "Failure": _FAILURE, "Refusal": _REFUSAL},
            "responses": {
                "Success": _response("What was asked for, or done.", "Success"),
                "Failure": _response("The parameters are wrong, or it can't be done.", "Failure"),
                "LoginRequired": _response("Nobody is logged in, or the login failed.", "Refusal"),
                "NotAllowed": _response("The caller may not do this.", "Failure"),
                "TooManyRequests": _response("Called too often; `X-RateLimit-Reset` says until when.", "Failure"),
            },
            "securitySchemes": {
                "token": {"type": "apiKey", "in": "header", "name": "X-Auth-Token"},
                "user": {"type": "apiKey", "in": "header", "name": "X-User-Id"},
            },
        },
    }


def _operation(found: Endpoint, body: Any) -> Json:
    operation: Json = {
        "operationId": f"{found.method.lower()}.{_templated(found).strip('/').replace('/', '.').translate(_NO_BRACES)}",
        "tags": [_tag(found)],
    }
    if description := getdoc(found.handler):
        operation["summary"] = description.partition("\n")[0].strip()
        operation["description"] = description
    parameters: list[Json] = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}} for name in found.parameter_names
    ]
    if found.query is not None:
        parameters += _query_parameters(found.query)
    if found.second_factor:
        parameters += _SECOND_FACTOR_HEADERS
    if parameters:
        operation["parameters"] = parameters
    if body is not None:
        operation["requestBody"] = {
            "required": any(field.required for field in msgspec.structs.fields(found.body)) if found.body else False,
            "content": {"application/json": {"schema": body}, "application/x-www-form-urlencoded": {"schema": body}},
        }
    elif found.form:
        file, *texts = found.form
        fields = {
            file: {"contentMediaType": "application/octet-stream"},
            **{name: {"type": "string"} for name in texts},
        }
        content = {"multipart/form-data": {"schema": {"type": "object", "properties": fields}}}
        operation["requestBody"] = {"required": True, "content": content}
    operation["responses"] = {**_answers(found), "400": {"$ref": "#/components/responses/Failure"}}
    if found.login != "none" or found.path == "login":
        operation["responses"]["401"] = {"$ref": "#/components/responses/LoginRequired"}
    if found.permissions:
        operation["responses"]["403"] = {"$ref": "#/components/responses/NotAllowed"}
        operation["x-permissions"] = {"any" if found.any_permission else "all": list(found.permissions)}
    operation["responses"]["429"] = {"$ref": "#/components/responses/TooManyRequests"}
    if found.second_factor:
        operation["x-second-factor"] = True
    if (limit := found.rate_limit) is not None:
        operation["x-rate-limit"] = {
            "calls": limit.calls,
            "seconds": limit.seconds,
            "by": "user" if limit.per_user else "address",
            **({"setting": limit.setting} if limit.setting else {}),
        }
    if found.login != "none":
        operation["security"] = [{"token": [], "user": []}, *([{}] if found.login == "optional" else ())]
    return operation


def _answers(found: Endpoint) -> dict[str, Json]:
    """What is answered where all is well: as much of it as the endpoint declares."""
    if found.lists:
        number = {"type": "integer", "minimum": 0}
        fields: Json = {found.lists: {"type": "array", "items": {"type": "object"}}}
        return _described("A page of the list.", {**fields, "count": number, "offset": number, "total": number})
    if found.shows:
        return _described("What it is about.", {found.shows: {"type": "object"}})
    return _ANSWERS[found.answer]


def _described(description: str, fields: Json) -> dict[str, Json]:
    own: Json = {"type": "object", "properties": fields, "required": list(fields)}
    schema = {"allOf": [{"$ref": _REFERENCE.format(name="Success")}, own]}
    return {"200": {"description": description, "content": {"application/json": {"schema": schema}}}}


def _query_parameters(kind: type[msgspec.Struct]) -> list[Json]:
    """A struct's fields, each as one parameter. What is absent is absent: there is no null in a query."""
    (reference,), schemas = msgspec.json.schema_components([kind], ref_template=_REFERENCE)
    schema = schemas[reference["$ref"].rpartition("/")[2]]
    found: list[Json] = []
    for name, described in schema["properties"].items():
        kinds = [one for one in described.get("anyOf", [described]) if one.get("type") != "null"]
        shown = kinds[0] if len(kinds) == 1 else {"anyOf": kinds}
        if described.get("default") not in (None, ""):
            shown = {**shown, "default": described["default"]}
        required = {"required": True} if name in schema["required"] else {}
        found.append({"name": name, "in": "query", **required, "schema": shown})
    return found


def _response(description: str, schema: str) -> Json:
    content = {"application/json": {"schema": {"$ref": _REFERENCE.format(name=schema)}}}
    return {"description": description, "content": content}


def _templated(found: Endpoint) -> str:
    """`settings/:_id` as OpenAPI writes it: `/settings/{_id}`."""
    return "/" + "/".join(f"{{{part[1:]}}}" if part.startswith(":") else part for part in found.path.split("/"))


def _tag(found: Endpoint) -> str:
    """What an endpoint is about: what its name begins with."""
    return found.path.partition("/")[0].partition(".")[0]


_NO_BRACES = str.maketrans("", "", "{}")
