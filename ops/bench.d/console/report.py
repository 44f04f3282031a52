"""Figures of the console's pages, as JSON in the form of the other benchmarks, and as the section of their document."""

import statistics

from bench_report import figure

FORMATS = ("page", "json", "csv")
P95_AIM_MS = 300
TABS_AIM_PERCENT = 1


def percentiles(samples):
    cuts = statistics.quantiles(samples, n=100, method="inclusive")
    return {"p50": cuts[49], "p95": cuts[94], "max": max(samples)}


def results(taken, idle, busy):
    """Figures in the form of the other benchmarks."""
    found = []
    for name, forms in taken.items():
        plain = name.replace(", ", "_").replace(" ", "_")
        for form, samples in forms.items():
            for part, value in percentiles(samples).items():
                aim = P95_AIM_MS if part == "p95" else None
                found.append(figure(f"{plain}_{form}_{part}", value, "ms", aim))
    for name in idle:
        found.append(figure(f"idle_{name}", idle[name], "% of a core"))
        found.append(figure(f"tabs_{name}", busy[name], "% of a core"))
    above = busy["console"] + max(0, busy["postgres"] - idle["postgres"])
    return [*found, figure("tabs_all", above, "% of a core", TABS_AIM_PERCENT)]


def markdown(at, of, version, sizes, taken, found):
    """The section of docs/BENCHMARKS.md."""
    head = f"{at['processor']}, {at['cores']} cores, {at['memory_mib']} MiB, revision {of}, PostgreSQL {version};"
    head += f" {sizes['attempts']:,} attempts, {sizes['jobs']:,} jobs"
    lines = [head, "", "| page | p50, ms | p95 | max | JSON p95 | max | CSV p95 | max |", "|---|" + "---:|" * 7]
    for name, forms in taken.items():
        page, data, csv = (percentiles(forms[form]) for form in FORMATS)
        values = [page["p50"], page["p95"], page["max"], data["p95"], data["max"], csv["p95"], csv["max"]]
        lines.append(f"| {name} | " + " | ".join(f"{value:.1f}" for value in values) + " |")
    lines += ["", "| percent of a core | idle | ten tabs |", "|---|---:|---:|"]
    value = {figure["name"]: figure["value"] for figure in found}
    for name in ("console", "postgres"):
        lines.append(f"| {name} | {value[f'idle_{name}']:.2f} | {value[f'tabs_{name}']:.2f} |")
    lines.append(f"| both, PostgreSQL above its idle time | | {value['tabs_all']:.2f} |")
    return "\n".join(lines) + "\n"
