"""A flash sale: far more orders than the installation drains, for a product of which there are few pieces.

How many orders a second one relay and two workers fulfil is measured first. Then ten times as many come, whatever the
answers take, at two API processes in turn, each from an address of its own. Exactly as many pieces as there are must be
sold, every answer must be an announced one, and every order that was accepted must end; else the exit status is 1.
"""

import collections
import contextlib
import itertools
import json
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import load
import plot
from bench_report import figure, percentile, publish
from bench_servers import Connection, note
from deployment import OPEN, Shop, arguments, deployed, order

PIECES = 100
TIMES_THE_DRAIN = 10
SECONDS = 300
DRAINED = 600
WARM_UP = 60
CALLERS = 16
PROCESSES = 2
WORKERS = 2
# More than that would measure the load generator, and come near to the publishable key's own limit of 5,000.
RATE_MAX = 3_000
ACCEPTED_P99_MAX_MS = 250
KINDS = ("accepted", "sold out", "limited", "reduced capacity", "unannounced")
IMAGE = "flash-sale.svg"


def address_of(number):
    """An address that no other order comes from."""
    return f"10.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}"


def place_some(address, shop, numbers, sku):
    """Places orders as fast as they are accepted."""

    def place(connection, number):
        headers = {"idempotency-key": f"{sku}-{number}", "x-forwarded-for": address_of(number)}
        answer, text = connection.ask("POST", "/v1/orders", order(sku), headers)
        assert answer.status == 202, (answer.status, text)

    def call(mine):
        connection = Connection(address, shop.publishable)
        for number in mine:
            place(connection, number)

    with ThreadPoolExecutor(CALLERS) as callers:
        list(callers.map(call, (numbers[caller::CALLERS] for caller in range(CALLERS))))


def drain(address, shop, first, count):
    """Orders a second, from the first one placed to the last one fulfilled."""
    began = time.monotonic()
    place_some(address, shop, range(first, first + count), "OTHER")
    assert shop.until_done(), "orders do not end"
    return count / (time.monotonic() - began)


def targets(addresses, key):
    """Orders of one piece, at the processes in turn."""
    for number, address in zip(itertools.count(), itertools.cycle(addresses)):
        headers = {
            "Authorization": f"Bearer {key}", "Content-Type": "application/json",
            "X-Forwarded-For": address_of(number), "Idempotency-Key": f"sale-{number}",
        }
        yield load.target("POST", f"http://{address}/v1/orders", headers, order("SALE"))


def code_of(answer):
    """The code of a problem."""
    with contextlib.suppress(ValueError, AttributeError):
        return json.loads(answer["text"]).get("code", "")
    return ""


def kind_of(answer):
    """What an answer means, of those that docs/API.md announces."""
    waits = "retry-after" in answer["headers"]
    match answer["code"], code_of(answer):
        case 202, _:
            return "accepted"
        case 409, "out_of_stock":
            return "sold out"
        case 429, _ if waits:
            return "limited"
        case 503, "reduced_capacity" if waits:
            return "reduced capacity"
    return "unannounced"


class Sale:
    """The answers of a sale, as they come."""

    def __init__(self, rate, seconds):
        self.rate = rate
        self.counts = {kind: [0] * seconds for kind in KINDS}
        self.latencies = [[] for _ in range(seconds)]
        self.accepted = {}
        self.surprises = collections.Counter()

    def take(self, answer):
        kind, second, took = kind_of(answer), answer["seq"] // self.rate, answer["latency"] / 1e6
        self.counts[kind][second] += 1
        self.latencies[second].append(took)
        if kind == "accepted":
            self.accepted[json.loads(answer["text"])["id"]] = took
        elif kind == "unannounced":
            # Of few kinds, whatever the number of answers: their texts have ids in them.
            self.surprises[(answer["code"], code_of(answer) or answer["error"])] += 1

    def total(self, kind):
        return sum(self.counts[kind])

    def panels(self):
        """What the plot shows."""
        slowest = [percentile(taken, 99) if taken else None for taken in self.latencies]
        shown = {kind: counts for kind, counts in self.counts.items() if any(counts)}
        return [("answers per second", shown), ("p99 of the answers of each second, ms", {"all answers": slowest})]


def statuses_of(shop, accepted):
    """How the orders ended that were accepted, once none is open or the patience is over."""
    shop.until_done()
    return collections.Counter(shop.json("GET", f"/v1/orders/{number}")["status"] for number in accepted)


def measure(told):
    """The drain, the answers of the sale, how orders ended, and the stock that was left."""
    part = 15 if told.quick else 1
    seconds, drained = SECONDS // part, max(DRAINED // part, CALLERS)
    with contextlib.ExitStack() as running:
        deployment = running.enter_context(deployed(told.binary))
        running.enter_context(deployment.background(WORKERS))
        addresses = [running.enter_context(deployment.api())[0] for _ in range(PROCESSES)]
        shop = Shop(addresses[0], deployment.merchant())
        shop.add_product("OTHER", 1_000_000)
        shop.add_product("SALE", PIECES)
        drain(addresses[0], shop, 0, WARM_UP)
        drained_rate = drain(addresses[0], shop, WARM_UP, drained)
        sale = Sale(min(RATE_MAX, max(1, round(TIMES_THE_DRAIN * drained_rate))), seconds)
        note(f"{drained_rate:.0f} orders a second are fulfilled; {sale.rate} a second for {seconds} s")
        for answer in load.open_model(told.vegeta, sale.rate, seconds, targets(addresses, shop.publishable)):
            sale.take(answer)
        note("waiting for the end of all orders")
        ended = statuses_of(shop, sale.accepted)
        return drained_rate, sale, ended, shop.json("GET", "/v1/inventory/SALE")


def results(drained_rate, sale, ended):
    everything = [took for taken in sale.latencies for took in taken]
    accepted = list(sale.accepted.values())
    return [
        figure("sale_drain", drained_rate, "orders/s"),
        figure("sale_offered", sale.rate, "orders/s", drained_rate),
        figure("sale_sold", ended["fulfilled"], "pieces", PIECES),
        *(figure(f"sale_{kind.replace(' ', '_')}", sale.total(kind), "answers") for kind in KINDS),
        figure("sale_not_ended", sum(ended[status] for status in OPEN), "orders"),
        figure("sale_accepted_p50", percentile(accepted, 50), "ms"),
        figure("sale_accepted_p99", percentile(accepted, 99), "ms", ACCEPTED_P99_MAX_MS),
        figure("sale_answered_p50", percentile(everything, 50), "ms"),
        figure("sale_answered_p99", percentile(everything, 99), "ms"),
    ]


def failures(sale, ended, stock):
    """What must not be; empty where all is well."""
    found = [f"{count} answers were {what[0]}: {what[1]}" for what, count in sale.surprises.most_common(5)]
    if ended["fulfilled"] != PIECES or stock["available"] != 0:
        found.append(f"{ended['fulfilled']} of {PIECES} pieces were sold, {stock['available']} are left")
    if len(sale.accepted) != sale.total("accepted"):
        found.append("an order was accepted twice under two keys")
    still = sum(ended[status] for status in OPEN)
    return found + ([f"{still} accepted orders did not end"] if still else [])


def main():
    told = arguments("vegeta")
    drained_rate, sale, ended, stock = measure(told)
    found, appendix = results(drained_rate, sale, ended), ""
    if told.write_docs:
        title = f"Flash sale: {sale.rate} orders a second for {PIECES} pieces"
        image = told.write_docs.parent / "images" / IMAGE
        image.write_text(plot.drawing(title, sale.panels()))
        appendix = f"\n![Answers per second and their latency during the sale](images/{IMAGE})\n"
    publish(told, "ops/bench flash_sale", found, told.versions, appendix)
    wrong = failures(sale, ended, stock)
    for what in wrong:
        note(what)
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
