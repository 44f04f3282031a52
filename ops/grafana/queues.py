"""The dashboard of queues, workers, outbox and relay."""

from parts import Board, graph, quantiles, total

IN_QUEUE = 'queue=~"$queue"'
BOARD = Board(
    uid="orderworks-queues",
    title="Orderworks: queues",
    about="Depths, ages, waits and durations of jobs, their workers, and the outbox that publishes them.",
    variables=[("queue", "label_values(orderworks_queue_jobs, queue)")],
    rows=[
        (
            "Backlog",
            [
                graph("Ready", (f'max by (queue) (orderworks_queue_jobs{{{IN_QUEUE}, state="ready"}})', "{{queue}}")),
                graph(
                    "Age of the oldest ready job",
                    (f"max by (queue) (orderworks_queue_oldest_age_seconds{{{IN_QUEUE}}})", "{{queue}}"),
                    unit="s",
                ),
                graph(
                    "Delayed",
                    (f'max by (queue) (orderworks_queue_jobs{{{IN_QUEUE}, state="delayed"}})', "{{queue}}"),
                    ("max(orderworks_queue_short_delays) or vector(0)", "up to a minute, all queues"),
                ),
                graph("Dead", (f'max by (queue) (orderworks_queue_jobs{{{IN_QUEUE}, state="dead"}})', "{{queue}}")),
                graph(
                    "Running", (f'max by (queue) (orderworks_queue_jobs{{{IN_QUEUE}, state="running"}})', "{{queue}}")
                ),
                graph("Paused", (f"max by (queue) (orderworks_queue_paused{{{IN_QUEUE}}})", "{{queue}}")),
            ],
        ),
        (
            "Work",
            [
                graph(
                    "Runs by kind",
                    (total("orderworks_jobs_total", IN_QUEUE, by="kind"), "{{kind}}"),
                    unit="ops",
                    stack=True,
                ),
                graph(
                    "Runs that did not complete",
                    (
                        total("orderworks_jobs_total", IN_QUEUE, 'outcome!="completed"', by="kind, outcome"),
                        "{{kind}} {{outcome}}",
                    ),
                    unit="ops",
                ),
                graph(
                    "Wait for the first attempt",
                    *quantiles("orderworks_job_wait_seconds", IN_QUEUE, by="queue"),
                    unit="s",
                ),
                graph(
                    "Duration of runs",
                    *quantiles("orderworks_job_duration_seconds", IN_QUEUE, by="kind"),
                    unit="s",
                    exemplars=True,
                ),
            ],
        ),
        (
            "Workers",
            [
                graph("Consumers", (f"max by (queue) (orderworks_queue_consumers{{{IN_QUEUE}}})", "{{queue}}")),
                graph(
                    "Slots in use",
                    (
                        f"sum by (queue) (orderworks_worker_running{{{IN_QUEUE}}})"
                        f" / sum by (queue) (orderworks_worker_slots{{{IN_QUEUE}}})",
                        "{{queue}}",
                    ),
                    unit="percentunit",
                ),
                graph(
                    "Time since the last contact",
                    (
                        f"max by (instance, queue) (orderworks_consumer_last_contact_seconds{{{IN_QUEUE}}})",
                        "{{queue}} {{instance}}",
                    ),
                    unit="s",
                ),
                graph(
                    "Lost",
                    (
                        f"sum by (queue) (increase(orderworks_worker_restarts_total{{{IN_QUEUE}}}[5m]))",
                        "{{queue}} consumers",
                    ),
                    (
                        f"sum by (queue) (increase(orderworks_stale_settlements_total{{{IN_QUEUE}}}[5m]))",
                        "{{queue}} leases",
                    ),
                    ("sum(increase(orderworks_attempt_records_dropped_total[5m]))", "records of attempts"),
                    ("sum(increase(orderworks_run_reports_dropped_total[5m]))", "reports of runs"),
                    about="In five minutes",
                ),
            ],
        ),
        (
            "Outbox and relay",
            [
                graph("Messages that wait", ("max(orderworks_outbox_pending)", "messages")),
                graph("Age of the oldest message", ("max(orderworks_outbox_oldest_age_seconds)", "age"), unit="s"),
                graph(
                    "Published",
                    (total("orderworks_relay_messages_total"), "messages"),
                    (total("orderworks_relay_jobs_total"), "jobs"),
                    unit="ops",
                ),
                graph(
                    "Trouble of relays",
                    ("sum by (instance) (increase(orderworks_relay_failures_total[5m]))", "{{instance}} failed rounds"),
                    ("sum by (instance) (increase(orderworks_outbox_set_aside_total[5m]))", "{{instance}} set aside"),
                    ("sum by (source) (increase(orderworks_scrape_errors_total[5m]))", "no figures of {{source}}"),
                    about="In five minutes",
                ),
                graph(
                    "Time since the last full success",
                    ("time() - max by (instance) (orderworks_relay_last_success_timestamp_seconds)", "{{instance}}"),
                    unit="s",
                ),
            ],
        ),
    ],
)
