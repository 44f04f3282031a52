"""Runs the clients against a binary: their README examples, their tests, the checks of their types.

A second process has a shop with an alarm, where each order of a guest takes a proof of work.
"""

import contextlib
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
import uuid

import proxy

ROOT = pathlib.Path(__file__).resolve().parents[2]
PYTHON, JAVASCRIPT = ROOT / "clients/python", ROOT / "clients/javascript"
# Of one step, on a busy machine.
SECONDS_MAX = 600
# Declined payments until the alarm, and unpaid orders that a proof of work lets through.
BOUND = 10
# The bits that the tests expect.
ALARMED = {"ORDERWORKS_CARD_TESTING_SANDBOX_BOUND": str(BOUND), "ORDERWORKS_CARD_TESTING_PROOF_BITS": "12"}


def start(binary, folder, settings):
    command = [binary, "--json", "dev", "--listen", "127.0.0.1:0", "--data", os.path.join(folder, "data")]
    with open(os.path.join(folder, "log"), "w") as log:
        environment = {**os.environ, **settings}
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True, env=environment)
    text = ""
    for line in process.stdout:
        text += line
        try:
            return process, json.loads(text)
        except ValueError:
            continue
    raise SystemExit(f"the process ended with {process.wait()}: {text}")


@contextlib.contextmanager
def started(binary, **settings):
    """What a process tells at its start, for as long as it is needed."""
    with tempfile.TemporaryDirectory() as folder:
        process, ready = start(binary, folder, settings)
        try:
            yield ready
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(timeout=60)


def ask(ready, path, body=None):
    """An answer to the shop's own server."""
    headers = {"authorization": f"Bearer {ready['secret_key']}", "idempotency-key": str(uuid.uuid4())}
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(ready["url"] + path, data, {**headers, "content-type": "application/json"})
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.load(answer)


def raise_alarm(ready):
    """Has payments declined until the merchant is told of it: from then on guests need a proof of work."""
    order = {
        "customer": {"email": "ada@example.com", "name": "Ada Lovelace"}, "currency": "EUR",
        "items": [{"sku": "CUP-ENAMEL", "quantity": 1}], "payment_method": "pm_card_chargeDeclined",
    }
    for _ in range(BOUND):
        ask(ready, "/v1/orders", order)
    deadline = time.monotonic() + SECONDS_MAX
    while not any(event["type"] == "card_testing.suspected" for event in ask(ready, "/v1/events?limit=100")["data"]):
        if time.monotonic() > deadline:
            raise SystemExit("the merchant was not told of declined payments")
        time.sleep(0.1)


def run(name, command, environment, folder=ROOT):
    print(f"-- {name}", flush=True)
    done = subprocess.run(command, cwd=folder, env={**os.environ, **environment}, timeout=SECONDS_MAX)
    if done.returncode != 0:
        raise SystemExit(f"{name}: failed")


def examples(readme, language):
    """The blocks of a language, as one program: later ones go on with the names of earlier ones."""
    blocks = re.findall(rf"\n```{language}\n(.*?)\n```", readme.read_text(), re.DOTALL)
    assert blocks, f"no examples: {readme}"
    return "\n".join(blocks) + "\n"


def check_python(environment, tools, folder):
    environment = {**environment, "PYTHONPATH": str(PYTHON), "PYTHONDONTWRITEBYTECODE": "1"}
    program = folder / "readme.py"
    program.write_text(examples(PYTHON / "README.md", "python"))
    run("Python: README", [sys.executable, program], environment)
    tests = ["-m", "unittest", "discover", "--start-directory", PYTHON / "tests"]
    run("Python: tests", [sys.executable, "-W", "error::ResourceWarning", *tests], environment)
    if (mypy := tools / "venv/bin/mypy").exists():
        cache = f"--cache-dir={folder / 'mypy'}"
        run("Python: types", [mypy, cache, "--config-file", PYTHON / "pyproject.toml", "-p", "orderworks"], environment, PYTHON)


def check_javascript(environment, tools, folder):
    if shutil.which("node") is None:
        print("-- JavaScript: no Node.js, not tested", flush=True)
        return
    # A package is found by its name from below a folder that has it.
    modules = folder / "node_modules"
    modules.mkdir()
    (modules / "orderworks").symlink_to(JAVASCRIPT)
    program = folder / "readme.mjs"
    program.write_text(examples(JAVASCRIPT / "README.md", "js"))
    run("JavaScript: README", ["node", program], environment)
    # A package may import itself by its name, so the tests need no folder for it.
    run("JavaScript: tests", ["node", "--test", "--test-reporter=spec", "test/"], environment, JAVASCRIPT)
    if (compiler := tools / "node_modules/.bin/tsc").exists():
        shutil.copy(pathlib.Path(__file__).with_name("types.mts"), folder)
        options = "--noEmit --strict --target es2023 --module nodenext --lib es2023,dom,dom.asynciterable".split()
        run("JavaScript: types", [compiler, *options, "types.mts"], environment, folder)


def main(binary, tools):
    with started(binary) as ready, started(binary, **ALARMED) as alarmed, tempfile.TemporaryDirectory() as name:
        raise_alarm(alarmed)
        environment = {
            "ORDERWORKS_URL": ready["url"],
            "ORDERWORKS_PROXY": proxy.start(ready["url"]),
            "ORDERWORKS_PUB": ready["publishable_key"],
            "ORDERWORKS_SEC": ready["secret_key"],
            "ORDERWORKS_MAILS": ready["mail_folder"],
            "ORDERWORKS_ALARMED_PROXY": proxy.start(alarmed["url"]),
            "ORDERWORKS_ALARMED_PUB": alarmed["publishable_key"],
        }
        check_python(environment, pathlib.Path(tools), pathlib.Path(name))
        check_javascript(environment, pathlib.Path(tools), pathlib.Path(name))
    print("clients: passed")


if __name__ == "__main__":
    main(*sys.argv[1:])
