"""Figures of a benchmark, as JSON, as a Markdown table and as a section of docs/BENCHMARKS.md.

Guarantees: the form is that of the benchmarks in Rust (`ops/bench.d/report`); a ratio is value divided by limit. Judges
no figure.
"""

import json
import math
import os
import pathlib
import subprocess

HERE = pathlib.Path(__file__).parent
HEADINGS = ("figure", "value", "unit", "limit", "ratio")


def figure(name, value, unit, limit=None):
    """A figure beside what it is compared with."""
    ratio = round(value / limit, 2) if limit else None
    return {"name": name, "value": round(value, 2), "unit": unit, "limit": limit and round(limit, 2), "ratio": ratio}


def middle_round(values, limits):
    """Value and limit of the round with the median ratio, so that only what was measured side by side is compared."""
    return sorted(zip(values, limits, strict=True), key=lambda pair: pair[0] / pair[1])[len(values) // 2]


def percentile(samples, percent):
    """The smallest sample that so many percent do not exceed; 0 without samples."""
    return sorted(samples)[max(math.ceil(len(samples) * percent / 100), 1) - 1] if samples else 0.0


def table(rows):
    """Rows of cells below the headings, padded to be read without a renderer."""
    widths = [max(3, *(len(row[at]) for row in [HEADINGS, *rows])) for at in range(len(HEADINGS))]
    lines = [HEADINGS, ["-" * width for width in widths], *rows]
    return "".join("| " + " | ".join(map(str.ljust, line, widths)) + " |\n" for line in lines)


def cells(found):
    """A rate needs no decimals, a latency does."""
    digits = 2 if found["value"] < 100 else 0
    shown = lambda value, digits: "" if value is None else f"{value:.{digits}f}"  # noqa: E731
    return [
        found["name"], shown(found["value"], digits), found["unit"], shown(found["limit"], digits),
        shown(found["ratio"], 2),
    ]


def markdown(report):
    at, versions = report["machine"], report["versions"].items()
    head = f"{at['processor']}, {at['cores']} cores, {at['memory_mib']} MiB, revision {report['revision']}"
    head += "".join(f", {name} {version}" for name, version in versions)
    return f"{head}\n\n{table([cells(found) for found in report['results']])}"


def publish(told, command, found, versions, appendix=""):
    """Prints the report as `told` (its options json and write_docs) asks, and writes the section of the command."""
    report = {"machine": machine(), "revision": revision(), "versions": versions, "results": found}
    text = markdown(report) + appendix
    if told.write_docs:
        write_section(told.write_docs, command, text)
    print(json.dumps(report) if told.json else text.rstrip("\n"), flush=True)


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


def write_section(path, command, text):
    """Replaces the text between the marks of the command; a file without them is an error."""
    begin, end = (f"<!-- {command}: {mark} -->\n" for mark in ("begin", "end"))
    before, rest = path.read_text().split(begin)
    path.write_text(before + begin + text + end + rest.split(end)[1])
