"""A stranger's first minutes: start the binary, run its printed curl lines as pasted, and check what arrives.

Fails loudly on: a start that takes over a second, a curl line that does not work, an order that is not fulfilled
within two seconds, a webhook the official library refuses, a mail that is not there exactly once, a stop that is
not orderly.
"""

import http.server
import json
import os
import pathlib
import queue
import shlex
import signal
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request

from standardwebhooks import Webhook

received: "queue.Queue[tuple[dict, bytes]]" = queue.Queue()


class Receiver(http.server.BaseHTTPRequestHandler):
    """Takes every webhook."""

    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        received.put(({k.lower(): v for k, v in self.headers.items()}, body))
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_):
        """Quiet."""


def call(base, key, method, path, body=None, headers=None):
    request = urllib.request.Request(
        base + path,
        method=method,
        data=None if body is None else json.dumps(body).encode(),
        headers={"authorization": f"Bearer {key}", "content-type": "application/json", **(headers or {})},
    )
    with urllib.request.urlopen(request, timeout=5) as answer:
        return answer.status, json.load(answer)


def wait_for_status(base, key, order, wanted, seconds):
    """The API has no push for a plain client, so this asks again until the deadline."""
    deadline = time.monotonic() + seconds
    while True:
        _, body = call(base, key, "GET", f"/v1/orders/{order}")
        if body["status"] == wanted:
            return body
        assert time.monotonic() < deadline, f"order {order} is {body['status']}, not {wanted}, after {seconds} s"
        time.sleep(0.02)


def start(binary, folder):
    """The banner as people see it, up to its last line, with the pasteable commands in it."""
    process = subprocess.Popen(
        [binary, "dev", "--listen", "127.0.0.1:0", "--data", folder],
        stdout=subprocess.PIPE,
        stderr=open(os.path.join(folder, "log"), "w"),
        text=True,
    )
    lines = []
    for line in process.stdout:
        lines.append(line.rstrip("\n"))
        if line.startswith("Ctrl-C"):
            return process, lines
    raise AssertionError(f"the process ended with {process.wait()}: {lines}")


def field(lines, label):
    return next(line.split(None, 1)[1].strip() for line in lines if line.strip().lower().startswith(label + " "))


def curl_lines(lines):
    """The printed commands; a trailing backslash joins lines as a shell would."""
    commands, current = [], ""
    for line in lines:
        stripped = line.strip()
        if stripped.startswith("curl ") or current:
            current += stripped.removesuffix("\\") + " "
            if not stripped.endswith("\\"):
                commands.append(current.strip())
                current = ""
    return commands


def main(binary):
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Receiver)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    with tempfile.TemporaryDirectory() as folder:
        process, lines = start(binary, folder)
        try:
            check(lines, folder, server.server_port)
        finally:
            process.send_signal(signal.SIGTERM)
            status = process.wait(timeout=40)
        assert status == 0, f"an orderly stop exits with 0, not {status}"
    print("outside client: 1 passed, 0 failed")


def check(lines, folder, port):
    base, secret = field(lines, "api"), field(lines, "secret")
    _, endpoint = call(base, secret, "POST", "/v1/webhook_endpoints", {"url": f"http://127.0.0.1:{port}/", "events": ["*"]})
    commands = curl_lines(lines)
    assert len(commands) == 3, f"three curl lines are promised, {len(commands)} printed"
    answers = []
    for command in commands:
        done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, timeout=20)
        assert done.returncode == 0, f"{shlex.quote(command)}: {done.stderr}"
        answers.append(done.stdout)
    orders = [json.loads(a) for a in answers if '"object":"order"' in a.replace(" ", "")]
    assert orders, f"one curl line places an order: {answers}"
    order = wait_for_status(base, secret, orders[0]["id"], "fulfilled", 2)
    check_webhooks(endpoint["secret"], order)
    mails = [p for p in pathlib.Path(folder, "mail").rglob("*.eml") if order["id"] in p.name]
    assert len(mails) == 1, f"one mail for the order: {mails}"


def check_webhooks(secret, order):
    wanted = {"order.placed", "payment.captured", "order.paid", "order.fulfilled"}
    sequences = {}
    while wanted - set(sequences):
        headers, body = received.get(timeout=5)
        event = Webhook(secret).verify(body, headers)
        if event["data"].get("id") == order["id"] or event["data"].get("order_id") == order["id"]:
            sequences[event["type"]] = event["sequence"]
    assert sorted(sequences.values()) == [1, 2, 3, 4], sequences


if __name__ == "__main__":
    main(sys.argv[1])
