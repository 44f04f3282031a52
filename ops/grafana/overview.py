"""The dashboard to open first: what is on fire, since when, in which part."""

from parts import Board, figure, graph, per_minute, quantiles, total

# Health checks are no requests of clients.
CLIENTS = 'route!~"/livez|/readyz"'
# A recording rule of ops/prometheus/rules, by window.
ERRORS = "orderworks:http_errors:ratio"
LATENCY = "orderworks_http_request_duration_seconds"
PLACED = 'route="/v1/orders", method="POST"'
BOARD = Board(
    uid="orderworks-overview",
    title="Orderworks: overview",
    about="Is anything on fire, since when, and which part? The other dashboards go on from here.",
    rows=[
        (
            "Now",
            [
                figure("Alerts that fire", 'count(ALERTS{alertstate="firing"}) or vector(0)', red=1),
                figure(
                    "Processes and servers away",
                    "count(up == 0 or pg_up == 0 or redis_up == 0) or vector(0)",
                    red=1,
                    about="Targets that Prometheus cannot read, and servers that their exporters cannot",
                ),
                figure("Requests", f"sum(rate(orderworks_http_requests_total{{{CLIENTS}}}[5m]))", unit="reqps"),
                figure(
                    "Requests with errors", f"{ERRORS}5m", unit="percentunit", red=0.001, about="5xx, of five minutes"
                ),
                figure(
                    "p99 of orders",
                    quantiles(LATENCY, PLACED)[-1][0],
                    unit="s",
                    red=1,
                    about="Time until the 202 of POST /v1/orders",
                ),
                figure("Orders per minute", per_minute("orderworks_orders_total", 'status="pending"')),
                figure("Oldest job", "max(orderworks_queue_oldest_age_seconds)", unit="s", red=300),
                figure(
                    "Queues that nobody consumes",
                    "count(max by (queue) (orderworks_queue_consumers) == 0) or vector(0)",
                    red=1,
                ),
                figure("Dead letters", 'sum(max by (queue) (orderworks_queue_jobs{state="dead"}))', red=1000),
                figure("Oldest message of the outbox", "max(orderworks_outbox_oldest_age_seconds)", unit="s", red=60),
                figure("Circuit breakers open", "sum(max by (provider) (orderworks_breaker_open))", red=1),
                figure(
                    "Violations",
                    "sum(max by (invariant) (orderworks_verify_violations))",
                    red=1,
                    about="Of the last audit",
                ),
            ],
        ),
        (
            "API and orders",
            [
                graph(
                    "Requests by status",
                    (total("orderworks_http_requests_total", CLIENTS, by="status"), "{{status}}"),
                    unit="reqps",
                    stack=True,
                ),
                graph("Latency of orders", *quantiles(LATENCY, PLACED), unit="s"),
                graph("Orders per minute by state", (per_minute("orderworks_orders_total", by="status"), "{{status}}")),
                graph("Payments per minute", (per_minute("orderworks_payments_total", by="outcome"), "{{outcome}}")),
            ],
        ),
        (
            "Jobs",
            [
                graph(
                    "Age of the oldest job",
                    ("max by (queue) (orderworks_queue_oldest_age_seconds)", "{{queue}}"),
                    unit="s",
                ),
                graph(
                    "Runs by outcome",
                    (total("orderworks_jobs_total", by="outcome"), "{{outcome}}"),
                    unit="ops",
                    stack=True,
                ),
            ],
        ),
        (
            "Processes",
            [
                graph(
                    "Processor",
                    (total("process_cpu_seconds_total", 'job="orderworks"', by="instance"), "{{instance}}"),
                    about="Cores in use",
                ),
                graph("Memory", ('process_resident_memory_bytes{job="orderworks"}', "{{instance}}"), unit="bytes"),
                graph(
                    "Alerts",
                    ('count by (alertname) (ALERTS{alertstate="firing"})', "{{alertname}}"),
                    ('count by (alertname) (ALERTS{alertstate="pending"})', "{{alertname}} (soon)"),
                    columns=24,
                    stack=True,
                ),
            ],
        ),
    ],
)
