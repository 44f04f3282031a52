"""Proof of work of an order: a text with which SHA-256 of `<idempotency key>:<text>` begins with zero bits.

Guarantees: a proof belongs to one key, so it serves one order. It is searched for in the calling thread; each bit more
doubles the time.
"""

import hashlib
import itertools
import re


def find_proof(key: str, bits: int) -> str:
    """Tries 2**bits texts on average, a million in a second or so. The quotes of a quoted key do not count."""
    bare = re.sub(r"\\(.)", r"\1", key[1:-1]) if key.startswith('"') else key
    begun = hashlib.sha256(f"{bare}:".encode())

    def is_proof(text: str) -> bool:
        hashed = begun.copy()
        hashed.update(text.encode())
        return int.from_bytes(hashed.digest(), "big") >> (256 - bits) == 0

    return next(filter(is_proof, map(str, itertools.count())))
