"""The dashboard of the API: its objective, requests, latency, refusals, pools, cache and hooks."""

from parts import Board, figure, graph, quantiles, total

# A recording rule of ops/prometheus/rules, by window.
ERRORS = "orderworks:http_errors:ratio"
LATENCY = "orderworks_http_request_duration_seconds"
ROUTE = 'route=~"$route"'
CACHE = "orderworks_cache_requests_total"
MISSES = 'result="miss"'
BOARD = Board(
    uid="orderworks-api",
    title="Orderworks: API",
    about="Requests, errors against the objective, latency, refusals, pools, cache and hooks of the API.",
    variables=[("route", "label_values(orderworks_http_requests_total, route)")],
    rows=[
        (
            "Objective: 99.9 % of the requests of 30 days without a 5xx",
            [
                figure("Errors in five minutes", f"{ERRORS}5m", unit="percentunit", red=0.001),
                figure("In an hour", f"{ERRORS}1h", unit="percentunit", red=0.001),
                figure("In six hours", f"{ERRORS}6h", unit="percentunit", red=0.001),
                figure("In three days", f"{ERRORS}3d", unit="percentunit", red=0.001),
                graph(
                    "Speed at which the budget is used up",
                    *[(f"{ERRORS}{window} / 0.001", window) for window in ("5m", "30m", "1h", "2h", "6h", "1d", "3d")],
                    about="1: it lasts for exactly 30 days",
                    columns=24,
                ),
            ],
        ),
        (
            "Requests",
            [
                graph(
                    "By route",
                    (total("orderworks_http_requests_total", ROUTE, by="route"), "{{route}}"),
                    unit="reqps",
                    stack=True,
                ),
                graph(
                    "By status",
                    (total("orderworks_http_requests_total", ROUTE, by="status"), "{{status}}"),
                    unit="reqps",
                    stack=True,
                ),
                graph(
                    "Errors by route",
                    (
                        total("orderworks_http_requests_total", ROUTE, 'status=~"5.."', by="route, status"),
                        "{{route}} {{status}}",
                    ),
                    unit="reqps",
                ),
                graph(
                    "Refused by a limit",
                    (total("orderworks_rate_limited_total", by="limit"), "{{limit}}"),
                    unit="reqps",
                ),
            ],
        ),
        (
            "Card testing",
            [
                graph(
                    "Orders with a publishable key",
                    (total("orderworks_card_attempts_total", by="decision"), "{{decision}}"),
                    unit="ops",
                    stack=True,
                ),
                graph(
                    "Ends of payments",
                    (total("orderworks_card_payments_total", by="outcome"), "{{outcome}}"),
                    unit="ops",
                    stack=True,
                ),
                graph(
                    "Merchants with an alarm",
                    ("max(orderworks_card_testing_alarms)", "merchants"),
                    about="Their guests need a proof of work for each order",
                ),
            ],
        ),
        (
            "Latency",
            [
                graph("All of the routes chosen", *quantiles(LATENCY, ROUTE), unit="s", exemplars=True),
                graph(
                    "p95 by route",
                    (f"histogram_quantile(0.95, {total(LATENCY + '_bucket', ROUTE, by='le, route')})", "{{route}}"),
                    unit="s",
                ),
            ],
        ),
        (
            "Below the API",
            [
                graph(
                    "Connections of pools",
                    (
                        'sum by (pool, state) (orderworks_pool_connections{pool=~".*api.*", state!="max"})',
                        "{{pool}} {{state}}",
                    ),
                ),
                graph(
                    "Wait for a connection",
                    *quantiles("orderworks_pool_wait_seconds", 'pool=~".*api.*"', by="pool"),
                    unit="s",
                ),
                graph(
                    "Reads of the cache",
                    (total(CACHE, by="cache, result"), "{{cache}} {{result}}"),
                    unit="ops",
                    stack=True,
                ),
                graph(
                    "Hit ratio of the caches",
                    (
                        f"1 - {total(CACHE, MISSES, by='cache')} / {total(CACHE, by='cache')}",
                        "{{cache}}",
                    ),
                    unit="percentunit",
                    about="By kind: one object, a list or search, the version of a catalog, an answer as it is sent",
                ),
                graph(
                    "Reads by server",
                    (total("orderworks_replica_reads_total", by="server"), "{{server}}"),
                    unit="ops",
                    stack=True,
                    about="Reads that a replica may answer; empty without replicas",
                ),
            ],
        ),
        (
            "Hooks of merchants",
            [
                graph(
                    "Calls of hooks by outcome",
                    (total("orderworks_hook_calls_total", by="hook, outcome"), "{{hook}} {{outcome}}"),
                    unit="ops",
                    stack=True,
                    about="Servers of merchants that decide discounts, shipping and taxes; the log names the merchant",
                ),
                graph(
                    "p95 of hooks",
                    (
                        f"histogram_quantile(0.95, {total('orderworks_hook_call_seconds_bucket', by='le, hook')})",
                        "{{hook}}",
                    ),
                    unit="s",
                    about="An order waits for all of its merchant's hooks; empty where no merchant has one",
                ),
            ],
        ),
    ],
)
