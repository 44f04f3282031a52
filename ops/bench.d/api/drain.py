"""Drain of a deployment: the orders a second that its relay and workers fulfil, while as many as possible wait."""

import time
from concurrent.futures import ThreadPoolExecutor

from bench_servers import Connection
from deployment import order

CALLERS = 16


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
