"""Deployment of one measurement of the API: a database, a keyspace, a data folder, a sandbox provider, and a merchant.

Guarantees: all of it is gone when its context ends, but for keys in Redis, which expire by themselves. Clients come
through a proxy on this machine that the API trusts, so that the load chooses the addresses it comes from. Each
measurement says by its own settings which limits it raises.
"""

import argparse
import contextlib
import json
import os
import pathlib
import sqlite3
import tempfile
import time

from bench_servers import Connection, Database, Program, free_address, keyspace

# For limits that a load from one machine would reach and that are not what is measured.
PLENTY = "1000000"
# Longest wait for orders to end.
END_MAX = 600
ASK_EVERY = 0.1
OPEN = ("pending", "paid")


class Deployment:
    """The program, and where it keeps its files."""

    def __init__(self, program, folder, settings):
        self.program, self.folder, self.settings = program, pathlib.Path(folder), settings

    @contextlib.contextmanager
    def api(self, **more):
        """Address and process id of an API process with these further settings."""
        address = free_address()
        program = Program(self.program.words[0], str(self.folder), self.settings | more)
        with program.role("api", "--listen", address, address=address) as pid:
            yield address, pid

    @contextlib.contextmanager
    def background(self, workers):
        """A relay and so many workers."""
        with contextlib.ExitStack() as roles:
            for name in ["relay", *["worker"] * workers]:
                health = free_address()
                roles.enter_context(self.program.role(name, "--health", health, address=health))
            yield

    def merchant(self):
        """A new merchant's keys, publishable and secret."""
        return self.merchant_with(0)[0]

    def merchant_with(self, count):
        """The same, and so many further secret keys."""
        made = json.loads(self.program.command("--json", "merchant", "create", "--name", "Bench"))
        create = ("--json", "key", "create", made["merchant"]["id"], "--kind", "sec")
        more = [json.loads(self.program.command(*create))["key"] for _ in range(count)]
        return (made["publishable_key"], made["secret_key"]), more

    def busy(self):
        """Jobs that wait or run, but for those delayed by a minute at most."""
        queues = json.loads(self.program.command("--json", "inspect", "queues"))
        return sum(queue["ready"] + queue["delayed"] + queue["running"] for queue in queues)

    def asked_for(self, status):
        """Charges that the sandbox provider has answered so, captured or declined: each order counts once."""
        file = self.folder / "provider.db"
        with contextlib.closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True, timeout=10)) as ledger:
            sql = "SELECT count(*) FROM requests WHERE json_extract(answer, '$.status') = ?"
            return ledger.execute(sql, (status,)).fetchone()[0]


@contextlib.contextmanager
def deployed(binary, **settings):
    """A migrated deployment with a running sandbox."""
    database, provider = Database(os.environ["ORDERWORKS_TEST_POSTGRES_URL"]), free_address()
    nodes = os.environ["ORDERWORKS_TEST_CASSANDRA_NODES"].split(",")
    with database.made(), keyspace(nodes[0]) as name, tempfile.TemporaryDirectory() as folder:
        settings = {
            "ENGINES_QUEUE": "rabbitmq", "ENGINES_ORDERS": "postgres", "ENGINES_PAYMENTS": "cassandra",
            "ENGINES_CACHE": "redis", "RABBITMQ_URL": os.environ["BENCH_AMQP_URL"], "POSTGRES_URL": database.url,
            "CASSANDRA_NODES": json.dumps(nodes), "CASSANDRA_KEYSPACE": name,
            "CASSANDRA_REPLICATION": "{ datacenter1 = 1 }", "REDIS_URL": os.environ["ORDERWORKS_TEST_REDIS_URL"],
            "REDIS_PREFIX": f"ow-bench-{name}", "PAYMENTS_PROVIDER_URL": f"http://{provider}/",
            "PAYMENTS_PROVIDER_KEY": "bench", "SERVER_TRUSTED_PROXIES": '["127.0.0.0/8"]', "LOG_FILTER": "error",
        } | settings
        program = Program(binary, folder, settings)
        program.command("migrate")
        # It has no `/readyz`: any answer means that it listens.
        with program.role("sandbox", "--listen", provider, address=provider, is_ready=lambda status: True):
            yield Deployment(program, folder, settings)


class Shop:
    """A merchant's server at an API process."""

    def __init__(self, address, keys):
        self.publishable, self.secret = keys
        self.connection = Connection(address, self.secret)

    def json(self, method, path, body=None):
        status, text = self.connection.call(method, path, body)
        assert status < 300, (path, status, text)
        return json.loads(text)

    def add_product(self, sku, on_hand, name="A thing"):
        product = {"name": name, "category": "things", "price_minor": 1250, "currency": "EUR"}
        self.json("PUT", f"/v1/products/{sku}", product)
        self.json("PUT", f"/v1/inventory/{sku}", {"on_hand": on_hand})

    def is_open(self):
        """Whether an order is pending or paid."""
        return any(self.json("GET", f"/v1/orders?limit=1&status={status}")["data"] for status in OPEN)

    def until_done(self, seconds=END_MAX):
        """Waits until no order is open; False where one still is after this time, ten minutes unless told."""
        end = time.monotonic() + seconds
        while self.is_open():
            if time.monotonic() > end:
                return False
            time.sleep(ASK_EVERY)
        return True


def order(sku, method="pm_card_visa"):
    """The body of an order of one piece."""
    return {
        "customer": {"email": "bench@example.com", "name": "Bench"}, "currency": "EUR",
        "items": [{"sku": sku, "quantity": 1}], "payment_method": method,
    }


def arguments(*more):
    """The options that all have, and paths of programs by name."""
    parser = argparse.ArgumentParser()
    for name in ("binary", *more):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--version-of", action="append", default=[])
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--write-docs", type=pathlib.Path)
    told = parser.parse_args()
    told.versions = dict(version.split("=", 1) for version in told.version_of)
    return told
