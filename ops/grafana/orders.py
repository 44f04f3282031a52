"""The dashboard of orders and money: states, payments and their provider, mails, webhooks, audit."""

from parts import Board, figure, graph, per_minute, quantiles, total

CALLS = "orderworks_provider_call_seconds"
BOARD = Board(
    uid="orderworks-orders",
    title="Orderworks: orders and money",
    about="Orders by state, payments and their provider, mails, webhooks, and what the audit says.",
    rows=[
        (
            "Orders",
            [
                graph("Per minute by state", (per_minute("orderworks_orders_total", by="status"), "{{status}}")),
                graph(
                    "Of the orders placed in an hour",
                    (
                        'sum by (status) (increase(orderworks_orders_total{status!="pending"}[1h]))'
                        ' / ignoring (status) group_left sum(increase(orderworks_orders_total{status="pending"}[1h]))',
                        "{{status}}",
                    ),
                    unit="percentunit",
                ),
            ],
        ),
        (
            "Payments",
            [
                graph(
                    "Per minute by outcome",
                    (per_minute("orderworks_payments_total", by="provider, outcome"), "{{provider}} {{outcome}}"),
                ),
                graph(
                    "Declined",
                    (
                        'sum(rate(orderworks_payments_total{outcome="declined"}[15m]))'
                        ' / sum(rate(orderworks_payments_total{outcome=~"captured|declined"}[15m]))',
                        "of all decisions",
                    ),
                    unit="percentunit",
                ),
                graph("Calls to the provider", *quantiles(CALLS, by="operation"), unit="s"),
                graph(
                    "Calls by result",
                    (total(CALLS + "_count", by="operation, result"), "{{operation}} {{result}}"),
                    unit="ops",
                ),
                graph(
                    "Circuit breakers open",
                    ("sum by (provider) (orderworks_breaker_open)", "{{provider}}"),
                    about="Processes",
                ),
            ],
        ),
        (
            "Mails and webhooks",
            [
                graph("Mails per minute", (per_minute("orderworks_mails_total", by="outcome"), "{{outcome}}")),
                graph(
                    "Deliveries of webhooks",
                    (total("orderworks_webhook_deliveries_total", by="outcome"), "{{outcome}}"),
                    unit="ops",
                ),
                graph(
                    "Mails sent by template",
                    (per_minute("orderworks_mails_total", 'outcome="sent"', by="template"), "{{template}}"),
                    stack=True,
                ),
                graph(
                    "Endpoints disabled",
                    ("sum(increase(orderworks_webhook_endpoints_disabled_total[1h]))", "endpoints"),
                    about="In an hour",
                ),
            ],
        ),
        (
            "Audit",
            [
                figure("Violations", "sum(max by (invariant) (orderworks_verify_violations))", red=1),
                figure(
                    "Last audit",
                    "time() - (max(orderworks_verify_last_run_timestamp_seconds) > 0)",
                    unit="s",
                    red=7200,
                    about="Ago; empty before the first one",
                ),
                figure("Orders checked", "max(orderworks_verify_orders_checked)"),
                figure("Of them under way", "max(orderworks_verify_orders_open)"),
                graph(
                    "Violations by invariant", ("max by (invariant) (orderworks_verify_violations)", "{{invariant}}")
                ),
                graph(
                    "Defects of stores",
                    ("sum by (store) (increase(orderworks_defects_total[5m]))", "{{store}}"),
                    about="In five minutes",
                ),
            ],
        ),
    ],
)
