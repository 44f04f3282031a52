"""The few orders of one merchant, beside a flood of another one and without it, over real servers with fair queues.

The quiet merchant orders at a small, steady rate, whatever the answers take. In every other phase the loud merchant
offers ten times as many orders as the installation fulfils, with several secret keys, within the limits as shipped. A
phase ends when all its orders are fulfilled and all their webhooks have come, so that each begins without a backlog.
"""

import collections
import contextlib
import dataclasses
import itertools
import json
import time

import load
from bench_report import figure, percentile, publish
from bench_servers import note
from deployment import Shop, arguments, deployed, order
from drain import CALLERS, drain
from receiver import receiver, seconds

RATE = 5
SECONDS = 60
# For so long the flood is under way before the quiet merchant orders.
LEAD = 10
ROUNDS = 3
# A part of the seconds and of the orders that measure the drain, for a smoke check.
QUICK = 6
WARM_UP = 5
DRAINED = 600
TIMES_THE_DRAIN = 10
# More than that would measure the load generator.
RATE_MAX = 3_000
KEYS = 8
QUEUES = ("payments", "fulfilment", "email", "webhooks")
EVENTS = ("order.placed", "order.paid", "order.fulfilled")
# A flood leaves orders for minutes behind it.
END_MAX = 1_800
ASK_EVERY = 0.5
SKU = "MUG"


@dataclasses.dataclass
class Taken:
    """Milliseconds of the quiet merchant's orders: until the answer, from acceptance to shipment, from each event to
    its webhook. And the orders that were refused."""

    answers: list = dataclasses.field(default_factory=list)
    fulfilled: list = dataclasses.field(default_factory=list)
    webhooks: list = dataclasses.field(default_factory=list)
    refused: int = 0


def targets(address, keys, name):
    """Orders of one piece, with the keys in turn."""
    for number, key in zip(itertools.count(), itertools.cycle(keys)):
        headers = {
            "Authorization": f"Bearer {key}", "Content-Type": "application/json",
            "Idempotency-Key": f"{name}-{number}",
        }
        yield load.target("POST", f"http://{address}/v1/orders", headers, order(SKU))


class Bench:
    """Both merchants at one API process, and what was found about them."""

    def __init__(self, told, deployment, address, hooks):
        self.told, self.deployment, self.address, self.hooks = told, deployment, address, hooks
        self.quiet, _ = self.open("quiet", 0)
        self.loud, self.keys = self.open("loud", KEYS)
        self.rate, self.names = 0, itertools.count()
        self.taken = {False: Taken(), True: Taken()}
        self.statuses, self.flooded, self.flood_fulfilled = collections.Counter(), 0.0, 0

    def open(self, name, keys):
        """A shop whose webhooks come to the receiver, and further secret keys."""
        pair, more = self.deployment.merchant_with(keys)
        shop = Shop(self.address, pair)
        shop.add_product(SKU, 10_000_000)
        shop.json("POST", "/v1/webhook_endpoints", {"url": self.hooks.url(name), "events": EVENTS})
        return shop, more

    def flood(self, length):
        orders = targets(self.address, self.keys, f"loud-{next(self.names)}")
        return load.Beside(load.open_model(self.told.vegeta, self.rate, length, orders))

    def few_orders(self, length):
        """The answers to the quiet merchant."""
        orders = targets(self.address, [self.quiet.secret], f"quiet-{next(self.names)}")
        return list(load.open_model(self.told.vegeta, RATE, length, orders))

    def until_quiet(self, accepted):
        """The webhooks of a phase, once each accepted order has its own and no job is left."""
        webhooks, end = {}, time.monotonic() + END_MAX
        while len(webhooks) < accepted * len(EVENTS) or self.deployment.busy():
            assert time.monotonic() < end, f"{len(webhooks)} webhooks of {accepted} orders came"
            time.sleep(ASK_EVERY)
            for hook in self.hooks.taken():
                webhooks.setdefault((hook.kind, hook.order), hook)
        # Those of orders whose answer was lost are no part of the next phase.
        self.hooks.taken()
        return list(webhooks.values())

    def phase(self, length, is_flooded):
        """Orders of the quiet merchant, and all that comes of them and of the flood beside them."""
        statuses, began = collections.Counter(), time.time()
        with contextlib.ExitStack() as beside:
            if is_flooded:
                statuses = beside.enter_context(self.flood(LEAD + length)).statuses
                time.sleep(LEAD)
            answers = self.few_orders(length)
        assert not is_flooded or statuses[202], f"no order of the flood was accepted: {dict(statuses)}"
        lasted = time.time() - began
        accepted = [json.loads(answer["text"])["id"] for answer in answers if answer["code"] == 202]
        webhooks = self.until_quiet(len(accepted) + statuses[202])
        self.take(self.taken[is_flooded], answers, accepted, webhooks)
        if is_flooded:
            fulfilled = [hook.at for hook in webhooks if (hook.merchant, hook.kind) == ("loud", EVENTS[-1])]
            self.statuses += statuses
            self.flooded += lasted
            self.flood_fulfilled += sum(at <= began + lasted for at in fulfilled)

    def take(self, taken, answers, accepted, webhooks):
        taken.refused += len(answers) - len(accepted)
        taken.answers += load.milliseconds(answer for answer in answers if answer["code"] == 202)
        for number in accepted:
            found = self.quiet.json("GET", f"/v1/orders/{number}")
            assert found["status"] == "fulfilled", found
            taken.fulfilled.append((seconds(found["shipment"]["shipped_at"]) - seconds(found["created_at"])) * 1000)
        of_quiet = (hook for hook in webhooks if hook.merchant == "quiet")
        taken.webhooks += [(hook.at - hook.event_at) * 1000 for hook in of_quiet]


def measure(told):
    """What was found about both merchants, and the drain."""
    part, rounds = (QUICK, 1) if told.quick else (1, ROUNDS)
    settings = {"FAIR_SHARE_QUEUES": json.dumps(QUEUES), "WEBHOOKS_ALLOW_LOOPBACK": "true"}
    with contextlib.ExitStack() as running:
        # First: it is forked from this process, which has no threads yet.
        hooks = running.enter_context(receiver())
        deployment = running.enter_context(deployed(told.binary, **settings))
        running.enter_context(deployment.background(1))
        address, _ = running.enter_context(deployment.api())
        shop = Shop(address, deployment.merchant())
        shop.add_product("OTHER", 1_000_000)
        drain(address, shop, 0, CALLERS)
        drained = drain(address, shop, CALLERS, DRAINED // part)
        bench = Bench(told, deployment, address, hooks)
        bench.phase(WARM_UP, False)
        bench.taken[False] = Taken()
        bench.rate = min(RATE_MAX, max(1, round(TIMES_THE_DRAIN * drained)))
        note(f"{drained:.0f} orders a second are fulfilled; a flood is {bench.rate} a second")
        for number, is_flooded in itertools.product(range(rounds), (False, True)):
            note(f"{'beside the flood' if is_flooded else 'calm'}, round {number + 1} of {rounds}")
            bench.phase(SECONDS // part, is_flooded)
        return bench, drained


def results(bench, drained):
    calm, beside = bench.taken[False], bench.taken[True]
    found = [
        figure("fair_drain", drained, "orders/s"),
        figure("fair_flood_offered", bench.rate, "orders/s", drained),
        *(figure(f"fair_flood_answers_{code}", count, "answers") for code, count in sorted(bench.statuses.items())),
        figure("fair_flood_fulfilled", bench.flood_fulfilled / bench.flooded, "orders/s", drained),
        figure("fair_orders", len(calm.answers) + len(beside.answers), "orders"),
        figure("fair_refused", calm.refused + beside.refused, "orders"),
    ]
    for name, of in (("answer", "answers"), ("fulfilled", "fulfilled"), ("webhook", "webhooks")):
        for percent in (50, 99):
            value, limit = (percentile(getattr(taken, of), percent) for taken in (beside, calm))
            found.append(figure(f"fair_{name}_p{percent}", value, "ms", limit))
    return found


def main():
    told = arguments("vegeta")
    publish(told, "ops/bench fair_share", results(*measure(told)), told.versions)


if __name__ == "__main__":
    main()
