"""Time and peak memory of `orderworks verify --full` over many orders.

One order is placed and fulfilled for real in the embedded mode. Then its rows are copied in every store, with ids and
times of their own, spread over twelve hours: the audit reads the same rows as after as many orders.
"""

import contextlib
import functools
import hashlib
import http.client
import itertools
import json
import multiprocessing
import os
import pathlib
import random
import re
import sqlite3
import subprocess
import sys
import tempfile
import time
import uuid

SPAN_MS = 12 * 3600 * 1000
PATIENCE = 30
# Copies in memory at once.
BATCH = 1000
# The tables with rows of an order, by file; a position is given by SQLite.
TABLES = {
    "orders": ("orders", "idempotency_keys", "outbox", "mails"),
    "payments": ("payments", "payment_attempts", "payment_decisions"),
    "provider": ("ledger", "requests"),
}


class Server:
    """`orderworks dev` over a folder."""

    def __init__(self, binary, folder):
        words = [binary, "dev", "--json", "--listen", "127.0.0.1:0", "--data", folder]
        self.process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        self.ready = json.loads(self.process.stdout.readline())

    def call(self, method, path, body=None, **headers):
        connection = http.client.HTTPConnection(self.ready["url"].removeprefix("http://"))
        headers |= {"authorization": f"Bearer {self.ready['secret_key']}", "content-type": "application/json"}
        connection.request(method, path, json.dumps(body) if body else None, headers)
        answer = connection.getresponse()
        text = answer.read()
        assert answer.status < 300, (path, answer.status, text)
        return json.loads(text)

    def stop(self):
        self.process.terminate()
        self.process.wait(timeout=60)


def place(binary, folder):
    """An order that is fulfilled and told of; the texts that are its own: its ids and its key."""
    server = Server(binary, folder)
    try:
        body = {
            "customer": {"email": "ada@example.com", "name": "Ada"},
            "currency": "EUR",
            "items": [{"sku": "CUP-ENAMEL", "quantity": 2}],
            "payment_method": "pm_card_visa",
        }
        key = str(uuid.uuid4())
        path = "/v1/orders/" + server.call("POST", "/v1/orders", body, **{"idempotency-key": key})["id"]
        end = time.monotonic() + PATIENCE
        while (order := server.call("GET", path))["status"] != "fulfilled" or not mailed(folder):
            assert time.monotonic() < end, order
            time.sleep(0.1)
        return {"order": bare(order["id"]), "payment": bare(order["payment"]["id"]),
                "shipment": bare(order["shipment"]["id"]), "key": key}
    finally:
        server.stop()


def bare(identifier):
    return identifier.partition("_")[2]


def mailed(folder):
    with opened(folder, "orders") as store:
        return store.execute("SELECT 1 FROM mails").fetchone() and not store.execute(
            "SELECT 1 FROM outbox WHERE sent_at IS NULL"
        ).fetchone()


@contextlib.contextmanager
def opened(folder, name):
    with contextlib.closing(sqlite3.connect(pathlib.Path(folder, f"{name}.db"))) as store, store:
        yield store


def fresh(at_ms):
    """The text of a UUIDv7."""
    head, tail = f"{at_ms:012x}", f"{random.getrandbits(74):019x}"
    return f"{head[:8]}-{head[8:]}-7{tail[:3]}-8{tail[3:6]}-{tail[6:18]}"


def derived(parent, label):
    """An id derived from another, see `base::ids::derived`."""
    octets = bytes.fromhex(parent.replace("-", ""))
    octets = bytearray(octets[:6] + hashlib.sha256(octets + label.encode()).digest()[:10])
    octets[6], octets[8] = octets[6] & 0x0F | 0x70, octets[8] & 0x3F | 0x80
    return str(uuid.UUID(bytes=bytes(octets)))


def copies(own, messages, charge, orders):
    """The time of each copy, and what puts its own texts into those of the order."""
    pattern = re.compile("|".join([*own.values(), *messages, charge]))
    start = int(time.time() * 1000) - SPAN_MS
    for number in range(orders):
        at = start + number * SPAN_MS // orders
        order = fresh(at)
        new = {
            own["order"]: order,
            own["payment"]: derived(order, "payment"),
            own["shipment"]: derived(order, "shipment"),
            own["key"]: fresh(at),
            charge: fresh(at).replace("-", ""),
        }
        new |= {message: fresh(at) for message in messages}
        yield at, functools.partial(pattern.sub, lambda found, new=new: new[found[0]])


def copied(columns, row, at, renamed):
    def value_of(column, value):
        if isinstance(value, str):
            return renamed(value)
        if column == "token_hash" and value is not None:
            return random.randbytes(32)
        return at if value is not None and (column == "at" or column.endswith("_at")) else value

    return [value_of(column, value) for column, value in zip(columns, row, strict=True)]


def rows_of(store, table, own):
    """The columns, and the order's rows."""
    found = store.execute(f"SELECT * FROM {table}")
    columns = [column for column, *_ in found.description]
    skipped = columns.index("position") if "position" in columns else None
    parts = [own["order"], own["payment"]]
    rows = [row for row in found if any(part in str(value) for value in row for part in parts)]
    assert rows, table
    keep = [at for at in range(len(columns)) if at != skipped]
    return [columns[at] for at in keep], [[row[at] for at in keep] for row in rows]


def multiply(folder, own, orders):
    with contextlib.ExitStack() as stack:
        stores = {name: stack.enter_context(opened(folder, name)) for name in TABLES}
        columns, rows = rows_of(stores["orders"], "outbox", own)
        messages = [bare(row[columns.index("id")]) for row in rows]
        (charge,) = stores["provider"].execute("SELECT substr(id, 4) FROM ledger").fetchone()
        parts = []
        for name, store in stores.items():
            store.executescript("PRAGMA journal_mode = off; PRAGMA synchronous = off; PRAGMA cache_size = -500000")
            for table in TABLES[name]:
                columns, rows = rows_of(store, table, own)
                marks = ", ".join("?" * len(columns))
                parts.append((store, f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({marks})", columns, rows))
        all_copies = copies(own, messages, charge, orders)
        while some := list(itertools.islice(all_copies, BATCH)):
            for store, insert, columns, rows in parts:
                store.executemany(insert, (copied(columns, row, *copy) for copy in some for row in rows))


def audit(binary, folder):
    """Seconds, peak of the resident memory in MiB, and the summary."""
    begun = time.perf_counter()
    # The first order is some seconds old, and the ledger is read up to the first entry within the grace.
    words = [binary, "--json", "--data", folder, "verify", "--full", "--grace", "1s"]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
    lines = process.stdout.read().splitlines()
    _, status, usage = os.wait4(process.pid, 0)
    seconds, summary = time.perf_counter() - begun, json.loads(lines[-1])
    assert os.waitstatus_to_exitcode(status) == 0, lines[:5]
    return seconds, usage.ru_maxrss / 1024, summary


def main(binary, words):
    as_json, orders = "--json" in words, 20_000 if "--quick" in words else 1_000_000
    results = []
    for count in (orders // 10, orders):
        with tempfile.TemporaryDirectory(dir=os.environ.get("BENCH_FOLDER")) as folder:
            # In a process of its own: a child's peak begins with the size of its parent.
            copier = multiprocessing.Process(target=multiply, args=(folder, place(binary, folder), count))
            copier.start()
            copier.join()
            assert copier.exitcode == 0
            seconds, peak, summary = audit(binary, folder)
            assert summary["orders"] == summary["payments"] == summary["ledger"] == count + 1, summary
            size = sum(file.stat().st_size for file in pathlib.Path(folder).glob("*.db*")) / 2**20
        results += [
            {"name": f"verify_{count}_{name}", "value": round(value, 1), "unit": unit}
            for name, value, unit in (("took", seconds, "s"), ("peak", peak, "MiB"), ("files", size, "MiB"))
        ]
        print(f"{count:,} orders: {seconds:.1f} s, peak {peak:.1f} MiB, files {size:.0f} MiB", file=sys.stderr)
    if as_json:
        print(json.dumps({"results": results}))


main(sys.argv[1], sys.argv[2:])
