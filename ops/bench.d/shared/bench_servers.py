"""Databases, keyspaces and processes of the binary that a benchmark measures.

Guarantees: all of them are gone when their context ends. Secrets go by the environment, never by arguments, which other
users of the machine see.
"""

import contextlib
import http.client
import json
import os
import pathlib
import re
import secrets
import socket
import struct
import subprocess
import sys
import time
import urllib.parse

START_MAX = 60
ANSWER_MAX = 30
# Less than the 75 s after which the API closes a connection that carries no request.
IDLE_MAX = 30


class Database:
    """A database on the server, and `psql` over it."""

    def __init__(self, url):
        parts = urllib.parse.urlsplit(url)
        self.name = f"orderworks_bench_{os.getpid()}"
        self.url = parts._replace(path=f"/{self.name}").geturl()
        self.login = {
            "PGHOST": parts.hostname,
            "PGPORT": str(parts.port or 5432),
            "PGUSER": urllib.parse.unquote(parts.username or ""),
            "PGPASSWORD": urllib.parse.unquote(parts.password or ""),
        }
        self.server = parts.path.lstrip("/")

    def psql(self, *words, database=None):
        env = os.environ | self.login | {"PGDATABASE": database or self.name}
        # The words, not what is in a file of the user.
        command = ["psql", "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", *words]
        return subprocess.run(command, env=env, check=True, stdout=subprocess.PIPE, text=True).stdout

    def rows(self, sql):
        return self.psql("-c", sql).split()

    def run(self, file, **variables):
        words = [word for key, value in variables.items() for word in ("-v", f"{key}={value}")]
        self.psql(*words, "-f", str(file))

    @contextlib.contextmanager
    def made(self):
        self.psql("-c", f"CREATE DATABASE {self.name}", database=self.server)
        try:
            yield self
        finally:
            self.psql("-c", f"DROP DATABASE {self.name} WITH (FORCE)", database=self.server)


@contextlib.contextmanager
def keyspace(node):
    """The name of a keyspace, dropped at the end. Of the form whose leftovers the tests of the store drop, too."""
    name = f"ow_test_{int(time.time() * 1000)}_{secrets.token_hex(6)}"
    try:
        yield name
    finally:
        drop_keyspace(node, name)


def drop_keyspace(node, name):
    # The CQL of `ops/services`, the only other place that speaks it without a driver.
    import probe

    host, _, port = node.rpartition(":")
    query = f"DROP KEYSPACE IF EXISTS {name}".encode()
    with socket.create_connection((host, int(port)), timeout=START_MAX) as server:
        probe.cql_begin(server)
        body = struct.pack(">i", len(query)) + query + struct.pack(">HB", 1, 0)
        answer, _ = probe.cql_call(server, 0x07, body)
    assert answer == 0x08, f"keyspace {name} is not dropped: opcode {answer}"


class Connection:
    """A kept connection with a token."""

    def __init__(self, address, token):
        self.connection = http.client.HTTPConnection(address, timeout=ANSWER_MAX)
        self.token = token
        self.used_at = time.monotonic()

    def call(self, method, path, body=None, **headers):
        """Status and text."""
        answer, text = self.ask(method, path, body, headers)
        return answer.status, text

    def ask(self, method, path, body=None, headers=None):
        """The answer with its headers, and its text."""
        sent = {"authorization": f"Bearer {self.token}", "content-type": "application/json"}
        # Whatever their case: a field that is sent twice is refused.
        sent |= {name.lower(): value for name, value in (headers or {}).items()}
        if time.monotonic() - self.used_at > IDLE_MAX:
            # The request opens another one.
            self.connection.close()
        self.connection.request(method, path, None if body is None else json.dumps(body), sent)
        answer = self.connection.getresponse()
        text = answer.read().decode()
        self.used_at = time.monotonic()
        return answer, text


class Program:
    """The binary over a data folder, with these settings and no others of the environment."""

    def __init__(self, binary, folder, settings):
        self.words = [binary, "--data", folder]
        kept = {key: value for key, value in os.environ.items() if not key.startswith("ORDERWORKS_")}
        self.env = kept | {f"ORDERWORKS_{key}": value for key, value in settings.items()}

    def command(self, *words):
        done = subprocess.run([*self.words, *words], env=self.env, check=True, stdout=subprocess.PIPE, text=True)
        return done.stdout

    @contextlib.contextmanager
    def role(self, *words, address, is_ready=lambda status: status == 200):
        """The process id of a role that is ready at this address; stopped at the end."""
        process = subprocess.Popen([*self.words, *words], env=self.env, stdout=subprocess.DEVNULL)
        try:
            until_ready(process, address, is_ready)
            yield process.pid
        finally:
            process.terminate()
            process.wait(timeout=START_MAX)


def until_ready(process, address, is_ready):
    end = time.monotonic() + START_MAX
    while time.monotonic() < end:
        assert process.poll() is None, "a role has ended at its start"
        with contextlib.suppress(OSError, http.client.HTTPException):
            if is_ready(Connection(address, "none").call("GET", "/readyz")[0]):
                return
        time.sleep(0.1)
    raise AssertionError("a role does not get ready")


def free_address():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return f"127.0.0.1:{listener.getsockname()[1]}"


def resident_mib(pid):
    status = pathlib.Path(f"/proc/{pid}/status").read_text()
    return int(re.search(r"VmRSS:\s+(\d+) kB", status)[1]) / 1024


def note(text):
    print(text, file=sys.stderr, flush=True)
