#!/usr/bin/env python3
"""Asks a server whether it is truly ready, by its own protocol, and finds free ports.

Standard library only. Exit status 0 means ready; a failure prints one line and exits 1.
Secrets come by the environment (PROBE_PASSWORD), never by arguments that `ps` shows.
"""

import base64
import json
import os
import socket
import struct
import sys
import urllib.error
import urllib.request

TIMEOUT_SECONDS = 5
REQUIRED_FLAGS = ("quorum_queue", "stream_queue")


class NotReady(Exception):
    """The server answered, but not as a ready one does."""


def connect(host: str, port: str) -> socket.socket:
    return socket.create_connection((host, int(port)), timeout=TIMEOUT_SECONDS)


def is_free(host: str, port: int) -> bool:
    with socket.socket() as probe:
        # Without SO_REUSEADDR a connection in TIME_WAIT would look like a listener.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
        return True


def claim(kept: str, *wishes: str) -> None:
    """Prints `key=port` for each wish `key=usual=remembered=host,host`."""
    taken = {int(port) for port in kept.split(",") if port}
    for wish in wishes:
        key, usual, remembered, hosts = wish.split("=")
        candidates = [int(remembered or usual), *range(int(usual), int(usual) + 200)]
        for port in candidates:
            if port not in taken and all(is_free(host, port) for host in hosts.split(",")):
                taken.add(port)
                print(f"{key}={port}")
                break
        else:
            raise NotReady(f"no free port for {key} from {usual} on")


def smtp(port: str) -> None:
    with connect("127.0.0.1", port) as server:
        stream = server.makefile("rwb")
        banner = stream.readline()
        if not banner.startswith(b"220"):
            raise NotReady(f"SMTP banner: {banner!r}")
        stream.write(b"QUIT\r\n")
        stream.flush()
        stream.readline()


def redis(port: str) -> None:
    password = os.environ["PROBE_PASSWORD"].encode()
    with connect("127.0.0.1", port) as server:
        stream = server.makefile("rwb")
        for words in ([b"AUTH", password], [b"PING"]):
            stream.write(b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(w), w) for w in words))
            stream.flush()
            reply = stream.readline()
        if reply != b"+PONG\r\n":
            raise NotReady(f"PING: {reply!r}")


def http(url: str) -> None:
    with urllib.request.urlopen(url, timeout=TIMEOUT_SECONDS) as answer:
        answer.read(4096)


def stripe(port: str) -> None:
    """Both stand-ins know Stripe's lists, and want any secret key."""
    request = urllib.request.Request(f"http://127.0.0.1:{port}/v1/payment_intents?limit=1")
    request.add_header("Authorization", "Bearer sk_test_probe")
    with urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS) as answer:
        if json.load(answer)["object"] != "list":
            raise NotReady("Stripe: no list")


def management(port: str, method: str, path: str):
    request = urllib.request.Request(f"http://127.0.0.1:{port}/api/{path}", method=method)
    login = base64.b64encode(f"orderworks:{os.environ['PROBE_PASSWORD']}".encode()).decode()
    request.add_header("Authorization", f"Basic {login}")
    request.add_header("Content-Type", "application/json")
    if method == "PUT":
        request.data = b"{}"
    with urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS) as answer:
        body = answer.read()
    return json.loads(body) if body else None


def flags_off(port: str) -> list[str]:
    states = {flag["name"]: flag["state"] for flag in management(port, "GET", "feature-flags")}
    return [name for name in REQUIRED_FLAGS if states.get(name) != "enabled"]


def rabbitmq(port: str) -> None:
    for check in ("virtual-hosts", "local-alarms", "protocol-listener/amqp"):
        management(port, "GET", f"health/checks/{check}")
    if missing := flags_off(port):
        raise NotReady(f"feature flags off: {', '.join(missing)}")
    if "guest" in {user["name"] for user in management(port, "GET", "users")}:
        raise NotReady("user guest exists")


def rabbitmq_settle(port: str) -> None:
    """Removes the well-known account and turns on what quorum queues and their dead letters need."""
    if "guest" in {user["name"] for user in management(port, "GET", "users")}:
        management(port, "DELETE", "users/guest")
    for name in flags_off(port):
        management(port, "PUT", f"feature-flags/{name}/enable")


def cql_call(server: socket.socket, opcode: int, body: bytes) -> tuple[int, bytes]:
    server.sendall(struct.pack(">BBhBi", 4, 0, 0, opcode, len(body)) + body)
    stream = server.makefile("rb")
    header = stream.read(9)
    if len(header) < 9:
        raise NotReady("CQL: connection closed")
    _, _, _, answer, length = struct.unpack(">BBhBi", header)
    return answer, stream.read(length)


def cql_values(server: socket.socket, query: bytes) -> list[bytes]:
    """The values of a query for one column, at consistency ONE."""
    # Flag skip_metadata: the number of rows then stands at a fixed place, and the rows follow it.
    answer, rows = cql_call(server, 0x07, struct.pack(">i", len(query)) + query + struct.pack(">HB", 1, 2))
    if answer != 0x08:
        raise NotReady(f"CQL QUERY: opcode {answer}")
    values, at = [], 16
    for _ in range(struct.unpack(">i", rows[12:16])[0]):
        length = max(struct.unpack(">i", rows[at : at + 4])[0], 0)
        values.append(rows[at + 4 : at + 4 + length])
        at += 4 + length
    return values


def cql_begin(server: socket.socket) -> None:
    """OPTIONS and STARTUP."""
    answer, _ = cql_call(server, 0x05, b"")
    if answer != 0x06:
        raise NotReady(f"CQL OPTIONS: opcode {answer}")
    words = b"".join(struct.pack(">H", len(w)) + w for w in (b"CQL_VERSION", b"3.0.0"))
    answer, _ = cql_call(server, 0x01, struct.pack(">H", 1) + words)
    if answer != 0x02:
        raise NotReady(f"CQL STARTUP: opcode {answer}")


def cassandra(host: str, port: str, peers: str) -> None:
    """This node must know all its peers, and have the schema that they have."""
    with connect(host, port) as server:
        cql_begin(server)
        known = cql_values(server, b"SELECT schema_version FROM system.peers_v2")
        if len(known) != int(peers):
            raise NotReady(f"{len(known)} of {peers} peers known")
        if set(known) - set(cql_values(server, b"SELECT schema_version FROM system.local")):
            raise NotReady("peers have another schema")


def cassandra_schema(host: str, port: str) -> None:
    """Prints the version of this node's schema."""
    with connect(host, port) as server:
        cql_begin(server)
        print(*(value.hex() for value in cql_values(server, b"SELECT schema_version FROM system.local")))


COMMANDS = {
    f.__name__: f
    for f in (claim, smtp, redis, http, stripe, rabbitmq, rabbitmq_settle, cassandra, cassandra_schema)
}

if __name__ == "__main__":
    try:
        COMMANDS[sys.argv[1]](*sys.argv[2:])
    except (OSError, NotReady, ValueError) as failure:
        sys.exit(f"{sys.argv[1]}: {failure}")
