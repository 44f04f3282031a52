"""Receiver of the webhooks of several merchants, in a process of its own: what else a bench does delays none of them.

Guarantees: each webhook is noted with the time of its arrival, and answered at once.
"""

import asyncio
import contextlib
import datetime
import json
import multiprocessing
import socket
import time
from typing import NamedTuple

ACCEPTED = b"HTTP/1.1 204 No Content\r\n\r\n"
BACKLOG = 1_024
# Webhooks handed over in one step, in which none is received.
AT_ONCE = 500


class Webhook(NamedTuple):
    """An arrival; times in seconds since 1970."""

    merchant: str
    kind: str
    order: str
    at: float
    event_at: float


def seconds(text):
    """A time of the API, in seconds since 1970."""
    return datetime.datetime.fromisoformat(text).timestamp()


def length_of(head):
    line = next((line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")), b":0")
    return int(line.partition(b":")[2])


class Receiving(asyncio.Protocol):
    """A connection of a worker. Webhooks come whole, one after the other; none contains the end of a head."""

    def __init__(self, arrived):
        self.arrived, self.came = arrived, b""

    def connection_made(self, transport):
        self.transport = transport

    def data_received(self, data):
        self.came += data
        head, end, body = self.came.partition(b"\r\n\r\n")
        if not end or len(body) < length_of(head):
            return
        at, self.came = time.time(), b""
        self.transport.write(ACCEPTED)
        merchant, event = head.split(b" ", 2)[1].decode().lstrip("/"), json.loads(body)
        self.arrived.append(Webhook(merchant, event["type"], event["data"]["id"], at, seconds(event["timestamp"])))


async def serve(listener, pipe):
    """Receives until the process ends, and hands over what has come whenever it is asked."""
    arrived, loop = [], asyncio.get_running_loop()

    def hand_over():
        pipe.recv()
        pipe.send(arrived[:AT_ONCE])
        del arrived[:AT_ONCE]

    loop.add_reader(pipe.fileno(), hand_over)
    await loop.create_server(lambda: Receiving(arrived), sock=listener, backlog=BACKLOG)
    await asyncio.Event().wait()


class Receiver:
    """The receiver, as the bench sees it."""

    def __init__(self, port, pipe):
        self.port, self.pipe = port, pipe

    def url(self, merchant):
        return f"http://127.0.0.1:{self.port}/{merchant}"

    def taken(self):
        """The webhooks that have come since it was asked last."""
        found = []
        while True:
            self.pipe.send(None)
            some = self.pipe.recv()
            found += some
            if len(some) < AT_ONCE:
                return found


@contextlib.contextmanager
def receiver():
    listener = socket.create_server(("127.0.0.1", 0), backlog=BACKLOG)
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.get_context("fork").Process(
        target=lambda: asyncio.run(serve(listener, theirs)), daemon=True
    )
    process.start()
    try:
        yield Receiver(listener.getsockname()[1], ours)
    finally:
        process.terminate()
        process.join()
