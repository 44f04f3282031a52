// Client of the Orderworks order API, for browsers and servers (Node.js 20.3 or newer, Deno, Bun); fetch and WebCrypto
// only.
//
// Guarantees: a request is repeated only where that does no harm: reads, replacements, deletions, and what carries an
// idempotency key, which stays the same over all repetitions. So an order is one order, however often its answer was
// lost. Errors carry the key: a later call with it goes on where this one gave up. README.md has examples.

const RETRIED_STATUSES = new Set([408, 429, 500, 502, 503, 504]);
const REPEATABLE_METHODS = new Set(["GET", "PUT", "DELETE"]);
/** First delay of the backoff, in milliseconds; doubled with each attempt. */
const DELAY_MS = 200;
/** A stream has a comment every 15 seconds; one that is silent for longer than this has been cut. */
const STREAM_SILENCE_MS = 40_000;
/** Age of a webhook in seconds at most; Standard Webhooks' own. */
const WEBHOOK_TOLERANCE_SECONDS = 300;
const LOOPBACK = /^(localhost|127(\.\d+){3}|\[::1\])$/;

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
  constructor(status, problem, { retryAfter, idempotencyKey } = {}) {
    super(`${status} ${problem.code ?? `http_${status}`}: ${problem.detail ?? "no details"}`, { idempotencyKey });
    this.status = status;
    this.code = problem.code ?? `http_${status}`;
    this.title = problem.title ?? "";
    this.detail = problem.detail ?? "";
    this.requestId = problem.request_id;
    this.errors = problem.errors ?? [];
    this.totalMinor = problem.total_minor;
    this.retryAfter = retryAfter;
  }
}

/** A webhook that was not signed with the secret, or too long ago. */
export class WebhookError extends OrderworksError {}

export class Orderworks {
  #base;
  #apiKey;
  #timeoutMs;
  #retries;
  #delayMaxMs;
  #fetch;

  constructor({ baseUrl, apiKey, timeoutMs = 10_000, retries = 4, delayMaxMs = 30_000, fetch = globalThis.fetch }) {
    const base = new URL(baseUrl);
    if (base.protocol !== "https:" && !(base.protocol === "http:" && LOOPBACK.test(base.hostname))) {
      throw new OrderworksError("baseUrl must be https, but for this machine: the key would be readable on its way");
    }
    this.#base = base.href.replace(/\/+$/, "");
    this.#apiKey = apiKey;
    this.#timeoutMs = timeoutMs;
    this.#retries = retries;
    this.#delayMaxMs = delayMaxMs;
    // Browsers want their own fetch called on the window.
    this.#fetch = (...request) => fetch(...request);
  }

  // Orders. `options` of all calls: session, orderToken, place, signal; of some: idempotencyKey.
  placeOrder(order, options) { return this.#place("/v1/orders", order, options); }
  getOrder(id, options) { return this.#json("GET", path`/v1/orders/${id}`, options); }
  listOrders(query, options) { return this.#pages("/v1/orders", query, options); }
  orderTimeline(id, options) { return this.#json("GET", path`/v1/orders/${id}/timeline`, options); }
  revokeOrderToken(id, options) { return this.#json("DELETE", path`/v1/orders/${id}/token`, options); }
  listPayments(query, options) { return this.#pages("/v1/payments", query, options); }
  /** May be repeated: an order is cancelled once. */
  cancelOrder(id, cancel, options) {
    return this.#json("POST", path`/v1/orders/${id}/cancel`, { isRepeatable: true, ...options, body: cancel ?? {} });
  }
  refundOrder(id, refund, options) {
    return this.#json("POST", path`/v1/orders/${id}/refund`, { ...withKey(options), body: refund ?? {} });
  }

  /** In sale mode orders need an admitted `place`: keep the one this tells, and pass it on from then on. */
  waitingRoom(options) { return this.#json("GET", "/v1/waiting_room", options); }

  // Carts.
  createCart(cart, options) { return this.#json("POST", "/v1/carts", { ...options, body: cart ?? {} }); }
  getCart(id, options) { return this.#json("GET", path`/v1/carts/${id}`, options); }
  /** Quantity 0 removes the product. In a session the answer may have another id: go on with that one. */
  setCartItem(id, sku, quantity, options) {
    return this.#json("PUT", path`/v1/carts/${id}/items/${sku}`, { ...options, body: { quantity } });
  }
  /** What an order comes to now, to `shipping_address` where it is given; its total is the `expected_total_minor`. */
  quoteCart(id, quote, options) {
    return this.#json("POST", path`/v1/carts/${id}/quote`, { isRepeatable: true, ...options, body: quote ?? {} });
  }
  /** May be repeated, which does not move the end. */
  reserveCart(id, options) {
    return this.#json("POST", path`/v1/carts/${id}/reservation`, { isRepeatable: true, ...options });
  }
  releaseCart(id, options) { return this.#json("DELETE", path`/v1/carts/${id}/reservation`, options); }
  checkout(id, checkout, options) { return this.#place(path`/v1/carts/${id}/checkout`, checkout, options); }

  // Catalog.
  listProducts(query, options) { return this.#pages("/v1/products", query, options, "sku"); }
  productFacets(query, options) { return this.#json("GET", "/v1/product_facets", { ...options, query }); }
  getProduct(sku, options) { return this.#json("GET", path`/v1/products/${sku}`, options); }
  putProduct(sku, product, options) {
    return this.#json("PUT", path`/v1/products/${sku}`, { ...options, body: product });
  }
  async listCategories(options) { return (await this.#json("GET", "/v1/categories", options)).data; }
  getInventory(sku, options) { return this.#json("GET", path`/v1/inventory/${sku}`, options); }
  setInventory(sku, onHand, options) {
    return this.#json("PUT", path`/v1/inventory/${sku}`, { ...options, body: { on_hand: onHand } });
  }

  // Customers and their sessions.
  register(customer, options) { return this.#json("POST", "/v1/customers", { ...withKey(options), body: customer }); }
  verifyAddress(proof, options) { return this.#json("POST", "/v1/customers/verify", { ...options, body: proof }); }
  requestPasswordReset(email, options) {
    return this.#json("POST", "/v1/customers/password_reset", { ...options, body: { email } });
  }
  confirmPasswordReset(proof, options) {
    return this.#json("POST", "/v1/customers/password_reset/confirm", { ...options, body: proof });
  }
  signIn(credentials, options) { return this.#json("POST", "/v1/sessions", { ...options, body: credentials }); }
  signOut(options) { return this.#json("DELETE", "/v1/sessions/current", options); }
  async listSessions(options) { return (await this.#json("GET", "/v1/sessions", options)).data; }
  endSession(id, options) { return this.#json("DELETE", path`/v1/sessions/${id}`, options); }
  endSessions(options) { return this.#json("DELETE", "/v1/sessions", options); }
  currentCustomer(options) { return this.#json("GET", "/v1/customers/current", options); }
  /** The customer's own cart; `merge` is the id of a cart, such as a guest's, whose items move into it, once. */
  openCart(merge, options) {
    const body = merge === undefined ? {} : { cart: merge };
    return this.#json("POST", "/v1/customers/current/cart", { isRepeatable: true, ...options, body });
  }
  exportCustomer(options) { return this.#json("GET", "/v1/customers/current/export", options); }
  customerOrders(query, options) { return this.#pages("/v1/customers/current/orders", query, options); }
  deleteCustomer(password, options) {
    return this.#json("DELETE", "/v1/customers/current", { isRepeatable: false, ...options, body: { password } });
  }

  // Webhooks and events.
  createWebhookEndpoint(endpoint, options) {
    return this.#json("POST", "/v1/webhook_endpoints", { ...options, body: endpoint });
  }
  listWebhookEndpoints(query, options) { return this.#pages("/v1/webhook_endpoints", query, options); }
  getWebhookEndpoint(id, options) { return this.#json("GET", path`/v1/webhook_endpoints/${id}`, options); }
  changeWebhookEndpoint(id, change, options) {
    return this.#json("PATCH", path`/v1/webhook_endpoints/${id}`, { ...options, body: change });
  }
  deleteWebhookEndpoint(id, options) { return this.#json("DELETE", path`/v1/webhook_endpoints/${id}`, options); }
  rotateWebhookSecret(id, rotation, options) {
    return this.#json("POST", path`/v1/webhook_endpoints/${id}/rotate_secret`, { ...options, body: rotation ?? {} });
  }
  listEvents(query, options) { return this.#pages("/v1/events", query, options); }
  resendEvent(id, options) { return this.#json("POST", path`/v1/events/${id}/resend`, options); }

  /** Events of an order, past ones first; reconnects where the stream ends or is cut, and never ends by itself. */
  async *orderEvents(id, { lastEventId, ...options } = {}) {
    for (let failures = 0; ; failures++) {
      const silence = new AbortController();
      let timer = setTimeout(() => silence.abort(), this.#timeoutMs);
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
        if (failures >= this.#retries) throw asError(error);
        await sleep(this.#delay(error, failures) ?? this.#delayMaxMs, options.signal);
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

  async #json(method, to, options) { return (await this.#send(method, to, options)).data; }

  async *#pages(to, query, options, cursor = "id") {
    for (let last; ; ) {
      const page = await this.#json("GET", to, { ...options, query: { limit: 100, ...query, starting_after: last } });
      yield* page.data;
      if (!page.has_more) return;
      last = page.data.at(-1)[cursor];
    }
  }

  /** Sends a request until it is answered, refused, or out of attempts. */
  async #send(method, to, options = {}) {
    const { idempotencyKey, signal } = options;
    const isRepeatable =
      options.isRepeatable ?? (REPEATABLE_METHODS.has(method) || idempotencyKey !== undefined);
    for (let attempt = 0; ; attempt++) {
      let error;
      try {
        const limit = AbortSignal.timeout(this.#timeoutMs);
        const bounded = signal ? AbortSignal.any([signal, limit]) : limit;
        const response = await this.#open(method, to, { ...options, signal: bounded });
        const text = await response.text();
        return { data: text ? JSON.parse(text) : undefined, headers: response.headers };
      } catch (cause) {
        if (signal?.aborted) throw signal.reason;
        error = asError(cause, idempotencyKey);
      }
      // The deletion whose answer was lost.
      if (method === "DELETE" && attempt > 0 && error.status === 404) return { headers: new Headers() };
      const delay = mayRepeat(error, isRepeatable) && attempt < this.#retries ? this.#delay(error, attempt) : undefined;
      if (delay === undefined) throw error;
      await sleep(delay, signal);
    }
  }

  /** One attempt; a problem is thrown. */
  async #open(method, to, { query = {}, body, headers = {}, idempotencyKey, session, orderToken, place, signal }) {
    const url = new URL(this.#base + to);
    for (const [name, value] of Object.entries(query)) if (value !== undefined) url.searchParams.set(name, value);
    const sent = new Headers({ accept: "application/json", authorization: `Bearer ${this.#apiKey}`, ...headers });
    if (body !== undefined) sent.set("content-type", "application/json");
    if (idempotencyKey !== undefined) sent.set("idempotency-key", idempotencyKey);
    if (session !== undefined) sent.set("orderworks-session", session);
    if (orderToken !== undefined) sent.set("orderworks-order-token", orderToken);
    if (place !== undefined) sent.set("orderworks-place", place);
    const init = { method, headers: sent, body: body === undefined ? undefined : JSON.stringify(body), signal };
    // A redirect would take the key elsewhere.
    const response = await this.#fetch(url, { ...init, redirect: "error", credentials: "omit", cache: "no-store" });
    if (response.ok) return response;
    const problem = await response.json().catch(() => ({}));
    throw new ProblemError(response.status, problem, { retryAfter: retryAfter(response.headers), idempotencyKey });
  }

  /** Milliseconds to wait; undefined where the server asks for longer than this client waits. */
  #delay(error, attempt) {
    const asked = (error.retryAfter ?? 0) * 1000;
    // Half of the delay is random, so that many clients do not come back at once.
    const own = DELAY_MS * 2 ** attempt * (0.5 + Math.random() / 2);
    return asked > this.#delayMaxMs ? undefined : Math.max(asked, Math.min(own, this.#delayMaxMs));
  }
}

/** Verifies a webhook (Standard Webhooks) and returns its event. `body` is what arrived, not what was parsed. */
export async function verifyWebhook(body, headers, secrets, { nowMs = Date.now() } = {}) {
  const field = (name) => (typeof headers.get === "function" ? headers.get(name) : headers[name]) ?? "";
  const [id, timestamp] = [field("webhook-id"), field("webhook-timestamp")];
  if (!id || !/^\d{1,12}$/.test(timestamp)) throw new WebhookError("header fields are missing");
  const age = Math.abs(nowMs / 1000 - Number(timestamp));
  if (age > WEBHOOK_TOLERANCE_SECONDS) throw new WebhookError("the timestamp is too old or too new");
  const bytes = typeof body === "string" ? new TextEncoder().encode(body) : new Uint8Array(body);
  const head = new TextEncoder().encode(`${id}.${timestamp}.`);
  const signed = new Uint8Array(head.length + bytes.length);
  signed.set(head);
  signed.set(bytes, head.length);
  const signatures = field("webhook-signature").split(" ").filter((text) => text.startsWith("v1,"));
  for (const secret of [secrets].flat()) {
    const key = await crypto.subtle.importKey(
      "raw", fromBase64(secret.replace(/^whsec_/, "")), { name: "HMAC", hash: "SHA-256" }, false, ["verify"],
    );
    for (const signature of signatures) {
      // In constant time.
      if (await crypto.subtle.verify("HMAC", key, fromBase64(signature.slice(3)), signed)) {
        return JSON.parse(new TextDecoder().decode(bytes));
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
