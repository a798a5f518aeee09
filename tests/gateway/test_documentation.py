"""`/api/docs` and the OpenAPI document: valid, complete, made once, and nothing from the network."""

import re
from html.parser import HTMLParser

from openapi_spec_validator import OpenAPIV31SpecValidator

from palaver.gateway import rest
from palaver.gateway.rest.endpoint import endpoints_of
from palaver.gateway.rest.openapi import build_document
from tests.gateway.rest import Client

ENDPOINTS = [declared for module in rest.ENDPOINT_MODULES for declared in endpoints_of(module)]
DOCUMENT = build_document(ENDPOINTS, "6.14.0")
PAGE_URL = "http://chat.example.org/api/docs"
DOCUMENT_URL = f"{PAGE_URL}/json"
VOID = {"meta"}
"""Elements of the page that have no end."""


def test_the_document_is_valid() -> None:
    assert list(OpenAPIV31SpecValidator(DOCUMENT).iter_errors()) == []


def test_each_endpoint_is_one_operation() -> None:
    described = {
        (method.upper(), re.sub(r"\{(.*?)\}", r":\1", path[1:]))
        for path, operations in DOCUMENT["paths"].items()
        for method in operations
    }
    assert described == {(declared.method, declared.path) for declared in ENDPOINTS}
    ids = [operation["operationId"] for operations in DOCUMENT["paths"].values() for operation in operations.values()]
    assert len(ids) == len(set(ids))


def test_what_is_declared_is_said() -> None:
    create = DOCUMENT["paths"]["/users.create"]["post"]
    schema = DOCUMENT["components"]["schemas"][
        create["requestBody"]["content"]["application/json"]["schema"]["$ref"].rpartition("/")[2]
    ]
    assert {"username", "email", "password"} <= schema["properties"].keys()
    assert create["security"] == [{"token": [], "user": []}]
    history = {
        parameter["name"]: parameter for parameter in DOCUMENT["paths"]["/channels.history"]["get"]["parameters"]
    }
    assert history["count"] == {"name": "count", "in": "query", "schema": {"type": "integer"}}
    listed = DOCUMENT["paths"]["/sessions/list.all"]["get"]
    assert listed["x-permissions"] == {"all": ["view-device-management"]}
    assert listed["x-second-factor"] is True
    assert "403" in listed["responses"]
    assert {"x-2fa-code", "x-2fa-method"} <= {parameter["name"] for parameter in listed["parameters"]}
    assert DOCUMENT["paths"]["/login"]["post"].get("security") is None
    assert {} in DOCUMENT["paths"]["/info"]["get"]["security"]
    call = DOCUMENT["paths"]["/method.call/{method}"]["post"]
    assert call["x-rate-limit"] == {
        "calls": 1200,
        "seconds": 60,
        "by": "user",
        "setting": "DDP_Rate_Limit_User_Requests_Allowed",
    }
    assert "multipart/form-data" in DOCUMENT["paths"]["/rooms.upload/{rid}"]["post"]["requestBody"]["content"]
    assert "307" in DOCUMENT["paths"]["/users.getAvatar"]["get"]["responses"]
    listed = DOCUMENT["paths"]["/users.list"]["get"]["responses"]["200"]["content"]["application/json"]["schema"]
    assert listed["allOf"][1]["required"] == ["users", "count", "offset", "total"]
    shown = DOCUMENT["paths"]["/users.info"]["get"]["responses"]["200"]["content"]["application/json"]["schema"]
    assert shown["allOf"][1]["properties"] == {"user": {"type": "object"}}


async def test_the_document_is_answered_once_for_each_version(anybody: Client) -> None:
    answer = await anybody.request("GET", DOCUMENT_URL)
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/json")
    assert answer.json() == build_document(ENDPOINTS, anybody.node.config.api_version)
    tag = answer.headers["etag"]
    for known in (tag, f'"another", W/{tag}', "*"):
        again = await anybody.request("GET", DOCUMENT_URL, headers={"If-None-Match": known})
        assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", tag)
    other = await anybody.request("GET", DOCUMENT_URL, headers={"If-None-Match": '"another"'})
    assert other.status_code == 200
    assert (await anybody.request("POST", DOCUMENT_URL)).status_code == 404


class Page(HTMLParser):
    """What a page refers to, and whether its elements fit into each other."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: set[str] = set()
        self.links: list[str] = []
        self.ids: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.add(tag)
        for name, value in attrs:
            assert not name.startswith("on"), "a script in an attribute"
            if name in ("href", "src", "action"):
                self.links.append(value or "")
            if name == "id":
                self.ids.append(value or "")
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag, self.getpos()


async def test_the_page_shows_each_endpoint_and_needs_nothing_else(anybody: Client) -> None:
    answer = await anybody.request("GET", PAGE_URL)
    assert (answer.status_code, answer.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert answer.headers["content-security-policy"].startswith("default-src 'none'; style-src 'unsafe-inline'")
    page = Page(answer.text)
    assert page.open == []
    assert not page.elements & {"script", "img", "link", "iframe", "object", "form"}
    inside = {link[1:] for link in page.links if link.startswith("#")}
    assert inside == set(page.ids)
    assert [link for link in page.links if not link.startswith("#")] == ["/api/docs/json"]
    assert re.search(r"\{\{|url\(|@import", answer.text) is None
    for declared in ENDPOINTS:
        path = re.sub(r":(\w+)", r"{\1}", declared.path)
        assert f"<b>{declared.method}</b> <code>{path}</code>" in answer.text
    tag = answer.headers["etag"]
    assert (await anybody.request("GET", PAGE_URL, headers={"If-None-Match": tag})).status_code == 304
