"""Schemathesis against `orderworks dev`, with the secret key and then with the publishable one.

All checks and phases (examples, coverage, fuzzing, stateful), bounded in time and without chance. The log of the server
must hold no panic and no line of level ERROR.
"""

import os
import pathlib
import re
import signal
import subprocess
import sys
import tempfile

# Seconds for each key.
TIME_MAX = 110
EXAMPLES_MAX = 6
# Rates are no part of the document's promises, and would hide what lies behind them.
PLENTY = "1000000"
RATES = {
    "ORDERWORKS_CHECKOUT_PER_KEY_PER_SECOND": PLENTY,
    "ORDERWORKS_CHECKOUT_PER_IP_PER_SECOND": PLENTY,
    "ORDERWORKS_CHECKOUT_PER_PUBLISHABLE_KEY_PER_SECOND": PLENTY,
    "ORDERWORKS_CHECKOUT_INVALID_PER_IP_PER_MINUTE": PLENTY,
    "ORDERWORKS_CHECKOUT_BURST": PLENTY,
    "ORDERWORKS_READS_PER_IP_PER_SECOND": PLENTY,
    "ORDERWORKS_READS_PER_KEY_PER_SECOND": PLENTY,
    "ORDERWORKS_READS_SEARCHES_PER_IP_PER_SECOND": PLENTY,
    "ORDERWORKS_READS_SEARCHES_PER_KEY_PER_SECOND": PLENTY,
    "ORDERWORKS_WRITES_PER_IP_PER_SECOND": PLENTY,
    "ORDERWORKS_WRITES_PER_KEY_PER_SECOND": PLENTY,
    "ORDERWORKS_SIGN_IN_PER_IP_PER_MINUTE": PLENTY,
    "ORDERWORKS_SIGN_IN_PER_ACCOUNT_PER_MINUTE": PLENTY,
    "ORDERWORKS_SIGN_IN_BURST": PLENTY,
    "ORDERWORKS_CARD_TESTING_UNPAID_PER_GUEST": PLENTY,
    "ORDERWORKS_CARD_TESTING_UNPAID_PER_CUSTOMER": PLENTY,
    "ORDERWORKS_CARD_TESTING_UNPAID_WITH_PROOF": PLENTY,
    "ORDERWORKS_CARD_TESTING_DECLINES_PER_PAYMENT_METHOD": PLENTY,
    "ORDERWORKS_CARD_TESTING_ALARM_PAYMENTS": PLENTY,
    "ORDERWORKS_CARTS_NEW_PER_IP_PER_MINUTE": PLENTY,
    "ORDERWORKS_CARTS_NEW_PER_MERCHANT_PER_DAY": PLENTY,
}


def start(binary, folder):
    """The process and its banner."""
    process = subprocess.Popen(
        [binary, "dev", "--listen", "127.0.0.1:0", "--data", folder],
        stdout=subprocess.PIPE,
        stderr=open(os.path.join(folder, "log"), "w"),
        text=True,
        env=os.environ | RATES,
    )
    lines = []
    for line in process.stdout:
        lines.append(line.rstrip("\n"))
        if line.startswith("Ctrl-C"):
            return process, lines
    raise AssertionError(f"the process ended with {process.wait()}: {lines}")


def field(lines, label):
    return next(line.split(None, 1)[1].strip() for line in lines if line.strip().lower().startswith(label + " "))


def probe(st, base, key, folder):
    """Whether nothing was found."""
    config = pathlib.Path(__file__).with_name("schemathesis.toml")
    command = [
        st, "--config-file", str(config), "run", f"{base}/openapi.json",
        "--header", f"Authorization: Bearer {key}",
        "--checks", "all", "--phases", "examples,coverage,fuzzing,stateful",
        "--max-examples", str(EXAMPLES_MAX), "--max-time", str(TIME_MAX), "--workers", "1",
        "--generation-deterministic", "--continue-on-failure", "--warnings", "off", "--no-color",
    ]  # fmt: skip
    return subprocess.run(command, cwd=folder, timeout=2 * TIME_MAX + 60).returncode == 0


def main(binary, st):
    with tempfile.TemporaryDirectory() as folder:
        process, lines = start(binary, folder)
        try:
            kinds = ("secret", "publishable")
            failed = [kind for kind in kinds if not probe(st, field(lines, "api"), field(lines, kind), folder)]
        finally:
            process.send_signal(signal.SIGTERM)
            status = process.wait(timeout=40)
        bad = [line for line in open(os.path.join(folder, "log")) if re.search(r"\bERROR\b|panicked", line)]
    assert not bad, f"the log holds {len(bad)} errors, the first: {bad[0]}"
    assert status == 0, f"an orderly stop exits with 0, not {status}"
    assert not failed, f"found something with these keys: {failed}"
    print("schemathesis: 2 passed, 0 failed")


main(*sys.argv[1:])
