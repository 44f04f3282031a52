"""The database, the data folder and the processes over which the pages of the console are measured.

Guarantees: all of them are gone when their context ends. The order is placed at a real API, and the queues are
declared by a real worker; the rest of job store and outbox is filled by `tables.sql` and `day.sql`, as no process could
in a short time. Next: `../shared/bench_servers.py`.
"""

import json
import os
import pathlib
import secrets
import time

from bench_servers import Connection, Program, free_address, note

HERE = pathlib.Path(__file__).parent
DAY_MS = 86_400_000
DAYS = 30


class ConsoleProgram(Program):
    """The binary over the database and a data folder, with a token that signs in to the console."""

    def __init__(self, binary, database, folder):
        self.token = secrets.token_hex(32)
        super().__init__(binary, folder, {
            "ENGINES_QUEUE": "rabbitmq", "ENGINES_ORDERS": "postgres", "RABBITMQ_URL": os.environ["BENCH_AMQP_URL"],
            "POSTGRES_URL": database.url, "PAYMENTS_PROVIDER_URL": "http://127.0.0.1:9/",
            "PAYMENTS_PROVIDER_KEY": "bench", "LOG_FILTER": "error",
            "CONSOLE_TOKENS": f'{{ bench = "admin:{self.token}" }}', "CONSOLE_SHOW_PAYLOADS": "true",
        })


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
    """Fills job store and outbox; returns the order and the time from which on there are jobs."""
    program.command("migrate")
    order = place_order(program)
    health = free_address()
    # Declares the queues, and makes the partitions of these days.
    with program.role("worker", "--health", health, address=health):
        pass
    now = int(time.time() * 1000)
    begin = now - (DAYS - 1) * DAY_MS
    database.run(HERE / "tables.sql", jobs=jobs, begin=begin, now=now, order=order)
    for number in range(DAYS):
        day = now // DAY_MS - (DAYS - 1) + number
        note(f"attempts of day {number + 1} of {DAYS}")
        database.run(
            HERE / "day.sql", partition=f"jobs.attempts_{day:06}", first=attempts * number // DAYS + 1,
            last=attempts * (number + 1) // DAYS, day_from=day * DAY_MS, day_to=(day + 1) * DAY_MS,
            filled_to=min((day + 1) * DAY_MS, now),
        )
    note("vacuum")
    database.psql("-c", "VACUUM (ANALYZE)")
    return order, begin
