// Client of the Orderworks order API, for browsers and servers (Node.js 20.3 or newer, Deno, Bun); fetch and WebCrypto
// only.
//
// Guarantees: a request is repeated only where that does no harm: reads, replacements, deletions, and what carries an
// idempotency key, which stays the same over all repetitions. So an order is one order, however often its answer was
// lost. Errors carry the key: a later call with it goes on where this one gave up. A proof of work that an order takes
// is found here, by `proof.js`. README.md has examples.

import { findProof } from "./proof.js";

const RETRIED_STATUSES = new Set([408, 429, 500, 502, 503, 504]);
const REPEATABLE_METHODS = new Set(["GET", "PUT", "DELETE"]);
/** First delay of the backoff, in milliseconds; doubled with each attempt. */
const DELAY_MS = 200;
/** A stream has a comment every 15 seconds; one that is silent for longer than this has been cut. */
const STREAM_SILENCE_MS = 40_000;
/** Age of a webhook in seconds at most; Standard Webhooks' own. */
const WEBHOOK_TOLERANCE_SECONDS = 300;
const LOOPBACK = /^(localhost|127(\.\d+){3}|\[::1\])$/;
/** Header fields of the options of calls. */
const FIELDS = Object.entries({
  idempotencyKey: "idempotency-key", session: "orderworks-session", orderToken: "orderworks-order-token",
  place: "orderworks-place", device: "orderworks-device", proof: "orderworks-proof",
});

/** Base of all errors of this module. `idempotencyKey` is that of the request, if it had one. */
export class OrderworksError extends Error {
  constructor(message, { idempotencyKey, cause } = {}) {
    super(message, { cause });
    this.name = new.target.name;
    this.idempotencyKey = idempotencyKey;
  }
}

/** No whole answer came: whether the request was carried out is not known. */
export class ConnectionError extends OrderworksError {}

/** The answer was a problem (RFC 9457). `code` is stable; of a proxy's own page it is `http_<status>`. */
export class ProblemError extends OrderworksError {
  constructor(status, problem, { retryAfter, proofBits, idempotencyKey } = {}) {
    const { code = `http_${status}`, title = "", detail = "", request_id, errors = [], total_minor } = problem;
    super(`${status} ${code}: ${detail || "no details"}`, { idempotencyKey });
    Object.assign(this, { status, code, title, detail, errors, retryAfter, proofBits });
    [this.requestId, this.totalMinor] = [request_id, total_minor];
  }
}

/** A webhook that was not signed with the secret, or too long ago. */
export class WebhookError extends OrderworksError {}

export class Orderworks {
  #settings;

  constructor({
    baseUrl, apiKey, timeoutMs = 10_000, retries = 4, delayMaxMs = 30_000, proofBitsMax = 24, fetch = globalThis.fetch,
  }) {
    const base = new URL(baseUrl);
    if (base.protocol !== "https:" && !(base.protocol === "http:" && LOOPBACK.test(base.hostname))) {
      throw new OrderworksError("baseUrl must be https, but for this machine: the key would be readable on its way");
    }
    this.#settings = {
      base: base.href.replace(/\/+$/, ""), authorization: `Bearer ${apiKey}`,
      timeoutMs, retries, delayMaxMs, proofBitsMax,
      // Browsers want their own fetch called on the window.
      fetch: (...request) => fetch(...request),
    };
  }

  // Orders. `options` of all calls: session, orderToken, place, device, signal; of some: idempotencyKey.
  placeOrder(order, options) { return this.#place("/v1/orders", order, options); }
  getOrder(id, options) { return this.#json("GET", path`/v1/orders/${id}`, options); }
  listOrders(query, options) { return this.#pages("/v1/orders", query, options); }
  orderTimeline(id, options) { return this.#json("GET", path`/v1/orders/${id}/timeline`, options); }
  revokeOrderToken(id, options) { return this.#json("DELETE", path`/v1/orders/${id}/token`, options); }
  listPayments(query, options) { return this.#pages("/v1/payments", query, options); }
  /** May be repeated: an order is cancelled once. */
  cancelOrder(id, cancel = {}, options) {
    return this.#json("POST", path`/v1/orders/${id}/cancel`, repeatable(options), cancel);
  }
  refundOrder(id, refund = {}, options) {
    return this.#json("POST", path`/v1/orders/${id}/refund`, withKey(options), refund);
  }
  /** In sale mode orders need an admitted `place`: keep the one this tells, and pass it on from then on. */
  waitingRoom(options) { return this.#json("GET", "/v1/waiting_room", options); }

  // Carts.
  createCart(cart = {}, options) { return this.#json("POST", "/v1/carts", options, cart); }
  getCart(id, options) { return this.#json("GET", path`/v1/carts/${id}`, options); }
  /** Quantity 0 removes the product. In a session the answer may have another id: go on with that one. */
  setCartItem(id, sku, quantity, options) {
    return this.#json("PUT", path`/v1/carts/${id}/items/${sku}`, options, { quantity });
  }
  /** What an order comes to now, to `shipping_address` where it is given; its total is the `expected_total_minor`. */
  quoteCart(id, quote = {}, options) {
    return this.#json("POST", path`/v1/carts/${id}/quote`, repeatable(options), quote);
  }
  /** May be repeated, which does not move the end. */
  reserveCart(id, options) { return this.#json("POST", path`/v1/carts/${id}/reservation`, repeatable(options)); }
  releaseCart(id, options) { return this.#json("DELETE", path`/v1/carts/${id}/reservation`, options); }
  checkout(id, checkout, options) { return this.#place(path`/v1/carts/${id}/checkout`, checkout, options); }

  // Catalog.
  listProducts(query, options) {
    const isByPrice = (query?.sort ?? "sku") !== "sku";
    const cursor = isByPrice ? (product) => `${product.price_minor}:${product.sku}` : (product) => product.sku;
    return this.#pages("/v1/products", query, options, cursor);
  }
  productFacets(query, options) { return this.#json("GET", "/v1/product_facets", { ...options, query }); }
  getProduct(sku, options) { return this.#json("GET", path`/v1/products/${sku}`, options); }
  putProduct(sku, product, options) { return this.#json("PUT", path`/v1/products/${sku}`, options, product); }
  async listCategories(options) { return (await this.#json("GET", "/v1/categories", options)).data; }
  getInventory(sku, options) { return this.#json("GET", path`/v1/inventory/${sku}`, options); }
  setInventory(sku, onHand, options) {
    return this.#json("PUT", path`/v1/inventory/${sku}`, options, { on_hand: onHand });
  }

  // Customers and their sessions.
  register(customer, options) { return this.#json("POST", "/v1/customers", withKey(options), customer); }
  verifyAddress(proof, options) { return this.#json("POST", "/v1/customers/verify", options, proof); }
  requestPasswordReset(email, options) {
    return this.#json("POST", "/v1/customers/password_reset", options, { email });
  }
  confirmPasswordReset(proof, options) {
    return this.#json("POST", "/v1/customers/password_reset/confirm", options, proof);
  }
  signIn(credentials, options) { return this.#json("POST", "/v1/sessions", options, credentials); }
  signOut(options) { return this.#json("DELETE", "/v1/sessions/current", options); }
  async listSessions(options) { return (await this.#json("GET", "/v1/sessions", options)).data; }
  endSession(id, options) { return this.#json("DELETE", path`/v1/sessions/${id}`, options); }
  endSessions(options) { return this.#json("DELETE", "/v1/sessions", options); }
  currentCustomer(options) { return this.#json("GET", "/v1/customers/current", options); }
  /** The customer's own cart; `merge` is the id of a cart, such as a guest's, whose items move into it, once. */
  openCart(merge, options) {
    return this.#json("POST", "/v1/customers/current/cart", repeatable(options), { cart: merge });
  }
  exportCustomer(options) { return this.#json("GET", "/v1/customers/current/export", options); }
  customerOrders(query, options) { return this.#pages("/v1/customers/current/orders", query, options); }
  /** With `erase_orders` the orders lose the customer's data, too; refused while one is pending or paid. */
  deleteCustomer(deletion, options) {
    return this.#json("DELETE", "/v1/customers/current", { ...options, isRepeatable: false }, deletion);
  }

  // Webhooks and events.
  createWebhookEndpoint(endpoint, options) { return this.#json("POST", "/v1/webhook_endpoints", options, endpoint); }
  listWebhookEndpoints(query, options) { return this.#pages("/v1/webhook_endpoints", query, options); }
  getWebhookEndpoint(id, options) { return this.#json("GET", path`/v1/webhook_endpoints/${id}`, options); }
  changeWebhookEndpoint(id, change, options) {
    return this.#json("PATCH", path`/v1/webhook_endpoints/${id}`, options, change);
  }
  deleteWebhookEndpoint(id, options) { return this.#json("DELETE", path`/v1/webhook_endpoints/${id}`, options); }
  rotateWebhookSecret(id, rotation = {}, options) {
    return this.#json("POST", path`/v1/webhook_endpoints/${id}/rotate_secret`, options, rotation);
  }
  listEvents(query, options) { return this.#pages("/v1/events", query, options); }
  resendEvent(id, options) { return this.#json("POST", path`/v1/events/${id}/resend`, options); }

  /** Events of an order, past ones first; reconnects where the stream ends or is cut, and never ends by itself. */
  async *orderEvents(id, { lastEventId, ...options } = {}) {
    for (let failures = 0; ; failures++) {
      const silence = new AbortController();
      let timer = setTimeout(() => silence.abort(), this.#settings.timeoutMs);
      try {
        const signal = AbortSignal.any([silence.signal, ...(options.signal ? [options.signal] : [])]);
        const headers = { accept: "text/event-stream", ...(lastEventId && { "last-event-id": String(lastEventId) }) };
        const response = await this.#open("GET", path`/v1/orders/${id}/events`, { ...options, headers, signal });
        const stay = () => { clearTimeout(timer); timer = setTimeout(() => silence.abort(), STREAM_SILENCE_MS); };
        for await (const event of readEvents(response.body, stay)) {
          [lastEventId, failures] = [event.sequence, 0];
          yield event;
        }
      } catch (error) {
        if (options.signal?.aborted) throw options.signal.reason;
        if (error instanceof ProblemError && !RETRIED_STATUSES.has(error.status)) throw error;
        if (failures >= this.#settings.retries) throw asError(error);
        await sleep(this.#delay(error, failures) ?? this.#settings.delayMaxMs, options.signal);
        continue;
      } finally {
        clearTimeout(timer);
        silence.abort();
      }
      await sleep(DELAY_MS, options.signal);
    }
  }

  async #place(to, body, options) {
    const { idempotencyKey, ...rest } = withKey(options);
    const { data, headers } = await this.#send("POST", to, { ...rest, idempotencyKey, body });
    const [orderToken, isReplay] = [headers.get("orderworks-order-token"), headers.has("idempotent-replayed")];
    return { order: data, orderToken, isReplay, idempotencyKey };
  }

  async #json(method, to, options, body) { return (await this.#send(method, to, { ...options, body })).data; }

  /** Items of a list, page by page. `cursor`: where a page goes on, of the last item before it. */
  async *#pages(to, query, options, cursor = ({ id }) => id) {
    for (let after; ; ) {
      const page = await this.#json("GET", to, { ...options, query: { limit: 100, ...query, starting_after: after } });
      yield* page.data;
      if (!page.has_more) return;
      after = cursor(page.data.at(-1));
    }
  }

  /** Sends a request until it is answered, refused, or out of attempts. */
  async #send(method, to, options = {}) {
    const [{ idempotencyKey, signal }, { timeoutMs, retries, proofBitsMax }] = [options, this.#settings];
    const isRepeatable = options.isRepeatable ?? (REPEATABLE_METHODS.has(method) || idempotencyKey !== undefined);
    for (let attempt = 0, proven = 0; ; ) {
      let error;
      try {
        const limit = AbortSignal.timeout(timeoutMs);
        const bounded = signal ? AbortSignal.any([signal, limit]) : limit;
        const response = await this.#open(method, to, { ...options, signal: bounded });
        const text = await response.text();
        return { data: text ? JSON.parse(text) : undefined, headers: response.headers };
      } catch (cause) {
        if (signal?.aborted) throw signal.reason;
        error = asError(cause, idempotencyKey);
      }
      if (idempotencyKey !== undefined && error.proofBits > proven && error.proofBits <= proofBitsMax) {
        proven = error.proofBits;
        options = { ...options, proof: await findProof(idempotencyKey, proven, signal) };
        continue;
      }
      // The deletion whose answer was lost.
      if (method === "DELETE" && attempt > 0 && error.status === 404) return { headers: new Headers() };
      const delay = mayRepeat(error, isRepeatable) && attempt < retries ? this.#delay(error, attempt) : undefined;
      if (delay === undefined) throw error;
      await sleep(delay, signal);
      attempt++;
    }
  }

  /** One attempt; a problem is thrown. */
  async #open(method, to, { query = {}, body, headers, signal, ...options }) {
    const { base, authorization, fetch } = this.#settings;
    const url = new URL(base + to);
    for (const [name, value] of Object.entries(query)) if (value !== undefined) url.searchParams.set(name, value);
    const sent = new Headers({ accept: "application/json", authorization, ...headers });
    if (body !== undefined) sent.set("content-type", "application/json");
    for (const [option, name] of FIELDS) if (options[option] !== undefined) sent.set(name, options[option]);
    const init = { method, headers: sent, body: JSON.stringify(body), signal };
    // A redirect would take the key elsewhere.
    const response = await fetch(url, { ...init, redirect: "error", credentials: "omit", cache: "no-store" });
    if (response.ok) return response;
    const problem = (await response.json().catch(() => null)) ?? {};
    const proofBits = Number(response.headers.get("orderworks-proof-bits")) || undefined;
    const asked = { retryAfter: retryAfter(response.headers), proofBits, idempotencyKey: options.idempotencyKey };
    throw new ProblemError(response.status, problem, asked);
  }

  /** Milliseconds to wait; undefined where the server asks for longer than this client waits. */
  #delay(error, attempt) {
    const asked = (error.retryAfter ?? 0) * 1000;
    // Half of the delay is random, so that many clients do not come back at once.
    const own = DELAY_MS * 2 ** attempt * (0.5 + Math.random() / 2);
    return asked > this.#settings.delayMaxMs ? undefined : Math.max(asked, Math.min(own, this.#settings.delayMaxMs));
  }
}

/** Verifies a webhook (Standard Webhooks) and returns its event. `body` is what arrived, not what was parsed. */
export async function verifyWebhook(body, headers, secrets, { nowMs = Date.now() } = {}) {
  const field = (name) => (typeof headers.get === "function" ? headers.get(name) : headers[name]) ?? "";
  const [id, timestamp] = [field("webhook-id"), field("webhook-timestamp")];
  if (!id || !/^\d{1,12}$/.test(timestamp)) throw new WebhookError("header fields are missing");
  const age = Math.abs(nowMs / 1000 - Number(timestamp));
  if (age > WEBHOOK_TOLERANCE_SECONDS) throw new WebhookError("the timestamp is too old or too new");
  const signed = await new Blob([`${id}.${timestamp}.`, body]).arrayBuffer();
  const signatures = field("webhook-signature").split(" ").filter((text) => text.startsWith("v1,"));
  for (const secret of [secrets].flat()) {
    const key = await crypto.subtle.importKey(
      "raw", fromBase64(secret.replace(/^whsec_/, "")), { name: "HMAC", hash: "SHA-256" }, false, ["verify"],
    );
    for (const signature of signatures) {
      // In constant time.
      if (await crypto.subtle.verify("HMAC", key, fromBase64(signature.slice(3)), signed)) {
        return JSON.parse(await new Blob([body]).text());
      }
    }
  }
  throw new WebhookError("no signature matches");
}

function fromBase64(text) {
  try {
    return Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
  } catch {
    return new Uint8Array(1);
  }
}

/** Fills a path; a value stays within its segment. */
function path(parts, ...values) {
  for (const value of values) if (/^\.{0,2}$/.test(value)) throw new OrderworksError("an id is empty or missing");
  return String.raw({ raw: parts }, ...values.map(encodeURIComponent));
}

const repeatable = (options) => ({ ...options, isRepeatable: true });
const withKey = (options) => ({ ...options, idempotencyKey: options?.idempotencyKey ?? crypto.randomUUID() });

function asError(cause, idempotencyKey) {
  if (cause instanceof OrderworksError) return cause;
  return new ConnectionError(`no answer: ${cause?.message ?? cause}`, { idempotencyKey, cause });
}

/** Whether a repetition does no harm. A request that was answered 429 was not begun. */
function mayRepeat(error, isRepeatable) {
  if (error instanceof ConnectionError) return isRepeatable;
  if (error.status === 429) return true;
  // In flight under the same key, or a cart that others change.
  if (error.status === 409) return isRepeatable && error.retryAfter !== undefined;
  return isRepeatable && RETRIED_STATUSES.has(error.status);
}

/** Seconds, from a number or a date. */
function retryAfter(headers) {
  const text = headers.get("retry-after");
  if (text === null) return undefined;
  const seconds = /^\d+$/.test(text) ? Number(text) : (Date.parse(text) - Date.now()) / 1000;
  return Number.isNaN(seconds) ? undefined : Math.max(0, seconds);
}

function sleep(ms, signal) {
  return new Promise((resolve, reject) => {
    const end = () => { clearTimeout(timer); reject(signal.reason); };
    const timer = setTimeout(() => { signal?.removeEventListener("abort", end); resolve(); }, ms);
    if (signal?.aborted) end();
    else signal?.addEventListener("abort", end, { once: true });
  });
}

/** The events of a stream; `stay` is called with everything that arrives. */
async function* readEvents(body, stay) {
  const [reader, decoder] = [body.getReader(), new TextDecoder()];
  try {
    for (let rest = ""; ; ) {
      stay();
      const { done, value } = await reader.read();
      if (done) return;
      const blocks = (rest + decoder.decode(value, { stream: true })).split("\n\n");
      rest = blocks.pop();
      for (const block of blocks) {
        const data = block.split("\n").filter((line) => line.startsWith("data:"));
        if (data.length > 0) yield JSON.parse(data.map((line) => line.slice(5).trimStart()).join("\n"));
      }
    }
  } finally {
    await reader.cancel().catch(() => {});
  }
}
