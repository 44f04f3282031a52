"""Stolen cards tried in a shop beside honest shoppers, over real servers and the sandbox provider.

Shoppers arrive at random, and each orders once: directly or from a cart, with a proof of work where one is asked for.
Phases without and with the attack alternate, each in the shop of a new merchant: the counters of card testing and the
alarm are a merchant's own, and outlast a phase. Attempts that reach the provider are counted in its ledger. The seed
decides arrivals, addresses and devices; how they meet is up to the machine.
"""

import collections
import hashlib
import itertools
import json
import random
import time
from concurrent.futures import ThreadPoolExecutor

import load
from bench_report import figure, percentile, publish
from bench_servers import Connection, note
from deployment import Shop, arguments, deployed, order

SEED = 20_260_711
ATTEMPTS = 5_000
SHOPPERS = 500
SECONDS = 250
ROUNDS = 3
# A tenth of an attack, for a smoke check.
QUICK = 10
WARM_UP = 20
# Half of them IPv4 addresses, half IPv6 /64s, whose hosts change with each attempt.
NETWORKS = 100
DEVICES = 200
# With the sandbox one bound stands for all of card testing: unpaid orders, declines, and payments until the alarm.
BOUND = "20"
# A shopper's own device does the work. Here it would take the cores of the servers.
PROOF_BITS = "8"
REACHED_MAX_PERCENT = 1
# Shoppers whose requests are under way at the same time at most: far more than arrive in the time of one.
THREADS = 32


def headers_of(key, address, device):
    return {
        "Authorization": f"Bearer {key}", "Content-Type": "application/json", "X-Forwarded-For": address,
        "Orderworks-Device": device,
    }


def device_of(chance):
    return f"{chance.getrandbits(128):032x}"


def source(chance):
    network = chance.randrange(NETWORKS)
    if network % 2:
        return f"2001:db8:0:{network:x}::{chance.randrange(1, 65536):x}"
    return f"198.51.100.{network}"


def attempts(address, key, seed):
    """Orders of one piece, each with another stolen card."""
    chance = random.Random(seed)
    devices = [device_of(chance) for _ in range(DEVICES)]
    for number in itertools.count():
        headers = headers_of(key, source(chance), chance.choice(devices)) | {"Idempotency-Key": f"attempt-{number}"}
        yield load.target("POST", f"http://{address}/v1/orders", headers, order("MUG", f"pm_stolen_{number}"))


def proof(bits, key):
    """A text whose hash behind the idempotency key begins with so many zero bits."""
    for text in map(str, itertools.count()):
        hashed = hashlib.sha256(f"{key}:{text}".encode()).digest()
        if int.from_bytes(hashed, "big") >> (256 - bits) == 0:
            return text


class Shopper:
    """A shopper with a connection, an address and a device of their own."""

    def __init__(self, address, key, number, device):
        self.connection = Connection(address, key)
        self.number = number
        self.headers = headers_of(key, f"10.1.{number // 250}.{number % 250 + 1}", device)

    def ask(self, path, body, **more):
        """The answer, its text, and the milliseconds that both took."""
        began = time.perf_counter()
        answer, text = self.connection.ask("POST", path, body, self.headers | more)
        return answer, text, (time.perf_counter() - began) * 1000

    def wish(self):
        """Path and body of the order; every other shopper fills a cart first."""
        body = order("MUG")
        if self.number % 2:
            return "/v1/orders", body
        cart = {name: body.pop(name) for name in ("currency", "items")}
        answer, text, _ = self.ask("/v1/carts", cart)
        assert answer.status == 201, (answer.status, text)
        return f"/v1/carts/{json.loads(text)['id']}/checkout", body

    def buy(self):
        """Whether the order was accepted, whether it took a proof, and the milliseconds of the last answer."""
        self.connection.connection.connect()
        try:
            (path, body), key = self.wish(), f"shopper-{self.number}"
            answer, text, took = self.ask(path, body, **{"Idempotency-Key": key})
            asked = answer.status == 429 and json.loads(text)["code"] == "proof_of_work_required"
            if asked:
                found = proof(int(answer.headers["Orderworks-Proof-Bits"]), key)
                answer, text, took = self.ask(path, body, **{"Idempotency-Key": key, "Orderworks-Proof": found})
            if answer.status != 202:
                note(f"an honest order was refused: {answer.status} {text}")
            return answer.status == 202, asked, took
        finally:
            self.connection.connection.close()


def shop_honestly(address, key, count, seconds, seed):
    """What became of the orders of so many shoppers, who arrive independently of each other."""
    chance = random.Random(seed)
    due, waiting = time.monotonic(), []
    with ThreadPoolExecutor(THREADS) as threads:
        for number in range(count):
            due += chance.expovariate(count / seconds)
            time.sleep(max(0, due - time.monotonic()))
            waiting.append(threads.submit(Shopper(address, key, number, device_of(chance)).buy))
        return [orders.result() for orders in waiting]


def phase(told, deployment, address, sizes, seed, attacked):
    """Orders of shoppers, and the statuses of the attempts beside them."""
    shop = Shop(address, deployment.merchant())
    shop.add_product("MUG", 1_000_000)
    shoppers = lambda: shop_honestly(address, shop.publishable, sizes["shoppers"], sizes["seconds"], seed)  # noqa: E731
    statuses = collections.Counter()
    if attacked:
        rate, cards = sizes["attempts"] // sizes["seconds"], attempts(address, shop.publishable, seed)
        with load.Beside(load.open_model(told.vegeta, rate, sizes["seconds"], cards)) as attack:
            orders = shoppers()
        statuses = attack.statuses
        assert statuses, "no attempt was sent"
    else:
        orders = shoppers()
    assert shop.until_done(), "orders do not end"
    return orders, statuses


def measure(told):
    """Orders without and with the attack, statuses of the attempts, and those that reached the provider."""
    part, rounds = (QUICK, 1) if told.quick else (1, ROUNDS)
    sizes = {"attempts": ATTEMPTS // part, "shoppers": SHOPPERS // part, "seconds": SECONDS // part}
    warm = {"attempts": 0, "shoppers": WARM_UP, "seconds": 5}
    orders, statuses, reached = {False: [], True: []}, collections.Counter(), 0
    limits = {"CARD_TESTING_SANDBOX_BOUND": BOUND, "CARD_TESTING_PROOF_BITS": PROOF_BITS}
    with deployed(told.binary, **limits) as deployment, deployment.background(1), deployment.api() as (address, _):
        phase(told, deployment, address, warm, SEED, False)
        for number, attacked in itertools.product(range(rounds), (False, True)):
            note(f"{'with' if attacked else 'without'} the attack, round {number + 1} of {rounds}")
            before = deployment.asked_for("declined")
            found, codes = phase(told, deployment, address, sizes, SEED + number, attacked)
            reached += deployment.asked_for("declined") - before
            orders[attacked] += found
            statuses += codes
    return orders, statuses, reached


def results(orders, statuses, reached):
    sent = statuses.total()
    taken = {attacked: [took for accepted, _, took in found if accepted] for attacked, found in orders.items()}
    everyone = orders[False] + orders[True]
    found = [
        figure("attack_attempts", sent, "orders"),
        figure("attack_reached", reached, "orders", sent * REACHED_MAX_PERCENT / 100),
        *(figure(f"attack_answers_{code}", count, "answers") for code, count in sorted(statuses.items())),
        figure("honest_orders", len(everyone), "orders"),
        figure("honest_refused", sum(not accepted for accepted, _, _ in everyone), "orders"),
        figure("honest_proofs", sum(asked for _, asked, _ in everyone), "orders"),
    ]
    for percent in (50, 99):
        calm, beside = (percentile(taken[attacked], percent) for attacked in (False, True))
        found.append(figure(f"honest_p{percent}", beside, "ms", calm))
    return found


def main():
    told = arguments("vegeta")
    publish(told, "ops/bench attack", results(*measure(told)), told.versions)


if __name__ == "__main__":
    main()
