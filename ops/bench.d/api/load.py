"""Load generators: `wrk` as fast as the server answers, `vegeta` at a rate that does not wait for answers.

Both are programs of others, apart from what is measured; `ops/services install wrk vegeta` brings them.
"""

import base64
import collections
import json
import re
import subprocess
import threading

CONNECTIONS = 32
THREADS = 2
# With fewer the load would wait for answers; a process of the API accepts 4,096 connections.
WORKERS_MAX = 4_000
BODY_MAX = 8_192
TOTAL = re.compile(r"^\s*(\d+) requests in ", re.MULTILINE)
RATE = re.compile(r"^Requests/sec:\s+([\d.]+)", re.MULTILINE)
FAILED = re.compile(r"^\s*Non-2xx or 3xx responses: (\d+)", re.MULTILINE)
BROKEN = re.compile(r"^\s*Socket errors: (.*)", re.MULTILINE)


def closed(address, path, headers, seconds, script=None, words=()):
    """Requests that were answered, those of them that failed (4xx, 5xx), and the rate per second."""
    command = ["wrk", "-t", str(THREADS), "-c", str(CONNECTIONS), "-d", f"{seconds}s"]
    command += [word for name, value in headers.items() for word in ("-H", f"{name}: {value}")]
    command += ["-s", str(script)] if script else []
    command += [f"http://{address}{path}", *(["--", *words] if words else [])]
    text = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    broken = BROKEN.search(text)
    assert not broken, f"connections failed: {broken[1]}"
    failed = FAILED.search(text)
    return int(TOTAL.search(text)[1]), int(failed[1]) if failed else 0, float(RATE.search(text)[1])


def target(method, url, headers, body=None):
    """A request for `open_model`."""
    found = {"method": method, "url": url, "header": {name: [value] for name, value in headers.items()}}
    if body is not None:
        found["body"] = base64.b64encode(json.dumps(body).encode()).decode()
    return found


def open_model(program, rate, seconds, targets):
    """Sends the targets in turn, `rate` a second whatever the answers take; yields each answer as it comes, as vegeta
    tells it: seq, code (0 without an answer), latency (ns), headers, error; and text."""
    words = [program, "attack", "-lazy", "-format=json", f"-rate={rate}/1s", f"-duration={seconds}s", "-redirects=-1"]
    words += [f"-max-workers={WORKERS_MAX}", f"-max-body={BODY_MAX}"]
    attack = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    encode = subprocess.Popen([program, "encode", "-to", "json"], stdin=attack.stdout, stdout=subprocess.PIPE)
    # Its reader is the other process alone.
    attack.stdout.close()
    threading.Thread(target=feed, args=(attack.stdin, targets), daemon=True).start()
    try:
        for line in encode.stdout:
            answer = json.loads(line)
            answer["text"] = base64.b64decode(answer["body"] or "").decode(errors="replace")
            answer["headers"] = {name.lower(): values[0] for name, values in (answer["headers"] or {}).items()}
            yield answer
        statuses = attack.wait(), encode.wait()
        assert statuses == (0, 0), f"vegeta ended with {statuses}"
    finally:
        for process in (attack, encode):
            process.kill()
            process.wait()


class Beside:
    """A load of `open_model` that runs beside what its context does; its answers by status."""

    def __init__(self, answers):
        self.answers, self.statuses = answers, collections.Counter()
        self.thread = threading.Thread(target=self.run)

    def run(self):
        self.statuses.update(answer["code"] for answer in self.answers)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.thread.join()


def feed(pipe, targets):
    try:
        for found in targets:
            pipe.write(json.dumps(found).encode() + b"\n")
        pipe.close()
    except BrokenPipeError:
        # The time is over: what is left is not sent.
        pass


def milliseconds(answers):
    return [answer["latency"] / 1e6 for answer in answers]
