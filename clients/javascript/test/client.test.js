// The client against a real server behind a proxy that loses answers; see ops/clients/run.
import assert from "node:assert/strict";
import { createHmac, randomUUID } from "node:crypto";
import { readFileSync, readdirSync } from "node:fs";
import { createServer } from "node:http";
import { beforeEach, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";

import { ConnectionError, Orderworks, OrderworksError, ProblemError, WebhookError, verifyWebhook } from "orderworks";

const { ORDERWORKS_PROXY: baseUrl, ORDERWORKS_PUB: pub, ORDERWORKS_SEC: sec, ORDERWORKS_MAILS: mails } = process.env;
// A shop that suspects card testing: an order of a guest takes a proof of work.
const { ORDERWORKS_ALARMED_PROXY: alarmed, ORDERWORKS_ALARMED_PUB: alarmedPub } = process.env;
// A busy machine may take long; only what a test slows down is to time out.
const timeoutMs = 60_000;
const shop = new Orderworks({ baseUrl, apiKey: pub, timeoutMs });
const back = new Orderworks({ baseUrl, apiKey: sec, timeoutMs });

const setFaultsAt = (at, faults) => fetch(`${at}/_faults`, { method: "POST", body: JSON.stringify(faults) });
const setFaults = (...faults) => setFaultsAt(baseUrl, faults);
const log = async (at = baseUrl) => (await fetch(`${at}/_log`)).json();
const order = (reference) => ({
  customer: { email: "ada@example.com", name: "Ada Lovelace" }, currency: "EUR",
  items: [{ sku: "CUP-ENAMEL", quantity: 1 }], payment_method: "pm_card_visa", reference,
});
async function take(count, items) {
  const taken = [];
  for await (const item of items) if (taken.push(item) === count) break;
  return taken;
}
async function until(type, id, options) {
  for await (const event of shop.orderEvents(id, options)) if (event.type === type) return;
}
/** The token that was mailed to an address. Lines of a mail may be broken within it. */
async function mailedToken(address, { signal }) {
  for (;;) {
    const names = readdirSync(mails).filter((name) => name.endsWith(".eml"));
    const mail = names.map((name) => readFileSync(`${mails}/${name}`, "utf8")).find((text) => text.includes(address));
    const found = mail?.replaceAll(/=\r?\n/g, "").match(/owv_[\w-]{43,}/);
    if (found) return found[0];
    await sleep(50, undefined, { signal });
  }
}
async function assertOneOrder(reference) {
  let found = 0;
  for await (const order of back.listOrders()) found += order.reference === reference;
  assert.equal(found, 1);
}

beforeEach(async () => {
  await setFaults();
  await log();
});

for (const faults of [["cut", "cut"], ["half"], ["cut", "half", [503, "0"]]]) {
  test(`an order whose answers are lost is one order: ${JSON.stringify(faults)}`, async () => {
    const reference = `js-${randomUUID()}`;
    await setFaults(...faults);
    const placed = await shop.placeOrder(order(reference));
    assert.ok(placed.isReplay);
    const sent = await log();
    assert.equal(sent.length, faults.length + 1);
    assert.deepEqual(new Set(sent.map(([, , key]) => key)), new Set([placed.idempotencyKey]));
    const { orderToken } = placed;
    assert.equal((await shop.getOrder(placed.order.id, { orderToken })).reference, reference);
    await assertOneOrder(reference);
  });
}

test("a slow answer is asked for again", async () => {
  const reference = `js-${randomUUID()}`;
  await setFaults("slow");
  const hasty = new Orderworks({ baseUrl, apiKey: pub, timeoutMs: 2_000, retries: 30 });
  await hasty.placeOrder(order(reference));
  assert.ok((await log()).length >= 2);
  await assertOneOrder(reference);
});

test("a later call goes on with the key of the error", async () => {
  const reference = `js-${randomUUID()}`;
  await setFaults("cut", "cut");
  const brief = new Orderworks({ baseUrl, apiKey: pub, timeoutMs, retries: 1 });
  const error = await brief.placeOrder(order(reference)).catch((error) => error);
  assert.ok(error instanceof ConnectionError && error instanceof OrderworksError, error);
  const { idempotencyKey } = error;
  assert.deepEqual((await log()).map(([, , key]) => key), [idempotencyKey, idempotencyKey]);
  assert.ok((await shop.placeOrder(order(reference), { idempotencyKey })).isReplay);
  await assertOneOrder(reference);
});

test("a checkout whose answer is lost is one order", async () => {
  const reference = `js-${randomUUID()}`;
  const cart = await shop.createCart({ items: [{ sku: "CUP-ENAMEL", quantity: 2 }] });
  await setFaults("cut");
  const { customer, payment_method } = order();
  const placed = await shop.checkout(cart.id, { customer, payment_method, reference });
  assert.ok(placed.isReplay);
  await assertOneOrder(reference);
});

test("what must not be repeated is sent once", async () => {
  await setFaults("cut");
  await assert.rejects(shop.createCart(), ConnectionError);
  assert.equal((await log()).length, 1);
  await setFaults([503, "0"]);
  await assert.rejects(shop.createCart(), ProblemError);
  assert.equal((await log()).length, 1);
});

test("Retry-After is respected", async () => {
  await setFaults([429, "1"]);
  const began = performance.now();
  assert.equal((await shop.createCart()).status, "open");
  assert.ok(performance.now() - began >= 990);
  await setFaults([503, "3600"]);
  await assert.rejects(shop.getProduct("CUP-ENAMEL"), { status: 503, retryAfter: 3600 });
});

test("a deletion whose answer was lost is done", async () => {
  const endpoint = await back.createWebhookEndpoint({ url: "http://127.0.0.1:9/", events: ["order.paid"] });
  await setFaults("cut");
  await back.deleteWebhookEndpoint(endpoint.id);
  await assert.rejects(back.deleteWebhookEndpoint(endpoint.id), { code: "not_found" });
});

test("problems are typed", async () => {
  const bad = { ...order("x"), items: [{ sku: "no-such", quantity: 1 }] };
  const problem = await shop.placeOrder(bad).catch((error) => error);
  assert.ok(problem instanceof ProblemError);
  assert.deepEqual([problem.status, problem.code, problem.errors[0].pointer], [422, "unknown_sku", "/items/0/sku"]);
  assert.ok(problem.idempotencyKey && problem.requestId);
});

test("all pages are read", async () => {
  const skus = [];
  for await (const product of shop.listProducts({ limit: 7 })) skus.push(product.sku);
  assert.equal(new Set(skus).size, skus.length);
  assert.ok(skus.length >= 24 && (await log()).length >= 4);
});

test("lists by price are read page by page", async () => {
  const [currency, category] = ["EUR", `js-${randomUUID()}`];
  const prices = { [`${category}-A`]: 100, [`${category}-B`]: 100, [`${category}-C`]: 200 };
  for (const [sku, price_minor] of Object.entries(prices)) {
    await back.putProduct(sku, { name: "Page", category, price_minor, currency });
  }
  for (const [sort, wanted] of [["price", "ABC"], ["-price", "CBA"], ["sku", "ABC"]]) {
    const found = await take(4, shop.listProducts({ category, currency, sort, limit: 1 }));
    assert.deepEqual(found.map(({ sku }) => sku), [...wanted].map((letter) => `${category}-${letter}`), sort);
  }
});

test("every list of a merchant is read page by page", async () => {
  const made = [];
  for (let count = 0; count < 3; count++) {
    const { order: placed, orderToken } = await shop.placeOrder(order(`js-${randomUUID()}`));
    await until("order.fulfilled", placed.id, { orderToken });
    made.push(await back.createWebhookEndpoint({ url: "http://127.0.0.1:9/", events: ["order.refunded"] }));
  }
  for (const list of ["listOrders", "listPayments", "listEvents", "listWebhookEndpoints"]) {
    await log();
    const ids = (await take(3, back[list]({ limit: 1 }))).map(({ id }) => id);
    assert.equal(new Set(ids).size, 3, list);
    assert.equal((await log()).length, 3, list);
  }
  for (const { id } of made) await back.deleteWebhookEndpoint(id);
});

test("an account is deleted with what its orders tell", { timeout: timeoutMs }, async (context) => {
  const account = { email: `js-${randomUUID()}@example.com`, password: "a long passphrase of this test" };
  await shop.register({ ...account, name: "Ada Lovelace" });
  await shop.verifyAddress({ token: await mailedToken(account.email, context), password: account.password });
  const { token: session } = await shop.signIn(account);
  const ids = [];
  for (let count = 0; count < 2; count++) {
    const { order: placed } = await shop.placeOrder(order(`js-${randomUUID()}`), { session });
    await until("order.fulfilled", placed.id, { session });
    ids.unshift(placed.id);
  }
  const found = await take(3, shop.customerOrders({ limit: 1 }, { session }));
  assert.deepEqual(found.map(({ id }) => id), ids);
  assert.equal((await back.getOrder(ids[0])).customer.name, "Ada Lovelace");
  await shop.deleteCustomer({ password: account.password, erase_orders: true }, { session });
  for (const id of ids) assert.equal((await back.getOrder(id)).customer, null);
});

test("an order that takes a proof of work is one order", async () => {
  const [guest, device] = [new Orderworks({ baseUrl: alarmed, apiKey: alarmedPub, timeoutMs }), randomUUID()];
  const cart = await guest.createCart({ items: [{ sku: "CUP-ENAMEL", quantity: 1 }] });
  const { customer, payment_method } = order();
  for (const place of [
    (options) => guest.placeOrder(order("proven"), options),
    (options) => guest.checkout(cart.id, { customer, payment_method }, options),
  ]) {
    await setFaultsAt(alarmed, [null, "cut"]);
    await log(alarmed);
    const placed = await place({ device });
    assert.ok(placed.isReplay);
    const sent = await log(alarmed);
    assert.deepEqual(sent.map(([, , key]) => key), Array(3).fill(placed.idempotencyKey));
    assert.deepEqual(sent.map(([, , , fields]) => fields["orderworks-device"]), Array(3).fill(device));
    const proofs = sent.map(([, , , fields]) => fields["orderworks-proof"]);
    assert.ok(proofs[0] === undefined && proofs[1] && proofs[1] === proofs[2], String(proofs));
  }
});

test("more work than a client does is told", async () => {
  const guest = new Orderworks({ baseUrl: alarmed, apiKey: alarmedPub, timeoutMs, proofBitsMax: 11 });
  await log(alarmed);
  await assert.rejects(guest.placeOrder(order("refused")), { code: "proof_of_work_required", proofBits: 12 });
  assert.equal((await log(alarmed)).length, 1);
});

test("events go on where the stream was cut", async () => {
  const { order: placed, orderToken } = await shop.placeOrder(order(`js-${randomUUID()}`));
  await setFaults("events", "events");
  const sequences = [];
  for await (const event of shop.orderEvents(placed.id, { orderToken })) {
    sequences.push(event.sequence);
    if (event.type === "order.fulfilled") break;
  }
  assert.deepEqual(sequences, [1, 2, 3, 4]);
});

test("a signal ends a call and a stream", async () => {
  await assert.rejects(shop.getProduct("CUP-ENAMEL", { signal: AbortSignal.abort(new Error("enough")) }), /enough/);
  const { order: placed, orderToken } = await shop.placeOrder(order(`js-${randomUUID()}`));
  const leaving = new AbortController();
  const follow = async () => {
    for await (const event of shop.orderEvents(placed.id, { orderToken, signal: leaving.signal })) {
      if (event.sequence === 1) leaving.abort(new Error("left"));
    }
  };
  await assert.rejects(follow(), /left/);
});

test("keys are sent over https only", () => {
  assert.throws(() => new Orderworks({ baseUrl: "http://shop.example", apiKey: sec }), OrderworksError);
  assert.ok(new Orderworks({ baseUrl: "https://shop.example", apiKey: sec }));
});

test("only fresh and signed webhooks are accepted", async () => {
  const [secret, other] = ["a secret of this test", "another"].map((text) => `whsec_${btoa(text)}`);
  const [body, nowMs] = ['{"id":"evt_1","type":"order.paid","sequence":1}', 1_000_000];
  const signature = createHmac("sha256", "a secret of this test").update(`evt_1.1000.${body}`).digest("base64");
  const headers = { "webhook-id": "evt_1", "webhook-timestamp": "1000", "webhook-signature": `v1,AAAA v1,${signature}` };
  assert.equal((await verifyWebhook(body, headers, secret, { nowMs: 1_299_000 })).type, "order.paid");
  const bytes = new TextEncoder().encode(body);
  assert.equal((await verifyWebhook(bytes, new Headers(headers), [other, secret], { nowMs })).sequence, 1);
  for (const [body_, headers_, secret_, nowMs_] of [
    [`${body} `, headers, secret, nowMs], [body, headers, other, nowMs], [body, headers, secret, 1_301_000],
    [body, {}, secret, nowMs], [body, { ...headers, "webhook-timestamp": "x" }, secret, nowMs],
  ]) await assert.rejects(verifyWebhook(body_, headers_, secret_, { nowMs: nowMs_ }), WebhookError);
});

test("a real webhook is verified", { timeout: timeoutMs }, async () => {
  let received;
  const arrived = new Promise((resolve) => { received = resolve; });
  const server = createServer(async (request, response) => {
    const body = Buffer.concat(await request.toArray());
    response.writeHead(204).end();
    received([body, request.headers]);
  }).listen(0, "127.0.0.1");
  await new Promise((resolve) => server.once("listening", resolve));
  const url = `http://127.0.0.1:${server.address().port}/`;
  const endpoint = await back.createWebhookEndpoint({ url, events: ["order.placed"] });
  await shop.placeOrder(order(`js-${randomUUID()}`));
  const [body, headers] = await arrived;
  assert.equal((await verifyWebhook(body, headers, endpoint.secret)).type, "order.placed");
  await assert.rejects(verifyWebhook(body, headers, `whsec_${btoa("another")}`), WebhookError);
  await back.deleteWebhookEndpoint(endpoint.id);
  server.close();
  server.closeAllConnections();
});

test("every operation has a method", async () => {
  const seen = [];
  const stub = async (url, { method }) => {
    seen.push([method, new URL(url).pathname]);
    throw new ProblemStop();
  };
  class ProblemStop extends ProblemError { constructor() { super(400, { code: "stop" }); } }
  const client = new Orderworks({ baseUrl: "https://shop.example", apiKey: sec, fetch: stub });
  for (const name of Object.getOwnPropertyNames(Orderworks.prototype).filter((name) => name !== "constructor")) {
    const call = client[name](...Array(Math.max(2, client[name].length)).fill("X").with(-1, undefined));
    await assert.rejects(async () => (call.next ? call.next() : call), { code: "stop" }, name);
  }
  const document = JSON.parse(readFileSync(new URL("../../../api/openapi.json", import.meta.url)));
  for (const [path, item] of Object.entries(document.paths).filter(([path]) => path.startsWith("/v1/"))) {
    const pattern = new RegExp(`^${path.replaceAll(/\{\w+\}/g, "X")}$`);
    for (const method of Object.keys(item)) {
      assert.ok(seen.some(([m, p]) => m === method.toUpperCase() && pattern.test(p)), `${method} ${path}`);
    }
  }
});

test("every member of the document is declared", () => {
  const declared = readFileSync(new URL("../orderworks.d.ts", import.meta.url), "utf8");
  const document = JSON.parse(readFileSync(new URL("../../../api/openapi.json", import.meta.url)));
  const names = new Set();
  // Entries of a timeline are open to all members.
  const seen = new Set(["#/components/schemas/TimelineEntry", "#/components/schemas/Problem"]);
  const collect = (schema) => {
    if (schema?.$ref !== undefined && !seen.has(schema.$ref)) {
      seen.add(schema.$ref);
      collect(document.components.schemas[schema.$ref.split("/").at(-1)]);
    }
    for (const name of Object.keys(schema?.properties ?? {})) names.add(name);
    const parts = [schema?.items, ...(schema?.oneOf ?? []), ...(schema?.allOf ?? [])];
    for (const part of [...Object.values(schema?.properties ?? {}), ...parts.filter(Boolean)]) collect(part);
  };
  for (const [path, item] of Object.entries(document.paths).filter(([path]) => path.startsWith("/v1/"))) {
    for (const { parameters = [], requestBody, responses } of Object.values(item)) {
      for (const { name, in: place } of parameters) if (place === "query") names.add(name);
      collect(requestBody?.content["application/json"].schema);
      for (const response of Object.values(responses)) collect(response.content?.["application/json"]?.schema);
    }
  }
  names.delete("starting_after");
  assert.ok(names.size > 80, `${names.size} names`);
  assert.deepEqual([...names].filter((name) => !new RegExp(`\\b${name}\\??:`).test(declared)), []);
});
