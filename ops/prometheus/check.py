#!/usr/bin/env python3
"""Compares the alert rules with their tests, the runbook, the list of alerts and the list of metrics.

Standard library only, so it reads the files of this folder by their lines: one `- alert:`, `runbook:`, `alertname:` each.
What is wrong is printed, one line each; exit status 1 then.
"""

import pathlib
import re
import sys

HERE = pathlib.Path(__file__).resolve().parent
DOCS = HERE.parent.parent / "docs"
# What Prometheus appends to the name of a histogram.
OF_HISTOGRAM = re.compile(r"_(?:bucket|count|sum)$")


def texts(folder: str) -> str:
    return "".join(path.read_text() for path in sorted((HERE / folder).glob("*.yml")))


def anchors(page: str) -> set[str]:
    """Addresses of the headings of a page, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", page, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def faults() -> list[str]:
    rules, tests = texts("rules"), texts("tests")
    found = []
    alerts = re.findall(r"- alert: (\w+)$", rules, re.MULTILINE)
    section = (DOCS / "MONITORING.md").read_text().split("\n## Alerts\n")[1].split("\n## ")[0]
    listed = re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE)
    found += [f"two alerts are named {alert}" for alert in set(alerts) if alerts.count(alert) > 1]
    found += [f"docs/MONITORING.md lists {alert}, which is no alert" for alert in listed if alert not in alerts]
    for alert in alerts:
        if alert not in listed:
            found.append(f"{alert} is not in the list of docs/MONITORING.md")
        if not re.search(rf"alertname: {alert}, eval_time: \w+, exp_alerts: \[\] ", tests):
            found.append(f"{alert} has no test in which it does not fire")
        if not re.search(rf"- alertname: {alert}\n +eval_time: \w+\n +exp_alerts:\n +- exp_labels", tests):
            found.append(f"{alert} has no test in which it fires")
    known = anchors((DOCS / "OPERATIONS.md").read_text())
    runbooks = re.findall(r"runbook: docs/OPERATIONS\.md#(\S+)$", rules, re.MULTILINE)
    if len(runbooks) != len(alerts):
        found.append(f"{len(alerts)} alerts, {len(runbooks)} runbooks")
    found += [f"docs/OPERATIONS.md has no section #{runbook}" for runbook in set(runbooks) - known]
    metrics = set(re.findall(r"^\| `(orderworks_\w+)` \|", (DOCS / "METRICS.md").read_text(), re.MULTILINE))
    for metric in sorted(set(re.findall(r"\borderworks_\w+", rules))):
        if metric not in metrics and OF_HISTOGRAM.sub("", metric) not in metrics:
            found.append(f"docs/METRICS.md has no {metric}")
    return found


if __name__ == "__main__":
    wrong = faults()
    print(*wrong, sep="\n", end="\n" if wrong else "")
    sys.exit(1 if wrong else 0)
