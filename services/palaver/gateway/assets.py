"""Logo, icons and background by their addresses: what an administrator has set, or the project's own, drawn here.

Called by `app.py`.
"""

import asyncio
import io
from functools import cache
from hashlib import sha256

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from palaver.blobs import BlobNotFound
from palaver.documents import find_asset_file
from palaver.errors import Unavailable
from palaver.gateway.media import answer_file
from palaver.node import Node

_TYPES = {
    "png": "image/png",
    "jpg": "image/jpeg",
    "gif": "image/gif",
    "webp": "image/webp",
    "ico": "image/x-icon",
    "svg": "image/svg+xml",
}
_HEADERS = {
    "Content-Disposition": "inline",
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; sandbox",
    "X-Content-Type-Options": "nosniff",
}
_KEPT = {"Cache-Control": "public, max-age=3600"}
_GREEN, _WHITE = (31, 111, 92, 255), (255, 255, 255, 255)
# Sizes of the defaults that are pixels; the others are drawings.
_SIZES = {
    "favicon_16": (16, 16),
    "favicon_32": (32, 32),
    "favicon_192": (192, 192),
    "favicon_512": (512, 512),
    "favicon_ico": (32, 32),
    "touchicon_180": (180, 180),
    "touchicon_180_pre": (180, 180),
    "tile_70": (70, 70),
    "tile_144": (144, 144),
    "tile_150": (150, 150),
    "tile_310_square": (310, 310),
    "tile_310_wide": (310, 150),
}
_BUBBLE = "M14 16h36a5 5 0 0 1 5 5v20a5 5 0 0 1-5 5H30l-10 9v-9h-6a5 5 0 0 1-5-5V21a5 5 0 0 1 5-5z"
_ICON = (
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 64 64"><rect width="64" height="64" rx="14" fill="#1f6f5c"/>'
    f'<path d="{_BUBBLE}" fill="#ffffff"/></svg>'
)
_LOGO = (
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 250 64"><rect width="64" height="64" rx="14" fill="#1f6f5c"/>'
    f'<path d="{_BUBBLE}" fill="#ffffff"/><text x="78" y="46" font-size="42" font-weight="600"'
    ' font-family="Helvetica, Arial, sans-serif" fill="INK">Palaver</text></svg>'
)
_BACKGROUND = (
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 16 9" preserveAspectRatio="none">'
    '<rect width="16" height="9" fill="INK"/></svg>'
)
_DRAWINGS = {
    "logo": _LOGO.replace("INK", "#1d2433"),
    "logo_dark": _LOGO.replace("INK", "#e9e7e1"),
    "background": _BACKGROUND.replace("INK", "#fbfaf7"),
    "background_dark": _BACKGROUND.replace("INK", "#14171d"),
    "favicon": _ICON,
    "safari_pinned": f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 64 64"><path d="{_BUBBLE}"/></svg>',
}


class Assets:
    """The endpoint below /assets, for everybody: the page to log in shows them."""

    def __init__(self, node: Node) -> None:
        self._node = node

    async def serve(self, request: Request) -> Response:
        """/assets/NAME.ext, whatever the extension: the file that NAME is now."""
        name = request.path_params["name"].partition(".")[0]
        setting = self._node.access.policy.settings.get(f"Assets_{name}", {})
        file = find_asset_file(setting)
        try:
            if file is not None and file[1] in _TYPES:
                file_id, extension = file
                headers = {**_HEADERS, **_KEPT, "ETag": f'"{file_id}"', "Content-Type": _TYPES[extension]}
                return await answer_file(request, self._node.blobs, file_id, headers)
        except BlobNotFound:
            pass  # it is lost; the default is better than nothing
        except (Unavailable, ValueError):
            return PlainTextResponse("Try again", 503)
        if name not in _SIZES and name not in _DRAWINGS:
            return PlainTextResponse("Not found", 404)
        data, type = await asyncio.to_thread(draw_default, name)
        tag = f'"{sha256(data).hexdigest()[:32]}"'
        headers = {**_HEADERS, **_KEPT, "ETag": tag}
        if tag in request.headers.get("if-none-match", ""):
            return Response(status_code=304, headers=headers)
        return Response(data, headers={**headers, "Content-Type": type})


@cache
def draw_default(name: str) -> tuple[bytes, str]:
    """The project's own asset of this name, and its type."""
    if name in _DRAWINGS:
        return _DRAWINGS[name].encode(), _TYPES["svg"]
    from PIL import Image, ImageDraw

    width, height = _SIZES[name]
    # Drawn four times as large, so that its edges are smooth.
    side = 4 * min(width, height)
    icon = Image.new("RGBA", (side, side), (0, 0, 0, 0))
    pen, unit = ImageDraw.Draw(icon), side / 64
    pen.rounded_rectangle((0, 0, side - 1, side - 1), 14 * unit, fill=_GREEN)
    pen.rounded_rectangle((9 * unit, 16 * unit, 55 * unit, 46 * unit), 5 * unit, fill=_WHITE)
    pen.polygon([(20 * unit, 45 * unit), (30 * unit, 45 * unit), (20 * unit, 55 * unit)], fill=_WHITE)
    small = icon.resize((side // 4, side // 4), Image.Resampling.LANCZOS)
    picture = Image.new("RGBA", (width, height), (0, 0, 0, 0))
    picture.paste(small, ((width - small.width) // 2, (height - small.height) // 2))
    written = io.BytesIO()
    picture.save(written, "ICO" if name == "favicon_ico" else "PNG")
    return written.getvalue(), _TYPES["ico" if name == "favicon_ico" else "png"]
