"""A replica of messaging in a process of its own, which tests freeze or kill. Prints its port."""

import asyncio
import sys

from palaver.rpc import RpcServer
from tests.rpc.harness import MESSAGING, Subject


async def main(port: int) -> None:
    async with RpcServer({MESSAGING: Subject()}, "127.0.0.1", port) as server:
        print(server.port, flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1])))
