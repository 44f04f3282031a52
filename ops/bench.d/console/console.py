"""Cost of the pages of the operations console over a job store that holds a great deal.

A database of its own gets attempts of thirty days, delayed and dead jobs, a fair queue and an outbox that wait, keys of
limits and operations, and one order by the API. Then the console of the release build runs over it, alone, and every
page is asked for as a page, as JSON and as CSV, with filters that change from round to round. At last ten tabs renew
themselves for a minute, as the script of the console does, and the processor time of console and PostgreSQL is taken.
An answer other than 200 fails the run, and with it every statement that the console's own bound of 500 ms ends.

It needs PostgreSQL on this machine, whose processor time it reads, and a virtual host of RabbitMQ; `ops/bench console`
starts it. Next: `deployment.py` (what runs), `tables.sql` and `day.sql` (what is stored), `report.py`.
"""

import argparse
import json
import os
import pathlib
import tempfile
import threading
import time
import urllib.parse

from bench_report import machine, revision, write_section
from bench_servers import Connection, Database, free_address, note
from deployment import ConsoleProgram, fill
from report import FORMATS, markdown, results

ROUNDS = 50
# As the pages tell their script: lists renew less often.
RENEW_EVERY, RENEW_LIST_EVERY = 5, 15
LISTS = ("/jobs", "/dead", "/schedules", "/limits", "/operations")
# The last one has no worker here, so it has no page either.
QUEUES = ("payments", "fulfilment", "email", "webhooks", "housekeeping")
LIMITS = ("endpoint", "mail_domain", "provider")
KINDS = ("deliver_webhook", "send_email", "charge_payment", "fulfil_order", "send_verification", "refund_payment")
ERRORS = ("503", "429", "timed out", "TLS", "no such error")
REASONS = ("exhausted", "crashed", "unknown_kind", "undecodable")


def sample(database, begin, column, table, time_column):
    """Ids from early to late, one a round."""
    step = (int(time.time() * 1000) - begin) // ROUNDS
    after = f"{begin} + n::bigint * {step}"
    place = after if time_column == "started_at" else f"bench.id_at({after}, '')"
    one = f"SELECT {column} FROM {table} WHERE {time_column} > {place} ORDER BY {time_column} LIMIT 1"
    ids = database.rows(f"SELECT 'job_' || ({one}) FROM generate_series(0, {ROUNDS - 1}) AS n")
    assert ids, f"{table} is empty"
    return ids


def pages(database, order, begin):
    """Name, and the address of each round."""
    delayed = sample(database, begin, "id", "jobs.scheduled", "id")
    dead = sample(database, begin, "id", "jobs.dead_jobs", "id")
    ended = sample(database, begin, "job", "jobs.attempts", "started_at")
    operations = database.rows(f"SELECT 'op_' || id FROM jobs.operations ORDER BY id DESC LIMIT {ROUNDS}")
    # Of lengths without a common factor: every queue comes with every kind, most of which it does not have.
    queues, kinds, states = ("", *QUEUES), ("", *KINDS), ("", "delayed", "dead", "ready", "running")
    of = lambda all, n: all[n % len(all)]  # noqa: E731
    return {
        "overview": lambda n: "/",
        "queues": lambda n: "/queues",
        "queue": lambda n: f"/queues/{of(QUEUES[:4], n)}",
        "jobs": lambda n: f"/jobs?state={of(states, n // 5)}&queue={of(queues, n)}",
        "jobs, deep": lambda n: f"/jobs?state={of(('delayed', 'dead'), n)}&after={of(of((delayed, dead), n), n)}",
        "jobs by kind": lambda n: f"/jobs?queue={of(queues[:5], n)}&kind={of(KINDS, n)}",
        "jobs by error": lambda n: f"/jobs?state=dead&error={urllib.parse.quote(of(ERRORS, n))}",
        "jobs by text": lambda n: f"/jobs?q=ord_0&key=nothing&after={of(dead, n)}",
        "jobs, fair queue": lambda n: f"/jobs?state={of(('ready', 'delayed'), n)}&queue={of(('webhooks', ''), n // 2)}",
        "job, dead": lambda n: f"/jobs/{of(dead, n)}",
        "job, delayed": lambda n: f"/jobs/{of(delayed, n)}",
        "job, ended": lambda n: f"/jobs/{of(ended, n)}",
        "dead": lambda n: "/dead",
        "dead by reason": lambda n: f"/dead?queue={of(queues, n)}&kind={of(kinds, n)}&reason={of(REASONS, n)}",
        "order": lambda n: f"/orders/{order}",
        "workers": lambda n: "/workers",
        "schedules": lambda n: "/schedules",
        "limits": lambda n: "/limits",
        "limits, deep": lambda n: f"/limits?after_limit={of(LIMITS, n)}&after_key=key+{20 * n}",
        "limits by name": lambda n: f"/limits?name={of((*LIMITS, 'none'), n)}",
        "operations": lambda n: "/operations",
        "operations, deep": lambda n: f"/operations?after={of(operations, n)}",
        "operation": lambda n: f"/operations/{of(operations, n)}",
        "audit": lambda n: f"/audit?who={of(('', 'bench'), n)}",
    }


def address_of(path, form):
    if form == "json":
        return "/api/v1" + ("/overview" if path == "/" else path)
    if form == "csv":
        return f"{path}{'&' if '?' in path else '?'}format=csv"
    return path


def ask_all(connection, addresses, rounds):
    """Milliseconds of each page and form. A round that is not counted comes first."""
    taken = {name: {form: [] for form in FORMATS} for name in addresses}
    for number in range(-1, rounds):
        for name, address in addresses.items():
            for form in FORMATS:
                path = address_of(address(max(number, 0)), form)
                began = time.perf_counter()
                status, text = connection.call("GET", path)
                took = (time.perf_counter() - began) * 1000
                assert status == 200, f"{path}: {status} after {took:.0f} ms: {text[:500]}"
                if number >= 0:
                    taken[name][form].append(took)
    return taken


def cpu_seconds(pid):
    """Processor time of a process and all its children, those included that have ended."""
    try:
        fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        lists = [(task / "children").read_text() for task in pathlib.Path(f"/proc/{pid}/task").iterdir()]
    except OSError:
        # Ended meanwhile: its parent has its time.
        return 0.0
    children = [child for text in lists for child in text.split()]
    return sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK") + sum(map(cpu_seconds, children))


def spent(processes, seconds, work):
    """Percent of a core that each process takes meanwhile."""
    before = {name: cpu_seconds(pid) for name, pid in processes.items()}
    began = time.monotonic()
    work(seconds)
    passed = time.monotonic() - began
    return {name: (cpu_seconds(pid) - before[name]) / passed * 100 for name, pid in processes.items()}


def renew_tabs(address, token, paths, seconds):
    """Tabs that load and then ask again as often as their pages tell, one after the other."""
    failed = []

    def tab(number):
        try:
            connection, end = Connection(address, token), time.monotonic() + seconds
            every = RENEW_LIST_EVERY if paths[number] in LISTS else RENEW_EVERY
            due = time.monotonic() + number * every / len(paths)
            while due < end:
                time.sleep(max(0, due - time.monotonic()))
                status, _ = connection.call("GET", f"{paths[number]}?live=on")
                assert status == 200, f"{paths[number]}: {status}"
                due += every
            time.sleep(max(0, end - time.monotonic()))
        except Exception as error:
            failed.append(error)

    threads = [threading.Thread(target=tab, args=(number,)) for number in range(len(paths))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed, failed


def arguments():
    parser = argparse.ArgumentParser()
    parser.add_argument("--binary", required=True)
    parser.add_argument("--pids", type=pathlib.Path, required=True)
    parser.add_argument("--attempts", type=int)
    parser.add_argument("--jobs", type=int)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--write-docs", type=pathlib.Path)
    told = parser.parse_args()
    told.attempts = told.attempts or (100_000 if told.quick else 10_000_000)
    told.jobs = told.jobs or (10_000 if told.quick else 1_000_000)
    return told


def tabs(order):
    return (
        "/", "/queues", "/queues/payments", "/jobs", "/dead", f"/orders/{order}", "/workers", "/schedules", "/limits",
        "/operations",
    )


def measure(told, database, folder):
    """Milliseconds of the pages; percent of a core without a tab, and with ten."""
    rounds, seconds = (5, 10) if told.quick else (ROUNDS, 60)
    program = ConsoleProgram(told.binary, database, folder)
    order, begin = fill(database, program, told.attempts, told.jobs)
    addresses, listen, health = pages(database, order, begin), free_address(), free_address()
    with program.role("console", "--listen", listen, "--health", health, address=health) as console:
        note("pages")
        taken = ask_all(Connection(listen, program.token), addresses, rounds)
        postgres = int((told.pids / "postgres.pid").read_text().split()[0])
        processes = {"console": console, "postgres": postgres}
        note("tabs")
        idle = spent(processes, seconds, time.sleep)
        renew = lambda seconds: renew_tabs(listen, program.token, tabs(order), seconds)  # noqa: E731
        return taken, idle, spent(processes, seconds, renew)


def main():
    told = arguments()
    database = Database(os.environ["BENCH_POSTGRES_URL"])
    with database.made(), tempfile.TemporaryDirectory() as folder:
        version = database.rows("SHOW server_version")[0]
        taken, idle, busy = measure(told, database, folder)
    found, at, of = results(taken, idle, busy), machine(), revision()
    sizes = {"attempts": told.attempts, "jobs": told.jobs}
    text = markdown(at, of, version, sizes, taken, found)
    if told.write_docs:
        write_section(told.write_docs, "ops/bench console", text)
    if told.json:
        versions = {"PostgreSQL": version}
        text = json.dumps({"machine": at, "revision": of, "versions": versions, "sizes": sizes, "results": found})
    print(text)


if __name__ == "__main__":
    main()
