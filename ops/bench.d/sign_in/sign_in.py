"""Whether a sign-in takes as long for an address without an account as for one with another password.

Sends wrong passwords in turns, to one connection each, and compares both samples by the test of Mann and Whitney (normal
approximation): a difference an attacker could see has a small p and a median that is apart. Then signs in ten thousand times,
over several connections, and compares the resident memory of before and after.
"""

import concurrent.futures
import email
import email.policy
import http.client
import json
import math
import os
import pathlib
import random
import re
import statistics
import subprocess
import sys
import tempfile
import time

PLENTY = "1000000"
RATES = {
    "ORDERWORKS_SIGN_IN_PER_IP_PER_MINUTE": PLENTY,
    "ORDERWORKS_SIGN_IN_PER_ACCOUNT_PER_MINUTE": PLENTY,
    "ORDERWORKS_SIGN_IN_BURST": PLENTY,
}
KNOWN = "ada@example.com"
PASSWORD = "canary correct horse"
THREADS = 8
GROWTH_MIB_AIM = 20


def start(binary, folder):
    process = subprocess.Popen(
        [binary, "dev", "--json", "--listen", "127.0.0.1:0", "--data", folder],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env=os.environ | RATES,
    )
    return process, json.loads(process.stdout.readline())


def post(connection, key, path, body, status):
    """Milliseconds until the answer is read."""
    headers = {"authorization": f"Bearer {key}", "content-type": "application/json"}
    begun = time.perf_counter()
    connection.request("POST", path, json.dumps(body), headers)
    answer = connection.getresponse()
    text = answer.read()
    took = (time.perf_counter() - begun) * 1000
    assert answer.status == status, (answer.status, text)
    return took


def mailed_token(folder):
    """The token of the first mail, once it is written."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        for path in pathlib.Path(folder).glob("*.eml"):
            message = email.message_from_bytes(path.read_bytes(), policy=email.policy.default)
            found = re.search(r"owv_[0-9A-Za-z_-]{43,}", message.get_body(("plain",)).get_content())
            if found:
                return found[0]
        time.sleep(0.05)
    raise SystemExit("no mail with a token came within 30 s")


def measure(ready, count):
    """Samples for a known and for unknown addresses."""
    connection = http.client.HTTPConnection(ready["url"].removeprefix("http://"))
    key = ready["publishable_key"]
    account = {"email": KNOWN, "name": "Ada", "password": PASSWORD}
    post(connection, key, "/v1/customers", account, 202)
    proof = {"token": mailed_token(ready["mail_folder"]), "password": account["password"]}
    post(connection, key, "/v1/customers/verify", proof, 201)
    samples = {"known": [], "unknown": []}
    # In a shuffled order, so that whatever else the machine does meets both alike. The first tenth warms up.
    kinds = ["known", "unknown"] * (count + count // 10)
    random.Random(1).shuffle(kinds)
    for number, kind in enumerate(kinds):
        address = KNOWN if kind == "known" else f"nobody{number}@example.com"
        took = post(connection, key, "/v1/sessions", {"email": address, "password": "another horse"}, 401)
        if number >= count // 5:
            samples[kind].append(took)
    return samples["known"][:count], samples["unknown"][:count]


def resident_mib(process):
    status = pathlib.Path(f"/proc/{process.pid}/status").read_text()
    return int(re.search(r"VmRSS:\s+(\d+) kB", status)[1]) / 1024


def sign_in_often(ready, count):
    """Signs in with the right password, from as many threads as keep the queue filled."""
    address, key = ready["url"].removeprefix("http://"), ready["publishable_key"]
    body = {"email": KNOWN, "password": PASSWORD}

    def some(_):
        connection = http.client.HTTPConnection(address)
        for _ in range(count // THREADS):
            post(connection, key, "/v1/sessions", body, 201)

    with concurrent.futures.ThreadPoolExecutor(THREADS) as threads:
        list(threads.map(some, range(THREADS)))


def growth(process, ready, count):
    """MiB of resident memory after so many sign-ins, beyond those after a warm-up of a tenth."""
    sign_in_often(ready, count // 10)
    before = resident_mib(process)
    sign_in_often(ready, count)
    return resident_mib(process) - before


def mann_whitney(first, second):
    """The two-sided p."""
    ranked = sorted([(value, 0) for value in first] + [(value, 1) for value in second])
    rank_sum = sum(rank for rank, (_, group) in enumerate(ranked, 1) if group == 0)
    n, m = len(first), len(second)
    u = rank_sum - n * (n + 1) / 2
    z = (u - n * m / 2) / math.sqrt(n * m * (n + m + 1) / 12)
    return math.erfc(abs(z) / math.sqrt(2))


def main(binary, *options):
    count = 40 if "--quick" in options else 400
    with tempfile.TemporaryDirectory() as folder:
        process, ready = start(binary, folder)
        try:
            known, unknown = measure(ready, count)
            sign_ins = 400 if "--quick" in options else 10_000
            grown = growth(process, ready, sign_ins)
        finally:
            process.terminate()
            process.wait(timeout=40)
    medians = statistics.median(known), statistics.median(unknown)
    found = {
        "samples": count,
        "known_ms": round(medians[0], 3),
        "unknown_ms": round(medians[1], 3),
        "difference_ms": round(medians[0] - medians[1], 3),
        "deviation_ms": round(statistics.stdev(known), 3),
        "mann_whitney_p": round(mann_whitney(known, unknown), 4),
        "sign_ins": sign_ins,
        "growth_mib": round(grown, 2),
        "growth_mib_aim": GROWTH_MIB_AIM,
    }
    if "--json" in options:
        print(json.dumps(found))
        return
    for name, value in found.items():
        print(f"{name:16} {value}")


main(*sys.argv[1:])
