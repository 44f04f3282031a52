"""What a checkout pays for its protections, and what shoppers see of the catalog, over real servers.

Cached reads beside a bare handler that gives the same bytes, the first page of the storefront at a rate that does not
wait for it, and the memory of a process that a million addresses call. The price of the protections is measured by
`ops/bench.d/orders`; its figures come as a file. Next: `deployment.py` (what runs), `load.py` (by what it is called).
"""

import itertools
import json
import pathlib
import subprocess
import tempfile
import time

import load
from bench_report import figure, middle_round, percentile, publish
from bench_servers import START_MAX, Connection, free_address, note, resident_mib, until_ready
from deployment import PLENTY, Shop, arguments, deployed

HERE = pathlib.Path(__file__).parent
PRODUCTS = 200
LIST = "/v1/products?limit=20&category=things"
# Header fields that the server of the bare handler writes itself.
OF_THE_SERVER = ("connection", "content-length", "date", "transfer-encoding")
HOME_RATE = 200
SHOPPERS = 250
GROWTH_MIB_AIM = 16
# Two requests of an identity, one of them with a key that is refused.
REFUSED = (0.45, 0.55)


def bearer(key):
    return {"Authorization": f"Bearer {key}"}


def answer_of(address, key, path):
    """The answer of the API, for the handler that repeats it."""
    answer, text = Connection(address, key).ask("GET", path)
    assert answer.status == 200, (answer.status, text)
    headers = [pair for pair in answer.getheaders() if pair[0].lower() not in OF_THE_SERVER]
    return {"headers": headers, "body": text}


def catalog_cached(told, address, key):
    """Rates of the API and of the bare handler, in turns."""
    rounds, seconds = (1, 2) if told.quick else (5, 5)
    listen = free_address()
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        json.dump(answer_of(address, key, LIST), file)
        file.flush()
        bare = subprocess.Popen([told.bare, "--listen", listen, "--answer", file.name])
        try:
            until_ready(bare, listen, lambda status: status == 200)
            ours, limits = [], []
            for number in range(-1, rounds):
                for at, rates in ((listen, limits), (address, ours)):
                    _, failed, rate = load.closed(at, LIST, bearer(key), seconds)
                    assert failed == 0, f"{failed} reads failed"
                    # A round that is not counted comes first.
                    rates += [rate] if number >= 0 else []
                note(f"cached reads, round {number + 1} of {rounds}")
        finally:
            bare.terminate()
            bare.wait(timeout=START_MAX)
    rate, limit = middle_round(ours, limits)
    return [figure("catalog_cached", rate, "reads/s", limit)]


def home_targets(address):
    for number in itertools.count():
        headers = {"Accept": "text/html", "X-Forwarded-For": f"10.0.0.{number % SHOPPERS + 1}"}
        yield load.target("GET", f"http://{address}/", headers)


def storefront_home(told, address):
    """Latencies of the first page, once it was asked for some seconds."""
    warm, seconds = (1, 5) if told.quick else (5, 30)
    answers = list(load.open_model(told.vegeta, HOME_RATE, warm + seconds, home_targets(address)))
    failed = [answer for answer in answers if answer["code"] != 200]
    assert not failed, f"{len(failed)} pages failed, the first: {failed[0]['code']} {failed[0]['error']}"
    taken = load.milliseconds(answer for answer in answers if answer["seq"] >= HOME_RATE * warm)
    return [
        figure("storefront_home_p50", percentile(taken, 50), "ms"),
        figure("storefront_home_p99", percentile(taken, 99), "ms"),
    ]


def memory_identities(told, address, key, pid):
    """Resident memory after many addresses and keys, and after ten times as many."""
    few, seconds = (2_000, 1) if told.quick else (100_000, 5)
    seen, taken = 0, []
    runs = itertools.count()
    for mark in (few, 10 * few):
        while seen < mark:
            words = (str(next(runs)), key)
            total, refused, _ = load.closed(address, "/", {}, seconds, HERE / "identities.lua", words)
            assert REFUSED[0] * total < refused < REFUSED[1] * total, f"{refused} of {total} requests were refused"
            seen += total // 2
            note(f"addresses and keys: {seen:,} of {10 * few:,}")
        # What a request leaves behind on purpose lasts for a second at most.
        time.sleep(2)
        taken.append(resident_mib(pid))
    return [
        figure("memory_identities_few", taken[0], "MiB"),
        figure("memory_identities_many", taken[1], "MiB"),
        figure("memory_identities", taken[1] - taken[0], "MiB", GROWTH_MIB_AIM),
    ]


def measure(told):
    with deployed(told.binary) as deployment:
        keys = deployment.merchant()
        # The load of this one comes from a single address.
        with deployment.api(READS_PER_IP_PER_SECOND=PLENTY) as (address, _):
            shop = Shop(address, keys)
            for number in range(PRODUCTS):
                shop.add_product(f"THING-{number:03}", 1_000_000)
            shop.add_product("THING", 1_000_000)
            found = catalog_cached(told, address, shop.publishable)
        with deployment.api(STOREFRONT_PUBLISHABLE_KEY=shop.publishable) as (address, _):
            note("the first page")
            found += storefront_home(told, address)
        # In a process that has done nothing before.
        with deployment.api() as (address, pid):
            return found + memory_identities(told, address, shop.publishable, pid)


def main():
    told = arguments("bare", "vegeta", "orders")
    found = json.loads(pathlib.Path(told.orders).read_text())["results"] + measure(told)
    publish(told, "ops/bench api", found, told.versions)


if __name__ == "__main__":
    main()
