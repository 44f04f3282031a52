"""Runs the clients against a binary: their README examples, their tests, the checks of their types."""

import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import tempfile

import proxy

ROOT = pathlib.Path(__file__).resolve().parents[2]
PYTHON, JAVASCRIPT = ROOT / "clients/python", ROOT / "clients/javascript"
# Of one step, on a busy machine.
SECONDS_MAX = 600


def start(binary, folder):
    command = [binary, "--json", "dev", "--listen", "127.0.0.1:0", "--data", os.path.join(folder, "data")]
    log = open(os.path.join(folder, "log"), "w")
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True)
    text = ""
    for line in process.stdout:
        text += line
        try:
            return process, json.loads(text)
        except ValueError:
            continue
    raise SystemExit(f"the process ended with {process.wait()}: {text}")


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
    run("Python: tests", [sys.executable, "-W", "error::ResourceWarning", PYTHON / "tests/test_client.py"], environment)
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
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        process, ready = start(binary, folder)
        environment = {
            "ORDERWORKS_URL": ready["url"],
            "ORDERWORKS_PROXY": proxy.start(ready["url"]),
            "ORDERWORKS_PUB": ready["publishable_key"],
            "ORDERWORKS_SEC": ready["secret_key"],
        }
        try:
            check_python(environment, pathlib.Path(tools), folder)
            check_javascript(environment, pathlib.Path(tools), folder)
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(timeout=60)
    print("clients: passed")


if __name__ == "__main__":
    main(*sys.argv[1:])
