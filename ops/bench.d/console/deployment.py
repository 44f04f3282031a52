"""The database, the data folder and the processes over which the pages of the console are measured.

Guarantees: all of them are gone when their context ends. The order is placed at a real API, and the queues are
declared by a real worker; the rest of the job store is filled by `tables.sql` and `day.sql`, as no process could in a
short time.
"""

import contextlib
import http.client
import json
import os
import pathlib
import secrets
import socket
import subprocess
import sys
import time
import urllib.parse

HERE = pathlib.Path(__file__).parent
DAY_MS = 86_400_000
DAYS = 30
START_MAX = 60
ANSWER_MAX = 30


class Database:
    """A database on the server, and `psql` over it."""

    def __init__(self, url):
        parts = urllib.parse.urlsplit(url)
        self.name = f"orderworks_bench_{os.getpid()}"
        self.url = parts._replace(path=f"/{self.name}").geturl()
        # Not as an argument, which other users of the machine see.
        self.login = {
            "PGHOST": parts.hostname,
            "PGPORT": str(parts.port or 5432),
            "PGUSER": urllib.parse.unquote(parts.username or ""),
            "PGPASSWORD": urllib.parse.unquote(parts.password or ""),
        }
        self.server = parts.path.lstrip("/")

    def psql(self, *words, database=None):
        env = os.environ | self.login | {"PGDATABASE": database or self.name}
        # The words, not what is in a file of the user.
        command = ["psql", "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", *words]
        return subprocess.run(command, env=env, check=True, stdout=subprocess.PIPE, text=True).stdout

    def rows(self, sql):
        return self.psql("-c", sql).split()

    def run(self, file, **variables):
        words = [word for key, value in variables.items() for word in ("-v", f"{key}={value}")]
        self.psql(*words, "-f", str(HERE / file))

    @contextlib.contextmanager
    def made(self):
        self.psql("-c", f"CREATE DATABASE {self.name}", database=self.server)
        try:
            yield self
        finally:
            self.psql("-c", f"DROP DATABASE {self.name} WITH (FORCE)", database=self.server)


class Connection:
    """A kept connection with a token."""

    def __init__(self, address, token):
        self.connection = http.client.HTTPConnection(address, timeout=ANSWER_MAX)
        self.token = token

    def call(self, method, path, body=None, **headers):
        headers |= {"authorization": f"Bearer {self.token}", "content-type": "application/json"}
        self.connection.request(method, path, json.dumps(body) if body else None, headers)
        answer = self.connection.getresponse()
        return answer.status, answer.read().decode()


class Program:
    """The binary over the database and a data folder."""

    def __init__(self, binary, database, folder):
        self.words = [binary, "--data", folder]
        self.token = secrets.token_hex(32)
        settings = {
            "ENGINES_QUEUE": "rabbitmq", "ENGINES_ORDERS": "postgres", "RABBITMQ_URL": os.environ["BENCH_AMQP_URL"],
            "POSTGRES_URL": database.url, "PAYMENTS_PROVIDER_URL": "http://127.0.0.1:9/",
            "PAYMENTS_PROVIDER_KEY": "bench", "LOG_FILTER": "error",
            "CONSOLE_TOKENS": f'{{ bench = "admin:{self.token}" }}', "CONSOLE_SHOW_PAYLOADS": "true",
        }
        kept = {key: value for key, value in os.environ.items() if not key.startswith("ORDERWORKS_")}
        self.env = kept | {f"ORDERWORKS_{key}": value for key, value in settings.items()}

    def command(self, *words):
        done = subprocess.run([*self.words, *words], env=self.env, check=True, stdout=subprocess.PIPE, text=True)
        return done.stdout

    @contextlib.contextmanager
    def role(self, *words, address):
        """A role that is ready at this address; stopped at the end."""
        process = subprocess.Popen([*self.words, *words], env=self.env, stdout=subprocess.DEVNULL)
        try:
            until_ready(process, address)
            yield process.pid
        finally:
            process.terminate()
            process.wait(timeout=START_MAX)


def until_ready(process, address):
    end = time.monotonic() + START_MAX
    while time.monotonic() < end:
        assert process.poll() is None, "a role has ended at its start"
        with contextlib.suppress(OSError, http.client.HTTPException):
            if Connection(address, "none").call("GET", "/readyz")[0] == 200:
                return
        time.sleep(0.1)
    raise AssertionError("a role does not get ready")


def free_address():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return f"127.0.0.1:{listener.getsockname()[1]}"


def place_order(program):
    """The id of an order, placed at an API that runs for it."""
    secret = json.loads(program.command("--json", "merchant", "create", "--name", "Bench"))["secret_key"]
    address = free_address()
    product = {"name": "A thing", "category": "things", "price_minor": 1250, "currency": "EUR"}
    order = {
        "customer": {"email": "bench@example.com", "name": "Bench"}, "currency": "EUR",
        "items": [{"sku": "THING", "quantity": 1}], "payment_method": "pm_card_visa",
    }
    with program.role("api", "--listen", address, address=address):
        shop = Connection(address, secret)
        for path, body in (("products", product), ("inventory", {"on_hand": 10})):
            status, text = shop.call("PUT", f"/v1/{path}/THING", body)
            assert status < 300, text
        status, text = shop.call("POST", "/v1/orders", order, **{"idempotency-key": "bench"})
        assert status == 202, text
        return json.loads(text)["id"]


def fill(database, program, attempts, jobs):
    """Fills the job store; returns the order and the time from which on there are jobs."""
    program.command("migrate")
    order = place_order(program)
    health = free_address()
    # Declares the queues, and makes the partitions of these days.
    with program.role("worker", "--health", health, address=health):
        pass
    now = int(time.time() * 1000)
    begin = now - (DAYS - 1) * DAY_MS
    database.run("tables.sql", jobs=jobs, begin=begin, now=now, order=order)
    for number in range(DAYS):
        day = now // DAY_MS - (DAYS - 1) + number
        note(f"attempts of day {number + 1} of {DAYS}")
        database.run(
            "day.sql", partition=f"jobs.attempts_{day:06}", first=attempts * number // DAYS + 1,
            last=attempts * (number + 1) // DAYS, day_from=day * DAY_MS, day_to=(day + 1) * DAY_MS,
            filled_to=min((day + 1) * DAY_MS, now),
        )
    note("vacuum")
    database.psql("-c", "VACUUM (ANALYZE)")
    return order, begin


def note(text):
    print(text, file=sys.stderr, flush=True)
