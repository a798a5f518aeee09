"""Ports for servers that tests start: of the server itself when it is started again, and of nobody else meanwhile."""

import contextlib
import random
import socket
from pathlib import Path


def free_port() -> int:
    """A port on which nothing listens. No outgoing connection gets it while the server on it is away, and nobody else
    who asks here, in this process or in another, as long as this one runs.
    """
    first = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    while True:
        port = random.randrange(max(1024, first - 20_000), first)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            claim = socket.socket(socket.AF_UNIX)
            try:
                claim.bind(f"\0palaver-test-port-{port}")  # an abstract name: it ends with its process
            except OSError:
                claim.close()
                continue
            claim.detach()
            return port
