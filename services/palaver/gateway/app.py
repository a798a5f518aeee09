"""Every URL of the gateway on one page."""

import base64
import hashlib
from collections.abc import Awaitable, Callable
from importlib.resources import files
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from palaver import __version__
from palaver.gateway.addresses import with_client_address
from palaver.gateway.assets import Assets
from palaver.gateway.avatars import Avatars
from palaver.gateway.ddp.server import DdpServer
from palaver.gateway.ddp.sockjs import RAW_PATH, SockJsConnection, is_session, not_upgraded, sockjs_routes
from palaver.gateway.documentation import Documentation
from palaver.gateway.hooks import METHODS, Hooks
from palaver.gateway.media import Media
from palaver.gateway.pictures import Pictures
from palaver.gateway.rest.dispatch import RestSurface
from palaver.gateway.takeouts import Takeouts
from palaver.gateway.uploads import Downloads
from palaver.health import health_routes
from palaver.node import Node

Application = Callable[[dict[str, Any], Any, Any], Awaitable[None]]


def build_app(
    node: Node, rest: RestSurface, ddp: DdpServer, pictures: Pictures, documentation: Documentation
) -> Application:
    """The ASGI application: websockets go straight to DDP, the rest is routed."""
    downloads = Downloads(node)
    avatars = Avatars(node, pictures)
    hooks = Hooks(node)
    media = Media(node)
    assets = Assets(node)
    takeouts = Takeouts(node)
    page = files("palaver.gateway").joinpath("web/welcome.html").read_text(encoding="utf-8")

    async def welcome(request: Request) -> Response:
        shown = page.replace("{{site_url}}", node.config.site_url).replace("{{version}}", __version__)
        return HTMLResponse(shown, headers={"Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'"})

    link_page = files("palaver.gateway").joinpath("web/link.html").read_text(encoding="utf-8")
    script = link_page.partition("<script>")[2].partition("</script>")[0]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    link_headers = {
        "Content-Security-Policy": f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{digest}';"
        " connect-src 'self'; form-action 'none'; frame-ancestors 'none'",
        "Referrer-Policy": "no-referrer",
        "Cache-Control": "no-store",
    }

    async def link(request: Request) -> Response:
        """Where the links of letters lead. The page itself calls the method that the link is for."""
        return HTMLResponse(link_page, headers=link_headers)

    web = Starlette(
        routes=[
            Route("/", welcome),
            Route("/reset-password/{token}", link),
            Route("/verify-email/{token}", link),
            Route("/api/docs", documentation.page),
            Route("/api/docs/json", documentation.document),
            Route("/api/v1/{path:path}", rest),
            Route("/api/{path:path}", rest),
            Route("/websocket", not_upgraded),
            *sockjs_routes(),
            Route("/file-upload/{id}/{name:path}", downloads.serve),
            Route("/ufs/{store}/{id}/{name:path}", downloads.serve),
            Route("/assets/{name}", assets.serve),
            Route("/emoji-custom/{name:path}", media.emoji),
            Route("/custom-sounds/{name:path}", media.sound),
            Route("/data-export/{id}", takeouts.serve),
            Route("/avatar/room/{room_id}", avatars.of_room),
            Route("/avatar/uid/{user_id}", avatars.of_user_id),
            Route("/avatar/{username}", avatars.of_user),
            Route("/hooks/{id}/{token}", hooks.receive, methods=METHODS),
            Route("/hooks/{id}/{user_id}/{token}", hooks.receive, methods=METHODS),
            *health_routes(node, metrics=not node.config.health_port),
        ]
    )

    async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:
        if scope["type"] in ("http", "websocket"):
            scope = with_client_address(scope, node.config.trusted_proxies)
        if scope["type"] == "websocket":
            if scope["path"] in ("/websocket", RAW_PATH):
                await ddp.serve(scope, receive, send)
            elif is_session(scope["path"]):
                await ddp.serve(scope, receive, send, SockJsConnection)
            else:
                await receive()
                await send({"type": "websocket.close", "code": 1000})
            return
        await web(scope, receive, send)

    return app
