"""gRPC at both ends, generic over the descriptors: no code for any single method.

A `RemoteService` has a service's methods and calls its replicas in other processes; an `RpcServer` answers such calls
with the service objects of this one. The caller of a service can't tell which of the two it has. A request id and a
deadline travel with every call; errors of the tree in `errors.py` arrive as the same class at the other end.

    client.py        one call: which replica, how long, and whether it may be repeated
    replicas.py      which replicas there are, and which of them can be called
    rendezvous.py    which of them is responsible for a room or a user (a pure function)
    server.py        answering, refusing, stopping in order
    health.py        grpc.health.v1: what clients and probes are told of this process
    identity.py      certificates: which roles a process may play, and whom it may call
    wire.py          what both ends must agree on

Used by node.py only. Importing this package loads grpc, so a process that neither calls nor answers others never does.
"""

from palaver.rpc.client import RemoteService
from palaver.rpc.identity import Certificates
from palaver.rpc.server import RpcServer
from palaver.rpc.wire import method_name

__all__ = ["Certificates", "RemoteService", "RpcServer", "method_name"]
