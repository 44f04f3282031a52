"""Celery on the same broker: `with_celery.py publish THREADS COUNT` and `with_celery.py process COUNT`.

Settings that give the guarantees of the others: publisher confirms, late acknowledgement, quorum queues, persistent
messages (the default). Prints one JSON object of figures, as the other pieces do.
"""

import json
import os
import signal
import sys
import threading
import time
from multiprocessing import Value

from celery import Celery

QUEUE = "celery"
# Makes the JSON of the arguments as long as the other clients' body; Celery adds headers of its own, as Orderworks does.
FILLER = "x" * (300 - len('[[""], {}, {"callbacks": null, "errbacks": null, "chain": null, "chord": null}]'))

app = Celery("bench", broker=os.environ["BENCH_AMQP_URL"])
app.conf.update(
    broker_transport_options={"confirm_publish": True},
    broker_pool_limit=64,
    task_acks_late=True,
    task_default_queue=QUEUE,
    task_default_queue_type="quorum",
    task_default_exchange_type="topic",
    task_ignore_result=True,
    worker_concurrency=2,
    # With the default of 4 the processes wait for the broker.
    worker_prefetch_multiplier=64,
    worker_redirect_stdouts=False,
    worker_send_task_events=False,
)

# Shared with the pool's processes, which are forked.
done = Value("q", 0)
began = Value("d", 0.0)
warm_up, wanted = 0, 0


@app.task(name="noop")
def noop(filler):
    with done.get_lock():
        done.value += 1
        number = done.value
    if number == warm_up:
        began.value = time.monotonic()
    if number == warm_up + wanted:
        report(per_second=wanted / (time.monotonic() - began.value))
        # The pool ends with its parent. An orderly stop takes seconds, and no work is left to save.
        os.kill(os.getppid(), signal.SIGKILL)


def report(**figures):
    os.write(1, (json.dumps(figures) + "\n").encode())


def publish(threads, count):
    """From so many threads, each waiting for its confirm before the next."""

    def caller(share):
        for _ in range(share):
            noop.delay(FILLER)

    def all_callers(total):
        callers = [threading.Thread(target=caller, args=(total // threads,)) for _ in range(threads)]
        for one in callers:
            one.start()
        for one in callers:
            one.join()

    all_callers(max(threads, count // 10))
    start = time.monotonic()
    all_callers(count)
    return count // threads * threads / (time.monotonic() - start)


def clear():
    with app.connection() as connection:
        connection.default_channel.queue_delete(QUEUE)


def main():
    global warm_up, wanted
    command, numbers = sys.argv[1], [int(word) for word in sys.argv[2:]]
    clear()
    if command == "publish":
        threads, count = numbers
        report(per_second=publish(threads, count))
        clear()
    else:
        wanted = numbers[0]
        warm_up = wanted // 10
        # More than are counted, so that the queue does not run empty.
        publish(16, warm_up + wanted + 512)
        app.worker_main(["--quiet", "worker", "--loglevel=ERROR", "--without-gossip", "--without-mingle", "--without-heartbeat"])


if __name__ == "__main__":
    main()
