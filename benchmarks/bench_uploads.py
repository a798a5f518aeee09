"""Uploads: how long a client waits for a file of 2 MB to be sent, and how much memory a large one takes."""

import argparse
import http.client
import io
import json
import os
import statistics
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from harness import (
    ADMIN_NAME,
    ADMIN_PASSWORD,
    GENERATOR_CORE,
    BenchmarkError,
    Report,
    Server,
    baseline_server,
    main,
    palaver_server,
    watching,
)

MIB = 1024 * 1024
SMALL = 2_000_000
LARGE = 1024 * MIB
_PIECE = os.urandom(256 * 1024)


def benchmark(given: argparse.Namespace) -> Report:
    report = Report("Uploads over REST: rooms.upload, one after the other")
    count, large = (5, 64 * MIB) if given.quick else (50, LARGE)
    os.sched_setaffinity(0, {GENERATOR_CORE})
    with (
        tempfile.TemporaryDirectory(prefix="palaver-uploads-") as folder,
        palaver_server(Path(folder)) as palaver,
        baseline_server() as baseline,
        watching(report, palaver, baseline),
    ):
        headers = _logged_in(palaver)
        palaver.call("/api/v1/settings/FileUpload_MaxFileSize", headers, {"value": 2 * LARGE})
        # First: what a server has once used it keeps, so that it grows no more.
        grown, seconds = _memory(palaver, headers, large)
        own, own_seconds = _memory(baseline, {}, large)
        report.add(f"memory more, a file of {large // MIB:,} MiB", grown, "MiB", budget=30.0, baseline=max(own, 0.1))
        report.add(
            f"rate, a file of {large // MIB:,} MiB", large / MIB / seconds, "MiB/s", baseline=large / MIB / own_seconds
        )
        file, photo = os.urandom(SMALL), _photo(SMALL)
        for name, data, type, budget in (
            ("a file of 2 MB", file, "application/octet-stream", 60.0),
            ("a photo of 2 MB, with its thumbnail", photo, "image/jpeg", 100.0),
        ):
            measured = _times(palaver, headers, data, type, count)
            yardstick = _times(baseline, {}, data, type, count)
            report.add(
                f"{name}, p50",
                statistics.median(measured),
                "ms",
                budget=budget,
                baseline=statistics.median(yardstick),
            )
            report.add(f"{name}, slowest of {count}", max(measured), "ms", baseline=max(yardstick))
    return report


def _logged_in(server: Server) -> dict[str, str]:
    data = server.call("/api/v1/login", body={"user": ADMIN_NAME, "password": ADMIN_PASSWORD})["data"]
    return {"X-User-Id": data["userId"], "X-Auth-Token": data["authToken"]}


def _photo(size: int) -> bytes:
    """A JPEG of twelve megapixels and about so many bytes."""
    from PIL import Image

    small = Image.effect_noise((500, 375), 40).convert("RGB")
    picture = small.resize((4000, 3000), Image.Resampling.BICUBIC)
    for quality in range(95, 5, -5):
        written = io.BytesIO()
        picture.save(written, "JPEG", quality=quality)
        if written.tell() <= size:
            return written.getvalue()
    raise BenchmarkError("no photo is small enough")


def _times(server: Server, headers: dict[str, str], data: bytes, type: str, count: int) -> list[float]:
    """Milliseconds that it takes to send the file into a room."""
    times = []
    for turn in range(count + 3):
        started = time.perf_counter()
        _send(server, headers, iter((data,)), len(data), type)
        if turn >= 3:  # the first ones warm it up
            times.append(1000 * (time.perf_counter() - started))
    return times


def _memory(server: Server, headers: dict[str, str], size: int) -> tuple[float, float]:
    """By how many MiB the server grows, at most, while a file of this size is sent; and how many seconds that takes."""
    before = most = server.memory()[0]
    over = threading.Event()

    def watch() -> None:
        nonlocal most
        while not over.wait(0.02):
            most = max(most, server.memory()[0])

    watcher = threading.Thread(target=watch)
    watcher.start()
    started = time.perf_counter()
    try:
        _send(server, headers, (_PIECE for _ in range(size // len(_PIECE))), size, "application/octet-stream")
    finally:
        over.set()
        watcher.join()
    return most - before, time.perf_counter() - started


def _send(server: Server, headers: dict[str, str], pieces: Iterator[bytes], size: int, type: str) -> None:
    head = (
        f'--b\r\nContent-Disposition: form-data; name="file"; filename="a.bin"\r\nContent-Type: {type}\r\n\r\n'
    ).encode()
    tail = b"\r\n--b--\r\n"

    def body() -> Iterator[bytes]:
        yield head
        yield from pieces
        yield tail

    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=120)
    try:
        length = len(head) + size + len(tail)
        sent = {**headers, "Content-Type": "multipart/form-data; boundary=b", "Content-Length": str(length)}
        connection.request("POST", "/api/v1/rooms.upload/GENERAL", body(), sent)
        response = connection.getresponse()
        answer = response.read()
        if response.status != 200 or (headers and "message" not in json.loads(answer)):
            raise BenchmarkError(f"{server.name}: answered {response.status}: {answer[:300]!r}")
    finally:
        connection.close()


if __name__ == "__main__":
    main(benchmark, __doc__)
