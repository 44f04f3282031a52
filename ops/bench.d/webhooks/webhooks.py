"""What one merchant's silent endpoints do to another's webhooks.

Merchant A changes stock and its one endpoint answers; the time from the request to the webhook is taken alone, beside a
merchant whose fifty endpoints answer, and beside one whose fifty endpoints accept and say nothing. Both are sent equally
many messages: the first shows what their number costs, and what the second adds to that is for want of isolation.
Each round starts afresh, as what is found out about endpoints lasts.
"""

import asyncio
import contextlib
import hashlib
import http.client
import http.server
import json
import multiprocessing
import os
import pathlib
import socket
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import uuid

ENDPOINTS = 50
# Between two changes of A, and of the other merchant, each of whose is a message for every endpoint.
PAUSE = 0.05
PAUSE_OF_FLOOD = 0.5
AIM_PERCENT = 10
ROUNDS = 5
COLUMNS = ("alone", "beside_answering", "beside_silent")
PLENTY = {"ORDERWORKS_CHECKOUT_PER_KEY_PER_SECOND": "100000", "ORDERWORKS_CHECKOUT_BURST": "100000"}


class Arrivals(http.server.BaseHTTPRequestHandler):
    """A's endpoint: notes when each stock level came."""

    protocol_version = "HTTP/1.1"
    taken = {}
    came = threading.Condition()

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        with self.came:
            self.taken.setdefault(body["data"]["on_hand"], time.perf_counter())
            self.came.notify_all()
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_):
        pass


class Answering(asyncio.Protocol):
    """Answers what has come whole; a body never contains the head's end."""

    def connection_made(self, transport):
        self.transport, self.came = transport, b""

    def data_received(self, data):
        self.came += data
        head, end, body = self.came.partition(b"\r\n\r\n")
        length = next((line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")), b":0")
        if end and len(body) >= int(length.partition(b":")[2]):
            self.came = b""
            self.transport.write(b"HTTP/1.1 204 No Content\r\n\r\n")


@contextlib.contextmanager
def receivers():
    """Ports of an endpoint that answers, and of one that accepts and says nothing; both apart from what is measured."""

    async def serve(*listeners):
        loop = asyncio.get_running_loop()
        for protocol, listener in zip((Answering, asyncio.Protocol), listeners, strict=True):
            await loop.create_server(protocol, sock=listener, backlog=1024)
        await asyncio.Event().wait()

    sockets = [socket.create_server(("127.0.0.1", 0), backlog=1024) for _ in range(2)]
    process = multiprocessing.get_context("fork").Process(
        target=lambda: asyncio.run(serve(*sockets)), daemon=True
    )
    process.start()
    try:
        yield [listener.getsockname()[1] for listener in sockets]
    finally:
        process.terminate()
        process.join()


class Shop:
    """A merchant's server."""

    def __init__(self, url, key):
        self.connection = http.client.HTTPConnection(url.removeprefix("http://"))
        self.key = key

    def call(self, method, path, body):
        headers = {"authorization": f"Bearer {self.key}", "content-type": "application/json"}
        self.connection.request(method, path, json.dumps(body), headers)
        answer = self.connection.getresponse()
        text = answer.read()
        assert answer.status < 300, (path, answer.status, text)

    def add_product(self):
        product = {"name": "A thing", "category": "things", "price_minor": 100, "currency": "EUR"}
        self.call("PUT", "/v1/products/THING", product)

    def add_endpoint(self, port, path):
        url = f"http://127.0.0.1:{port}/{path}"
        self.call("POST", "/v1/webhook_endpoints", {"url": url, "events": ["inventory.updated"]})

    def set_stock(self, on_hand):
        self.call("PUT", "/v1/inventory/THING", {"on_hand": on_hand})


def add_merchant(folder):
    """A second merchant, as there is no route that adds one; its secret key."""
    key, now, merchant = f"owk_sec_{uuid.uuid4().hex}", int(time.time() * 1000), f"mer_{uuid.uuid4()}"
    with contextlib.closing(sqlite3.connect(pathlib.Path(folder, "orders.db"), timeout=10)) as store, store:
        store.execute("INSERT INTO merchants VALUES (?, 'Another', ?)", (merchant, now))
        row = (hashlib.sha256(key.encode()).digest(), f"key_{uuid.uuid4()}", merchant, now)
        store.execute("INSERT INTO api_keys VALUES (?, ?, ?, 'secret', ?)", row)
    return key


def measure(shop, first, seconds):
    """Milliseconds from each change to its webhook."""
    sent, number = {}, first
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        sent[number] = time.perf_counter()
        shop.set_stock(number)
        number += 1
        time.sleep(PAUSE)
    with Arrivals.came:
        Arrivals.came.wait_for(lambda: sent.keys() <= Arrivals.taken.keys(), timeout=120)
        missing = sent.keys() - Arrivals.taken.keys()
        assert not missing, f"{len(missing)} webhooks had not come after two minutes"
        return [(Arrivals.taken[number] - at) * 1000 for number, at in sent.items()]


@contextlib.contextmanager
def flood(url, key, port):
    """Another merchant's part: endpoints first, then changes all the time."""
    shop, ended = Shop(url, key), threading.Event()
    shop.add_product()
    for number in range(ENDPOINTS):
        shop.add_endpoint(port, number)

    def change():
        number, due = 0, time.perf_counter()
        while not ended.is_set():
            number, due = number + 1, due + PAUSE_OF_FLOOD
            shop.set_stock(number)
            ended.wait(max(0, due - time.perf_counter()))

    thread = threading.Thread(target=change)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


class Server:
    """The binary, and what it has done so far."""

    def __init__(self, binary, folder):
        self.folder = pathlib.Path(folder)
        self.process = subprocess.Popen(
            [binary, "dev", "--json", "--listen", "127.0.0.1:0", "--data", folder],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env=os.environ | PLENTY,
        )
        self.ready = json.loads(self.process.stdout.readline())

    def stop(self):
        self.process.terminate()
        self.process.wait(timeout=60)

    def cpu_seconds(self):
        fields = pathlib.Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def outcomes(self, since):
        """Runs of deliveries by outcome, as the queue has recorded them since then."""
        # The longest that a record waits to be written.
        time.sleep(1.5)
        with contextlib.closing(sqlite3.connect(self.folder / "queue.db", timeout=10)) as queue:
            return dict(
                queue.execute(
                    "SELECT outcome, count(*) FROM attempts WHERE kind = 'deliver_webhook' AND started_at >= ?"
                    " GROUP BY outcome",
                    (since,),
                )
            )


def percentiles(samples):
    cuts = statistics.quantiles(samples, n=100, method="inclusive")
    return {"webhooks": len(samples), "p50_ms": round(cuts[49], 2), "p99_ms": round(cuts[98], 2)}


def column(server, ours, first, seconds):
    since, cpu = int(time.time() * 1000), server.cpu_seconds()
    found = percentiles(measure(ours, first, seconds))
    used = server.cpu_seconds() - cpu
    return found | {"cpu_percent": round(used / seconds * 100, 1), "runs": server.outcomes(since)}


def round_of(binary, receiver, seconds):
    """One column after the other on one server; the silent last."""
    with tempfile.TemporaryDirectory() as folder, receivers() as ports:
        server = Server(binary, folder)
        try:
            ours = Shop(server.ready["url"], server.ready["secret_key"])
            ours.add_product()
            ours.add_endpoint(receiver.server_address[1], "hook")
            measure(ours, 1, 3)
            found = [column(server, ours, 1_000_000, seconds)]
            for number, port in enumerate(ports, 2):
                with flood(server.ready["url"], add_merchant(folder), port):
                    found.append(column(server, ours, number * 1_000_000, seconds))
            return dict(zip(COLUMNS, found, strict=True))
        finally:
            Arrivals.taken.clear()
            server.stop()


def summary(rounds, name):
    """Medians over the rounds, and the range of the p99."""
    of = lambda key: [found[name][key] for found in rounds]  # noqa: E731
    p99 = of("p99_ms")
    return {
        "webhooks": sum(of("webhooks")),
        "p50_ms": statistics.median(of("p50_ms")),
        "p99_ms": statistics.median(p99),
        "p99_range_ms": [min(p99), max(p99)],
        "cpu_percent": statistics.median(of("cpu_percent")),
        "runs": {key: sum(runs.get(key, 0) for runs in of("runs")) for key in set().union(*of("runs"))},
    }


def main(binary, *options):
    rounds, seconds = (1, 10) if "--quick" in options else (ROUNDS, 30)
    receiver = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Arrivals)
    threading.Thread(target=receiver.serve_forever, daemon=True).start()
    measured = [round_of(binary, receiver, seconds) for _ in range(rounds)]
    found = {name: summary(measured, name) for name in COLUMNS}
    p99 = {name: found[name]["p99_ms"] for name in COLUMNS}
    moved = [round((p99[COLUMNS[i + 1]] / p99[COLUMNS[i]] - 1) * 100, 1) for i in range(2)]
    found |= {"load_moves_p99_percent": moved[0], "silence_moves_p99_percent": moved[1], "aim_percent": AIM_PERCENT}
    receiver.shutdown()
    if "--json" in options:
        print(json.dumps(found))
        return
    print(f"{'':18} {'webhooks':>9} {'p50 ms':>8} {'p99 ms':>8} {'of rounds':>16} {'CPU %':>6}  runs of deliveries")
    for name in COLUMNS:
        row = found[name]
        low, high = row["p99_range_ms"]
        runs = ", ".join(f"{count} {outcome}" for outcome, count in sorted(row["runs"].items()))
        print(
            f"{name.replace('_', ' '):18} {row['webhooks']:>9} {row['p50_ms']:>8.1f} {row['p99_ms']:>8.1f}"
            f" {low:>7.1f}-{high:<8.1f} {row['cpu_percent']:>6}  {runs}"
        )
    print(f"p99: load moves it by {moved[0]} %, silence at the same load by {moved[1]} %; aim: below {AIM_PERCENT} %")


if __name__ == "__main__":
    main(*sys.argv[1:])
