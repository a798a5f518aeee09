"""SVG drawings, drawn for the thumbnails of files.

A drawing may be made to take all memory and time, and may name files. So what names anything outside of itself is not
drawn, and the rest is in a process of its own that has little of both and nothing of this one's: `python -m` of this
module. Its time is that of the processor, so that what is drawn does not depend on what else the computer has to do.
Called by `thumbnails.py`.
"""

import asyncio
import contextlib
import math
import re
import sys
from dataclasses import dataclass, field
from typing import Any
from xml.parsers import expat

from palaver.gateway.pictures import InvalidPicture

TYPE = "image/svg+xml"
_MAX_BYTES = 1024 * 1024
_MAX_MADE = 16 * 1024 * 1024  # of the PNG
_MAX_DEPTH = 200
_SECONDS = 3  # of the processor, for the drawing alone
_PATIENCE = 20.0  # seconds, for all of it: a computer that is as slow as that has no thumbnails
_MEMORY = 1024 * 1024 * 1024  # of addresses; what is in use is far less
_USUAL_SIDE = 300.0  # of one that doesn't say how large it is
_inside = re.compile(r"\s*(#|data:image/(png|jpeg|gif|webp)[;,])").match
_length = re.compile(r"\s*([0-9]*\.?[0-9]+(?:e[+-]?[0-9]{1,2})?)\s*(px)?\s*", re.ASCII | re.IGNORECASE).fullmatch


@dataclass(slots=True)
class _Reading:
    """What of a drawing is looked at before it is drawn."""

    depth: int = 0
    wrong: str = ""
    root: dict[str, str] = field(default_factory=dict)

    def on_start(self, name: str, attributes: dict[str, str]) -> None:
        self.depth += 1
        if self.depth == 1:
            self.wrong = self.wrong or ("" if name.rpartition(":")[2] == "svg" else "It is no drawing")
            self.root = attributes
        if self.depth > _MAX_DEPTH:
            self.wrong = "The drawing is too deep"
        for attribute, value in attributes.items():
            if attribute.rpartition(":")[2].lower() == "href" and not _inside(value):
                self.wrong = "The drawing names something outside of it"

    def on_end(self, name: str) -> None:
        self.depth -= 1

    def on_declaration(self, *_: Any) -> None:
        self.wrong = "The drawing declares a document type"


async def draw(data: bytes, within: tuple[int, int]) -> tuple[bytes, int, int]:
    """A PNG of the drawing, no larger than `within`, and the drawing's own size in pixels. Raises InvalidPicture."""
    width, height = measure(data)
    scale = min(within[0] / width, within[1] / height)
    side = max(1, round(width * scale)), max(1, round(height * scale))
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-I", "-m", "palaver.gateway.drawings", *map(str, (*side, _SECONDS))),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        cwd="/",
        env={},
    )
    talk = asyncio.create_task(process.communicate(data))
    try:
        await asyncio.wait((talk,), timeout=_PATIENCE)
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
        made, _ = await talk  # to its end, which comes with the process's: its pipes are closed then
    if process.returncode or len(made) > _MAX_MADE:
        raise InvalidPicture("The drawing can't be drawn")
    return made, max(1, round(width)), max(1, round(height))


def measure(data: bytes) -> tuple[float, float]:
    """Width and height of a drawing that may be drawn, in pixels. Raises InvalidPicture."""
    if len(data) > _MAX_BYTES:
        raise InvalidPicture("The drawing is too large", code="error-file-too-large")
    reading = _Reading()
    parser = expat.ParserCreate()
    parser.StartElementHandler = reading.on_start
    parser.EndElementHandler = reading.on_end
    parser.StartDoctypeDeclHandler = reading.on_declaration
    parser.EntityDeclHandler = reading.on_declaration
    try:
        parser.Parse(data, True)
    except (expat.ExpatError, ValueError) as error:
        raise InvalidPicture from error
    if reading.wrong:
        raise InvalidPicture(reading.wrong)
    return _size(reading.root)


def _size(root: dict[str, str]) -> tuple[float, float]:
    numbers = re.split(r"[\s,]+", root.get("viewBox", "").strip())
    box = [_pixels(number) for number in numbers[2:4]] if len(numbers) == 4 else [0.0, 0.0]
    wide, high = _pixels(root.get("width", "")), _pixels(root.get("height", ""))
    if all(box):
        ratio = box[0] / box[1]
        width = wide or (high * ratio if high else box[0])
        height = high or width / ratio
    else:
        width, height = wide or _USUAL_SIDE, high or _USUAL_SIDE
    if not (0 < width < 1e6 and 0 < height < 1e6):
        raise InvalidPicture("The drawing has no size")
    return width, height


def _pixels(text: str) -> float:
    """0 for what is no plain number of pixels."""
    found = _length(text)
    value = float(found[1]) if found else 0.0
    return value if math.isfinite(value) else 0.0


def main() -> None:
    """Draws what comes by standard input to standard output. The arguments: its width and height, and the seconds."""
    import resource

    import resvg_py

    width, height, seconds = (int(argument) for argument in sys.argv[1:4])
    drawing = sys.stdin.buffer.read().decode()
    used = resource.getrusage(resource.RUSAGE_SELF)
    for limit, most in (
        (resource.RLIMIT_AS, _MEMORY),
        (resource.RLIMIT_CPU, math.ceil(used.ru_utime + used.ru_stime) + seconds),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_CORE, 0),
    ):
        resource.setrlimit(limit, (most, most))
    sys.stdout.buffer.write(bytes(resvg_py.svg_to_bytes(svg_string=drawing, width=width, height=height)))


if __name__ == "__main__":
    main()
