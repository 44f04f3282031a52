"""What one merchant's silent endpoints do to another's webhooks.

Merchant A changes stock and its one endpoint answers; the time from the request to the webhook is taken, for a while alone
and for a while during which merchant B has fifty endpoints that accept and say nothing, and changes stock, too.
"""

import contextlib
import hashlib
import http.client
import http.server
import json
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

SILENT = 50
# Between two changes of A, and of B: each of B's is fifty messages, so that it is silence and not their number that counts.
PAUSE = 0.05
PAUSE_OF_FLOOD = 2
AIM_PERCENT = 10
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


def silent_listener():
    """Accepts and says nothing."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
    held = []

    def accept():
        with contextlib.suppress(OSError):
            while True:
                held.append(listener.accept())

    threading.Thread(target=accept, daemon=True).start()
    return listener


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


def flood(url, key, listener, until):
    """B's part: endpoints first, then changes, at once and all the time."""
    shop = Shop(url, key)
    shop.add_product()
    for number in range(SILENT):
        shop.add_endpoint(listener.getsockname()[1], number)
    number = 0
    while not until.is_set():
        number += 1
        shop.set_stock(number)
        until.wait(PAUSE_OF_FLOOD)


def percentiles(samples):
    cuts = statistics.quantiles(samples, n=100, method="inclusive")
    return {"webhooks": len(samples), "p50_ms": round(cuts[49], 2), "p99_ms": round(cuts[98], 2)}


def run(binary, folder, seconds):
    process = subprocess.Popen(
        [binary, "dev", "--json", "--listen", "127.0.0.1:0", "--data", folder],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env=os.environ | PLENTY,
    )
    try:
        ready = json.loads(process.stdout.readline())
        receiver = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Arrivals)
        threading.Thread(target=receiver.serve_forever, daemon=True).start()
        ours = Shop(ready["url"], ready["secret_key"])
        ours.add_product()
        ours.add_endpoint(receiver.server_address[1], "hook")
        measure(ours, 1, seconds / 10)
        alone = measure(ours, 1_000_000, seconds)
        ended, listener = threading.Event(), silent_listener()
        arguments = (ready["url"], add_merchant(folder), listener, ended)
        other = threading.Thread(target=flood, args=arguments)
        other.start()
        beside = measure(ours, 2_000_000, seconds)
        ended.set()
        other.join()
        return alone, beside
    finally:
        process.terminate()
        process.wait(timeout=60)


def main(binary, *options):
    seconds = 10 if "--quick" in options else 60
    with tempfile.TemporaryDirectory() as folder:
        alone, beside = map(percentiles, run(binary, folder, seconds))
    moved = (beside["p99_ms"] / alone["p99_ms"] - 1) * 100
    found = {"alone": alone, "beside": beside, "p99_moved_percent": round(moved, 1), "aim_percent": AIM_PERCENT}
    if "--json" in options:
        print(json.dumps(found))
        return
    print(f"{'':24} {'webhooks':>9} {'p50 ms':>9} {'p99 ms':>9}")
    for name, row in (("alone", alone), (f"beside {SILENT} silent ones", beside)):
        print(f"{name:24} {row['webhooks']:>9} {row['p50_ms']:>9} {row['p99_ms']:>9}")
    print(f"p99 moved by {found['p99_moved_percent']} %; aim: below {AIM_PERCENT} %")


main(*sys.argv[1:])
