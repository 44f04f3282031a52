// Types of the Orderworks client; field by field those of /openapi.json.

export type OrderStatus = "pending" | "paid" | "fulfilled" | "payment_failed" | "cancelled" | "refunded";
export type PaymentStatus = "created" | "processing" | "captured" | "declined" | "refunded" | "unknown";

export interface Person { email: string; name: string }
export interface Address {
  name: string; line1: string; line2?: string | null; city: string; postal_code: string;
  /** ISO 3166-1 alpha-2. */
  country: string;
}
export interface Item { sku: string; quantity: number }
export interface OrderCreate {
  customer: Person;
  /** ISO 4217. */
  currency: string;
  items: Item[];
  /** The payment provider's token, `pm_…`; never a card number. */
  payment_method: string;
  /** The total that the customer saw; another one is 409 `price_changed`. */
  expected_total_minor?: number;
  shipping_address?: Address;
  reference?: string;
}
/** Without `customer`: the one who is signed in. */
export type Checkout = Omit<OrderCreate, "customer" | "currency" | "items"> & { customer?: Person };
export interface OrderLine { sku: string; name: string; quantity: number; price_minor: number; total_minor: number }
export interface Adjustment { kind: "discount" | "shipping" | "tax"; label: string; amount_minor: number }
/** Amounts are in minor units. Personal data are null without proof of access. */
export interface Order {
  object: "order"; id: string; status: OrderStatus; status_reason: string | null; currency: string;
  total_minor: number; refunded_minor: number; items: OrderLine[]; adjustments?: Adjustment[]; customer: Person | null;
  payment: { id: string; status: PaymentStatus } | null; shipping_address: Address | null; reference: string | null;
  shipment: { id: string; shipped_at: string } | null; created_at: string; updated_at: string;
  estimated_fulfilment_at?: string;
}
export interface Placed {
  order: Order;
  /** Opens the whole order; shown this once. Null where the order is gone. */
  orderToken: string | null;
  /** Whether the order had been placed before, under the same key. */
  isReplay: boolean;
  idempotencyKey: string;
}
export interface WaitingRoom {
  object: "waiting_room"; status: "open" | "waiting" | "admitted";
  /** To be passed with the next calls; null while none is needed. */
  place: string | null;
  ahead: number | null; opens_at: string | null; estimated_admission_at: string | null; admitted_until: string | null;
  ask_again_seconds: number | null;
}
export interface Refund {
  object: "refund"; id: string; order: string; amount_minor: number; status: "requested" | "done";
}
export interface Payment {
  object: "payment"; id: string; order: string; status: PaymentStatus; amount_minor: number; currency: string;
  created_at: string;
}
export type TimelineEntry = { at: string; type: string } & Record<string, unknown>;
export interface Timeline { object: "list"; data: TimelineEntry[]; has_more: false; incomplete: string[] }
export interface OrderworksEvent<Data = Record<string, unknown>> {
  object?: "event"; id: string; type: string; timestamp: string;
  /** Counts from 1 without gaps per order. */
  sequence: number; order?: string | null; data: Data;
}
export interface CartItem {
  sku: string; name: string | null; quantity: number; price_minor: number | null; line_total_minor: number | null;
  available: number;
}
export interface Cart {
  object: "cart"; id: string; status: "open" | "closed"; currency: string | null; items: CartItem[];
  total_minor: number; customer: string | null; order: string | null; reserved_until: string | null; expires_at: string;
}
export interface Quote {
  object: "quote"; currency: string; subtotal_minor: number; adjustments: Adjustment[]; total_minor: number;
}
export interface Product {
  object: "product"; sku: string; name: string; description: string | null; category: string; price_minor: number;
  currency: string; available: number; updated_at: string;
}
export interface ProductPut {
  sku?: string; name: string; description?: string; category: string; price_minor: number; currency: string;
  low_stock_at?: number;
}
export interface Category { object: "category"; slug: string; products: number }
/** Prices need `currency`. */
export interface ProductFilter {
  category?: string; q?: string; currency?: string; price_min?: number; price_max?: number; in_stock?: boolean;
}
/** Counts; those of the first 10,000 products only where `is_complete` is false. */
export interface ProductFacets {
  object: "product_facets"; products: number; in_stock: number; categories: Category[];
  prices: { currency: string; products: number; lowest_minor: number; highest_minor: number }[]; is_complete: boolean;
}
export interface Inventory {
  object: "inventory"; sku: string; on_hand: number; reserved: number; available: number; low_stock_at: number;
  updated_at: string;
}
export interface Customer { object: "customer"; id: string; email: string; name: string; created_at: string }
export interface Requested { object: "registration" | "password_reset"; status: "verification_sent" }
/** `token` is shown this once; send it as the option `session`. */
export interface Session { object: "session"; id: string; token: string; customer: Customer; expires_at: string }
export interface LiveSession {
  object: "session"; id: string; current: boolean; opened_at: string; used_at: string; expires_at: string;
}
/** Older orders than these are those of `customerOrders`. */
export interface CustomerExport {
  object: "customer_export"; customer: Customer; sessions: LiveSession[]; orders: Order[]; has_more_orders: boolean;
}
export interface WebhookEndpoint {
  object: "webhook_endpoint"; id: string; url: string; events: string[]; enabled: boolean;
  disabled: { at: string; reason: "failing" | "gone" } | null; previous_secret_until: string | null;
  created_at: string;
}
export interface WebhookEndpointCreate { url: string; events: string[]; enabled?: boolean }
export interface EventResend { object: "event_resend"; event: string; endpoints: string[]; status: "requested" }

export interface CallOptions {
  /** `ows_…` of the customer who is signed in. */
  session?: string;
  /** `owt_…` of the order. */
  orderToken?: string;
  /** `owq_…` of the waiting room. */
  place?: string;
  /** Of a storefront: an id of 16 to 64 of `A-Za-z0-9-_` that it draws once and keeps; orders count by it. */
  device?: string;
  signal?: AbortSignal;
}
/** Without a key a fresh UUID is used; errors carry it, too. */
export interface KeyedOptions extends CallOptions { idempotencyKey?: string }
/** `limit` is the size of a page; all pages are read. */
export interface PageQuery { limit?: number }

export interface OrderworksSettings {
  /** https, but for this machine. */
  baseUrl: string;
  /** Publishable (`owk_pub_…`) in browsers, secret (`owk_sec_…`) on servers only. */
  apiKey: string;
  /** Of one attempt; default 10,000. */
  timeoutMs?: number;
  /** Attempts after the first one; default 4. */
  retries?: number;
  /** Longest delay between two attempts; default 30,000. */
  delayMaxMs?: number;
  /** Work for an order at most, each bit more doubles it; default 24. 0: an error tells of it, as beyond this. */
  proofBitsMax?: number;
  fetch?: typeof globalThis.fetch;
}

export class OrderworksError extends Error { idempotencyKey?: string }
export class ConnectionError extends OrderworksError {}
export class WebhookError extends OrderworksError {}
export class ProblemError extends OrderworksError {
  status: number;
  /** Stable, such as `out_of_stock`. */
  code: string;
  title: string;
  detail: string;
  requestId?: string;
  errors: { pointer: string; code: string; detail: string }[];
  /** What the order comes to now, of `price_changed`. */
  totalMinor?: number;
  /** Seconds. */
  retryAfter?: number;
  /** Zero bits that a proof of work has to have, of `proof_of_work_required`. */
  proofBits?: number;
}

export class Orderworks {
  constructor(settings: OrderworksSettings);

  placeOrder(order: OrderCreate, options?: KeyedOptions): Promise<Placed>;
  getOrder(id: string, options?: CallOptions): Promise<Order>;
  listOrders(query?: PageQuery & { status?: OrderStatus }, options?: CallOptions): AsyncGenerator<Order>;
  orderTimeline(id: string, options?: CallOptions): Promise<Timeline>;
  /** Never ends by itself: leave the loop at the event you wait for, or abort `signal`. */
  orderEvents(id: string, options?: CallOptions & { lastEventId?: number }): AsyncGenerator<OrderworksEvent>;
  cancelOrder(id: string, cancel?: { reason?: string }, options?: CallOptions): Promise<Order>;
  refundOrder(
    id: string, refund?: { amount_minor?: number; reason?: string }, options?: KeyedOptions,
  ): Promise<Refund>;
  revokeOrderToken(id: string, options?: CallOptions): Promise<void>;
  listPayments(query?: PageQuery & { day?: string }, options?: CallOptions): AsyncGenerator<Payment>;
  waitingRoom(options?: CallOptions): Promise<WaitingRoom>;

  createCart(cart?: { currency?: string; items?: Item[] }, options?: CallOptions): Promise<Cart>;
  getCart(id: string, options?: CallOptions): Promise<Cart>;
  setCartItem(id: string, sku: string, quantity: number, options?: CallOptions): Promise<Cart>;
  quoteCart(id: string, quote?: { shipping_address?: Address }, options?: CallOptions): Promise<Quote>;
  /** All items, or none, until `reserved_until`, for shops that reserve. */
  reserveCart(id: string, options?: CallOptions): Promise<Cart>;
  releaseCart(id: string, options?: CallOptions): Promise<Cart>;
  checkout(id: string, checkout: Checkout, options?: KeyedOptions): Promise<Placed>;

  listProducts(
    query?: PageQuery & ProductFilter & { sort?: "sku" | "price" | "-price" }, options?: CallOptions,
  ): AsyncGenerator<Product>;
  productFacets(query?: ProductFilter, options?: CallOptions): Promise<ProductFacets>;
  getProduct(sku: string, options?: CallOptions): Promise<Product>;
  putProduct(sku: string, product: ProductPut, options?: CallOptions): Promise<Product>;
  listCategories(options?: CallOptions): Promise<Category[]>;
  getInventory(sku: string, options?: CallOptions): Promise<Inventory>;
  setInventory(sku: string, onHand: number, options?: CallOptions): Promise<Inventory>;

  register(customer: Person & { password: string }, options?: KeyedOptions): Promise<Requested>;
  verifyAddress(proof: { token: string; password: string }, options?: CallOptions): Promise<Customer>;
  requestPasswordReset(email: string, options?: CallOptions): Promise<Requested>;
  confirmPasswordReset(proof: { token: string; password: string }, options?: CallOptions): Promise<void>;
  signIn(credentials: { email: string; password: string }, options?: CallOptions): Promise<Session>;
  signOut(options?: CallOptions): Promise<void>;
  listSessions(options?: CallOptions): Promise<LiveSession[]>;
  endSession(id: string, options?: CallOptions): Promise<void>;
  endSessions(options?: CallOptions): Promise<void>;
  currentCustomer(options?: CallOptions): Promise<Customer>;
  openCart(merge?: string, options?: CallOptions): Promise<Cart>;
  exportCustomer(options?: CallOptions): Promise<CustomerExport>;
  customerOrders(query?: PageQuery & { status?: OrderStatus }, options?: CallOptions): AsyncGenerator<Order>;
  deleteCustomer(deletion: { password: string; erase_orders?: boolean }, options?: CallOptions): Promise<void>;

  createWebhookEndpoint(
    endpoint: WebhookEndpointCreate, options?: CallOptions,
  ): Promise<WebhookEndpoint & { secret: string }>;
  listWebhookEndpoints(query?: PageQuery, options?: CallOptions): AsyncGenerator<WebhookEndpoint>;
  getWebhookEndpoint(id: string, options?: CallOptions): Promise<WebhookEndpoint>;
  changeWebhookEndpoint(
    id: string, change: Partial<WebhookEndpointCreate>, options?: CallOptions,
  ): Promise<WebhookEndpoint>;
  deleteWebhookEndpoint(id: string, options?: CallOptions): Promise<void>;
  rotateWebhookSecret(
    id: string, rotation?: { overlap_hours?: number }, options?: CallOptions,
  ): Promise<WebhookEndpoint & { secret: string }>;
  listEvents(query?: PageQuery, options?: CallOptions): AsyncGenerator<OrderworksEvent>;
  resendEvent(id: string, options?: CallOptions): Promise<EventResend>;
}

/** The event of a webhook; throws `WebhookError`. `secrets`: several while one is being replaced. */
export function verifyWebhook(
  body: string | Uint8Array | ArrayBuffer,
  headers: Headers | Record<string, string | string[] | undefined>,
  secrets: string | string[],
  options?: { nowMs?: number },
): Promise<OrderworksEvent>;
