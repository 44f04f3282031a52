"""A proxy that loses answers, for tests of the clients.

Faults are taken one a request, in order: POST /_faults with a JSON list of
  "cut"       the request is carried out, the connection is cut before the answer
  "half"      the same, in the middle of the answer
  "slow"      the answer comes after four seconds
  "events"    an event stream is cut after two events
  [503, "1"]  not passed on; answered with this status and Retry-After
  null        none
GET /_log answers with the requests that arrived since it was asked last, as [method, path, idempotency key, fields]:
fields are the header fields of Orderworks' own, by name.
"""

import http.client
import http.server
import json
import threading
import time
import urllib.parse

SLOW_SECONDS = 4.0
DROPPED = {"connection", "content-length", "host", "transfer-encoding"}


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    upstream = ""
    lock = threading.Lock()
    faults: list = []
    log: list = []

    def handle_any(self):
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        if self.path in ("/_faults", "/_log"):
            return self.control(body)
        with self.lock:
            fields = {name.lower(): value for name, value in self.headers.items()}
            own = {name: value for name, value in fields.items() if name.startswith("orderworks-")}
            self.log.append([self.command, self.path, fields.get("idempotency-key"), own])
            fault = self.faults.pop(0) if self.faults else None
        if isinstance(fault, list):
            problem = {"status": fault[0], "code": "test_fault", "title": "A fault of the test", "detail": "as asked"}
            headers = [("retry-after", fault[1]), ("content-type", "application/problem+json")]
            return self.answer(fault[0], headers, json.dumps(problem).encode())
        connection = http.client.HTTPConnection(self.upstream, timeout=60)
        headers = {name: value for name, value in self.headers.items() if name.lower() not in DROPPED}
        connection.request(self.command, self.path, body or None, headers)
        response = connection.getresponse()
        fields = [(name, value) for name, value in response.getheaders() if name.lower() not in DROPPED]
        if response.getheader("content-type") == "text/event-stream":
            return self.stream(response, fields, 2 if fault == "events" else None)
        content = response.read()
        connection.close()
        if fault == "slow":
            time.sleep(SLOW_SECONDS)
        if fault == "cut":
            self.close_connection = True
            return None
        return self.answer(response.status, fields, content, len(content) // 2 if fault == "half" else None)

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = handle_any

    def control(self, body):
        with self.lock:
            if self.path == "/_faults":
                self.faults[:] = json.loads(body)
                content = b"[]"
            else:
                content = json.dumps(self.log).encode()
                self.log.clear()
        self.answer(200, [("content-type", "application/json")], content)

    def answer(self, status, headers, content, size=None):
        self.send_response(status)
        for name, value in headers:
            self.send_header(name, value)
        if status != 204:
            self.send_header("content-length", str(len(content)))
        self.end_headers()
        self.wfile.write(content[:size])
        self.close_connection = size is not None

    def stream(self, response, headers, events_max):
        self.send_response(response.status)
        for name, value in [*headers, ("connection", "close")]:
            self.send_header(name, value)
        self.end_headers()
        self.close_connection = True
        events = 0
        while line := response.readline():
            self.wfile.write(line)
            events += line.startswith(b"data:")
            if events_max is not None and events == events_max and line == b"\n":
                break
        response.close()

    def handle_one_request(self):
        try:
            super().handle_one_request()
        except OSError:
            # The client did not wait.
            self.close_connection = True

    def log_message(self, *_):
        """Quiet."""


def start(upstream):
    """Serves in the background and returns its address."""
    handler = type("Proxied", (Handler,), {"upstream": urllib.parse.urlsplit(upstream).netloc, "faults": [], "log": []})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return f"http://127.0.0.1:{server.server_port}"
