"""Figures of the console's pages, as JSON in the form of the other benchmarks, and as the section of their document."""

import os
import pathlib
import statistics
import subprocess

HERE = pathlib.Path(__file__).parent
FORMATS = ("page", "json", "csv")
P95_AIM_MS = 300
TABS_AIM_PERCENT = 1


def percentiles(samples):
    cuts = statistics.quantiles(samples, n=100, method="inclusive")
    return {"p50": cuts[49], "p95": cuts[94], "max": max(samples)}


def results(taken, idle, busy):
    """Figures in the form of the other benchmarks."""
    figure = lambda name, value, unit, limit=None: {  # noqa: E731
        "name": name, "value": round(value, 2), "unit": unit, "limit": limit,
        "ratio": limit and round(value / limit, 2),
    }
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


def machine():
    """Processor, cores and memory, as the other benchmarks tell them."""
    processor = field("/proc/cpuinfo", "model name") or "unknown processor"
    memory = int(field("/proc/meminfo", "MemTotal").removesuffix(" kB"))
    return {"processor": processor, "cores": os.cpu_count(), "memory_mib": memory // 1024}


def field(file, name):
    lines = [line for line in pathlib.Path(file).read_text().splitlines() if line.startswith(name)]
    return lines[0].partition(":")[2].strip() if lines else ""


def revision():
    done = subprocess.run(["git", "describe", "--always", "--dirty"], cwd=HERE, stdout=subprocess.PIPE, text=True)
    return done.stdout.strip() or "unknown"


def write_section(path, text):
    """Replaces the text between the marks; a file without them is an error."""
    begin, end = (f"<!-- ops/bench console: {mark} -->\n" for mark in ("begin", "end"))
    before, rest = path.read_text().split(begin)
    path.write_text(before + begin + text + end + rest.split(end)[1])
