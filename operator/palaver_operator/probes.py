"""What the operator answers on its health port: `/healthz`, `/readyz` and `/metrics`. Used by operate.py."""

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest


class Probes:
    """A replica that waits for its turn is ready, too: it is what takes over."""

    def __init__(self, host: str, port: int) -> None:
        self._host = host
        self._port = port
        self._runner: web.AppRunner | None = None

    async def open(self) -> None:
        """Raises OSError when the address is taken."""
        app = web.Application()
        app.add_routes([web.get("/healthz", _ok), web.get("/readyz", _ok), web.get("/metrics", _metrics)])
        self._runner = web.AppRunner(app, access_log=None)
        await self._runner.setup()
        await web.TCPSite(self._runner, self._host or None, self._port).start()

    async def close(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()


async def _ok(request: web.Request) -> web.Response:
    return web.json_response({"status": "ok"})


async def _metrics(request: web.Request) -> web.Response:
    return web.Response(body=generate_latest(), headers={"Content-Type": CONTENT_TYPE_LATEST})
