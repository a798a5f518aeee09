"""An API server that fails as real ones do now and then: it keeps what it is given, unless a test says otherwise."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web

from palaver_operator.kube import Access, Kube

Object = dict[str, Any]


class ApiServer:
    """`refuse`: the status to answer a request with, by its method and path, or None; `asked`: all requests so far."""

    def __init__(self) -> None:
        self.objects: dict[str, Object] = {}
        self.asked: list[tuple[str, str]] = []
        self.refuse: Callable[[str, str], int | None] = lambda method, path: None
        self._version = 0

    def count(self, method: str, part: str) -> int:
        """The requests so far of this method whose path has this in it."""
        return sum(one == method and part in path for one, path in self.asked)

    def put(self, path: str, found: Object) -> Object:
        """What is there from now on."""
        self._version += 1
        metadata = {**found.get("metadata", {}), "resourceVersion": str(self._version)}
        self.objects[path] = found | {"metadata": metadata}
        return self.objects[path]

    async def answer(self, request: web.Request) -> web.StreamResponse:
        is_watch = "watch" in request.query
        self.asked.append(("WATCH" if is_watch else request.method, request.path))
        if status := self.refuse(*self.asked[-1]):
            return web.json_response({"reason": "Refused", "message": "not so"}, status=status)
        path = request.path.removesuffix("/status")
        if is_watch:
            return web.Response()  # ended at once
        if request.method == "POST":
            built = await request.json()
            name = built["metadata"].get("name") or f"{built['metadata']['generateName']}{self._version}"
            return web.json_response(self.put(f"{path}/{name}", built))
        if request.method == "PUT":
            changed = await request.json()
            if changed["metadata"]["resourceVersion"] != self.objects[path]["metadata"]["resourceVersion"]:
                return web.json_response({"reason": "Conflict", "message": "changed meanwhile"}, status=409)
            return web.json_response(self.put(path, changed))
        if request.method == "PATCH":
            return web.json_response(self.put(path, _merge(self.objects.get(path, {}), await request.json())))
        if request.method == "DELETE":
            self.objects.pop(path, None)
            return web.json_response({})
        if path in self.objects:
            return web.json_response(self.objects[path])
        if path.rpartition("/")[2] not in _PLURALS:
            return web.json_response({"reason": "NotFound", "message": ""}, status=404)
        items = [one for key, one in self.objects.items() if key.rpartition("/")[0] == path]
        return web.json_response({"items": items, "metadata": {"resourceVersion": str(self._version)}})


_PLURALS = ("palaverbackups", "services")


def _merge(before: Object, change: Object) -> Object:
    merged = dict(before)
    for name, value in change.items():
        old = before.get(name)
        merged[name] = _merge(old, value) if isinstance(old, dict) and isinstance(value, dict) else value
    return {name: value for name, value in merged.items() if value is not None}


@asynccontextmanager
async def running_api_server() -> AsyncIterator[tuple[ApiServer, Kube]]:
    """The server, and a client of it."""
    server = ApiServer()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", server.answer)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    kube = Kube(Access(f"http://127.0.0.1:{runner.addresses[0][1]}"))
    try:
        yield server, kube
    finally:
        await kube.close()
        await runner.cleanup()
