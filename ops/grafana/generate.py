#!/usr/bin/env python3
"""Writes the dashboards, or checks that they are what is written; run by `ops/grafana/run`.

A file is checked in two ways: by its bytes, and by reading it with Grafana's SDK and writing that again, which finds
fields that Grafana's own types do not know.
"""

import json
import pathlib
import sys

import api
import orders
import overview
import queues
import stores
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.plugins import register_default_plugins
from grafana_foundation_sdk.models.dashboard import Dashboard
from parts import build

FOLDER = pathlib.Path(__file__).resolve().parent / "dashboards"
BOARDS = [module.BOARD for module in (overview, queues, orders, stores, api)]


def text_of(dashboard: Dashboard) -> str:
    return JSONEncoder(sort_keys=True, indent=2).encode(dashboard) + "\n"


def faults(texts: dict[str, str]) -> list[str]:
    found = [f"{path.name} is written by nothing" for path in FOLDER.glob("*.json") if path.name not in texts]
    for name, text in texts.items():
        path = FOLDER / name
        if not path.exists() or path.read_text() != text:
            found.append(f"{name} is not what generate.py writes: run ops/grafana/run")
        elif text_of(Dashboard.from_json(json.loads(text))) != text:
            found.append(f"{name} is not read back as it is")
    return found


def main() -> int:
    register_default_plugins()
    texts = {f"{board.uid.removeprefix('orderworks-')}.json": text_of(build(board)) for board in BOARDS}
    if sys.argv[1:] == ["--check"]:
        found = faults(texts)
        for fault in found:
            print(fault)
        return 1 if found else 0
    if sys.argv[1:]:
        print("usage: ops/grafana/run [--check]", file=sys.stderr)
        return 2
    for name, text in texts.items():
        (FOLDER / name).write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
