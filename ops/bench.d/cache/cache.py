"""Hit ratios of the API's caches by kind, for a shop with popular and rare products, at three rates of reads.

Readers choose products by Zipf's law; of ten reads seven are products, two lists of a category, one a search. Once a second
the merchant changes a product, which makes all lists and searches invalid. Ratios are those of the process's own metric,
with the settings as shipped, and say nothing of speed.
"""

import bisect
import collections
import http.client
import itertools
import json
import os
import random
import re
import subprocess
import sys
import tempfile
import threading
import time

PLENTY = "1000000"
RATES = {
    f"ORDERWORKS_{name}": PLENTY
    for name in [
        "READS_PER_IP_PER_SECOND",
        "READS_SEARCHES_PER_IP_PER_SECOND",
        "WRITES_PER_KEY_PER_SECOND",
    ]
}
THREADS = 8
PRODUCTS = 500
CATEGORIES = 20
WORDS = ["blue", "red", "green", "large", "small"]
SERIES = re.compile(r'^orderworks_cache_requests_total\{cache="(\w+)",result="(\w+)"\} (\d+)$', re.MULTILINE)


def start(binary, folder):
    process = subprocess.Popen(
        [binary, "dev", "--json", "--listen", "127.0.0.1:0", "--data", folder],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env=os.environ | RATES,
    )
    return process, json.loads(process.stdout.readline())


def call(connection, key, method, path, body=None):
    headers = {"authorization": f"Bearer {key}"}
    if body is not None:
        headers["content-type"] = "application/json"
    connection.request(method, path, body and json.dumps(body), headers)
    answer = connection.getresponse()
    text = answer.read()
    assert answer.status < 300, (path, answer.status, text)
    return text.decode()


def connect(ready):
    return http.client.HTTPConnection(ready["url"].removeprefix("http://").rstrip("/"))


def put(connection, ready, number, price):
    word = WORDS[number % len(WORDS)]
    product = {
        "name": f"A {word} thing",
        "category": f"category-{number % CATEGORIES}",
        "price_minor": price,
        "currency": "EUR",
    }
    call(connection, ready["secret_key"], "PUT", f"/v1/products/thing-{number}", product)


def counts(connection):
    connection.request("GET", "/metrics")
    found = collections.defaultdict(dict)
    for cache, result, count in SERIES.findall(connection.getresponse().read().decode()):
        found[cache][result] = int(count)
    return found


def path(chance, cumulative):
    """What the next reader asks for."""
    rank = bisect.bisect(cumulative, chance.random() * cumulative[-1])
    kind = chance.random()
    if kind < 0.7:
        return f"/v1/products/thing-{rank}"
    if kind < 0.9:
        return f"/v1/products?limit=20&category=category-{rank % CATEGORIES}"
    return f"/v1/products?limit=20&q={WORDS[rank % len(WORDS)]}"


def read(ready, seed, rate, ends_at, cumulative):
    """Reads at this rate until the time is over."""
    chance, connection = random.Random(seed), connect(ready)
    due = time.monotonic()
    while due < ends_at:
        time.sleep(max(0, due - time.monotonic()))
        call(connection, ready["publishable_key"], "GET", path(chance, cumulative))
        due += chance.expovariate(rate)


def measure(ready, rate, seconds):
    """Reads and misses of each kind at this rate of reads in all."""
    cumulative = list(itertools.accumulate(1 / rank for rank in range(1, PRODUCTS + 1)))
    connection, ends_at = connect(ready), time.monotonic() + seconds
    before = counts(connection)
    readers = [
        threading.Thread(target=read, args=(ready, seed, rate / THREADS, ends_at, cumulative))
        for seed in range(THREADS)
    ]
    for reader in readers:
        reader.start()
    for second in range(seconds):
        put(connection, ready, second % PRODUCTS, 1_000 + rate + second)
        time.sleep(1)
    for reader in readers:
        reader.join()
    after = counts(connection)
    found = []
    for cache, results in after.items():
        grown = {result: count - before[cache].get(result, 0) for result, count in results.items()}
        reads = sum(grown.values())
        ratio = round(1 - grown["miss"] / reads, 4) if reads else None
        found.append({"rate": rate, "cache": cache, "reads": reads, "misses": grown["miss"], "hit_ratio": ratio})
    return found


def main(binary, *options):
    seconds = 5 if "--quick" in options else 60
    with tempfile.TemporaryDirectory() as folder:
        process, ready = start(binary, folder)
        try:
            connection = connect(ready)
            for number in range(PRODUCTS):
                put(connection, ready, number, 1_000)
            found = [row for rate in (20, 100, 500) for row in measure(ready, rate, seconds)]
        finally:
            process.terminate()
            process.wait(timeout=40)
    if "--json" in options:
        print(json.dumps(found))
        return
    print("| reads a second | cache | reads | misses | hit ratio |\n|---:|---|---:|---:|---:|")
    for row in found:
        ratio = "-" if row["hit_ratio"] is None else f"{row['hit_ratio']:.1%}"
        print(f"| {row['rate']} | {row['cache']} | {row['reads']:,} | {row['misses']:,} | {ratio} |")


if __name__ == "__main__":
    main(*sys.argv[1:])
