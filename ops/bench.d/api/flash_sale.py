"""Far more orders than the installation drains: a flash sale of few pieces, then a rush for what does not sell out.

How many orders a second one relay and two workers fulfil is measured first. Then ten times as many come, whatever the
answers take, at two API processes in turn, each from an address of its own. In the sale exactly as many pieces as there
are must be sold. The rush is for a product without end, at processes that refuse new orders sooner than those shipped,
so that admission by backlog is what keeps it short. In both every answer must be an announced one, and every order that
was accepted must end; else the exit status is 1.
"""

import collections
import contextlib
import itertools
import sys

import load
import plot
from answers import KINDS, Answers
from bench_report import figure, percentile, publish
from bench_servers import note
from deployment import OPEN, Shop, arguments, deployed, order
from drain import CALLERS, address_of, drain

PIECES = 100
PLENTY = 10_000_000
TIMES_THE_DRAIN = 10
SECONDS = 300
DRAINED = 600
WARM_UP = 60
PROCESSES = 2
WORKERS = 2
# More than that would measure the load generator, and come near to the publishable key's own limit of 5,000.
RATE_MAX = 3_000
ACCEPTED_P99_MAX_MS = 250
# New orders are refused once the oldest has waited so long. As shipped it is ten minutes, and a rush of more than that.
RUSH_AGES = {"ADMISSION_ORDER_AGE_SECONDS": "10", "ADMISSION_CART_AGE_SECONDS": "20"}
IMAGES = {"sale": "flash-sale.svg", "rush": "flash-sale-rush.svg"}


def targets(addresses, key, sku):
    """Orders of one piece, at the processes in turn."""
    for number, address in zip(itertools.count(), itertools.cycle(addresses)):
        headers = {
            "Authorization": f"Bearer {key}", "Content-Type": "application/json",
            "X-Forwarded-For": address_of(number), "Idempotency-Key": f"{sku}-{number}",
        }
        yield load.target("POST", f"http://{address}/v1/orders", headers, order(sku))


def statuses_of(shop, accepted):
    """How the orders ended that were accepted, once none is open or the patience is over."""
    shop.until_done()
    return collections.Counter(shop.json("GET", f"/v1/orders/{number}")["status"] for number in accepted)


def offer(told, addresses, shop, sku, rate, seconds):
    """The answers to so many orders a second, and how those ended that were accepted."""
    note(f"{rate} orders a second of {sku} for {seconds} s")
    answers = Answers(rate, seconds)
    for answer in load.open_model(told.vegeta, rate, seconds, targets(addresses, shop.publishable, sku)):
        answers.take(answer)
    note("waiting for the end of all orders")
    return answers, statuses_of(shop, answers.accepted)


@contextlib.contextmanager
def processes(deployment, **settings):
    """Addresses of the API processes of one phase."""
    with contextlib.ExitStack() as running:
        yield [running.enter_context(deployment.api(**settings))[0] for _ in range(PROCESSES)]


def measure(told):
    """The drain, answers and ends of the orders of both phases, and the stock that was left by the sale."""
    part = 15 if told.quick else 1
    seconds, drained = SECONDS // part, max(DRAINED // part, CALLERS)
    with deployed(told.binary) as deployment, deployment.background(WORKERS):
        with processes(deployment) as addresses:
            keys = deployment.merchant()
            shop = Shop(addresses[0], keys)
            for sku, pieces in (("OTHER", PLENTY), ("RUSH", PLENTY), ("SALE", PIECES)):
                shop.add_product(sku, pieces)
            drain(addresses[0], shop, 0, WARM_UP)
            drained_rate = drain(addresses[0], shop, WARM_UP, drained)
            note(f"{drained_rate:.0f} orders a second are fulfilled")
            rate = min(RATE_MAX, max(1, round(TIMES_THE_DRAIN * drained_rate)))
            found = {"sale": offer(told, addresses, shop, "SALE", rate, seconds)}
            stock = shop.json("GET", "/v1/inventory/SALE")
        with processes(deployment, **RUSH_AGES) as addresses:
            found["rush"] = offer(told, addresses, Shop(addresses[0], keys), "RUSH", rate, seconds)
    return drained_rate, found, stock


def results(drained_rate, found):
    """The figures of both phases."""
    shown = [figure("sale_drain", drained_rate, "orders/s")]
    for phase, (answers, ended) in found.items():
        everything = [took for taken in answers.latencies for took in taken]
        accepted = list(answers.accepted.values())
        shown += [
            figure(f"{phase}_offered", answers.rate, "orders/s", drained_rate),
            figure(f"{phase}_fulfilled", ended["fulfilled"], "orders", PIECES if phase == "sale" else None),
            *(figure(f"{phase}_{kind.replace(' ', '_')}", answers.total(kind), "answers") for kind in KINDS),
            figure(f"{phase}_not_ended", sum(ended[status] for status in OPEN), "orders"),
            figure(f"{phase}_accepted_p50", percentile(accepted, 50), "ms"),
            figure(f"{phase}_accepted_p99", percentile(accepted, 99), "ms", ACCEPTED_P99_MAX_MS),
            figure(f"{phase}_answered_p50", percentile(everything, 50), "ms"),
            figure(f"{phase}_answered_p99", percentile(everything, 99), "ms"),
        ]
    return shown


def failures(found, stock):
    """What must not be; empty where all is well."""
    wrong = []
    for phase, (answers, ended) in found.items():
        wrong += [
            f"{phase}: {count} answers were {what[0]}: {what[1]}" for what, count in answers.surprises.most_common(5)
        ]
        if len(answers.accepted) != answers.total("accepted"):
            wrong.append(f"{phase}: an order was accepted twice under two keys")
        still = sum(ended[status] for status in OPEN)
        wrong += [f"{phase}: {still} accepted orders did not end"] if still else []
    sold = found["sale"][1]["fulfilled"]
    if sold != PIECES or stock["available"] != 0:
        wrong.append(f"{sold} of {PIECES} pieces were sold, {stock['available']} are left")
    if not found["rush"][0].total("reduced capacity"):
        wrong.append("the rush was over before admission refused an order")
    return wrong


def draw(folder, found):
    """The plot of each phase, as a file of the documents; the text that shows them."""
    texts = []
    for phase, (answers, _) in found.items():
        title = f"{answers.rate} orders a second: {phase}"
        (folder / "images" / IMAGES[phase]).write_text(plot.drawing(title, answers.panels()))
        texts.append(f"\n![Answers per second and their latency: {phase}](images/{IMAGES[phase]})\n")
    return "".join(texts)


def main():
    told = arguments("vegeta")
    drained_rate, found, stock = measure(told)
    appendix = draw(told.write_docs.parent, found) if told.write_docs else ""
    publish(told, "ops/bench flash_sale", results(drained_rate, found), told.versions, appendix)
    wrong = failures(found, stock)
    for what in wrong:
        note(what)
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
