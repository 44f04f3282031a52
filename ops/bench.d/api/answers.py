"""Answers to orders of an overload, by what they mean and by second.

Guarantees: an answer that docs/API.md does not announce is told apart, and so is a request without one. Judges nothing.
"""

import collections
import contextlib
import json

from bench_report import percentile

KINDS = ("accepted", "sold out", "limited", "reduced capacity", "unannounced")


def code_of(answer):
    """The code of a problem."""
    with contextlib.suppress(ValueError, AttributeError):
        return json.loads(answer["text"]).get("code", "")
    return ""


def kind_of(answer):
    """What an answer means, of those that docs/API.md announces."""
    waits = "retry-after" in answer["headers"]
    match answer["code"], code_of(answer):
        case 202, _:
            return "accepted"
        case 409, "out_of_stock":
            return "sold out"
        case 429, _ if waits:
            return "limited"
        case 503, "reduced_capacity" if waits:
            return "reduced capacity"
    return "unannounced"


class Answers:
    """The answers to orders at this rate, as they come."""

    def __init__(self, rate, seconds):
        self.rate = rate
        self.counts = {kind: [0] * seconds for kind in KINDS}
        self.latencies = [[] for _ in range(seconds)]
        self.accepted = {}
        self.surprises = collections.Counter()

    def take(self, answer):
        kind, second, took = kind_of(answer), answer["seq"] // self.rate, answer["latency"] / 1e6
        self.counts[kind][second] += 1
        self.latencies[second].append(took)
        if kind == "accepted":
            self.accepted[json.loads(answer["text"])["id"]] = took
        elif kind == "unannounced":
            # Of few kinds, whatever the number of answers: their texts have ids in them.
            self.surprises[(answer["code"], code_of(answer) or answer["error"])] += 1

    def total(self, kind):
        return sum(self.counts[kind])

    def panels(self):
        """What the plot shows."""
        slowest = [percentile(taken, 99) if taken else None for taken in self.latencies]
        shown = {kind: counts for kind, counts in self.counts.items() if any(counts)}
        return [("answers per second", shown), ("p99 of the answers of each second, ms", {"all answers": slowest})]
