// The proof of work, without a server.
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { test } from "node:test";

import { findProof } from "../proof.js";

const hash = (key, text) => createHash("sha256").update(`${key}:${text}`).digest();

test("a proof is found for keys of all lengths", async () => {
  for (let length = 1; length <= 255; length++) {
    const key = "k".repeat(length);
    const found = await findProof(key, 4);
    assert.match(found, /^\d{1,64}$/);
    assert.ok(hash(key, found)[0] < 16, key);
  }
});

test("a proof has all of its bits", async () => {
  const found = await findProof("order-1", 13);
  assert.ok(hash("order-1", found).readUInt16BE() < 8);
});

test("the quotes of a quoted key do not count", async () => {
  assert.equal(await findProof('"a\\"b"', 8), await findProof('a"b', 8));
});

test("other work goes on meanwhile, and a signal ends the search", async () => {
  const leaving = new AbortController();
  setTimeout(() => leaving.abort(new Error("left")), 1);
  await assert.rejects(findProof("order-1", 33, leaving.signal), /left/);
});
