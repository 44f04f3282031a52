// What the declarations of the client in JavaScript must accept and refuse; compiled, never run.
import { Orderworks, ProblemError, verifyWebhook, type OrderCreate, type OrderStatus } from "orderworks";

const shop = new Orderworks({ baseUrl: "https://shop.example", apiKey: "owk_pub_…" });
const order: OrderCreate = {
  customer: { email: "ada@example.com", name: "Ada" }, currency: "EUR", items: [{ sku: "mug", quantity: 1 }],
  payment_method: "pm_card_visa",
};
const placed = await shop.placeOrder(order, { idempotencyKey: "1" });
const status: OrderStatus = placed.order.status;
for await (const paid of shop.listOrders({ status: "paid" })) console.log(paid.total_minor.toFixed(), status);
try {
  await shop.getOrder("x");
} catch (error) {
  if (error instanceof ProblemError) console.log(error.code, error.errors[0]?.pointer, error.idempotencyKey);
  if (error instanceof ProblemError && error.proofBits !== undefined) console.log(error.proofBits.toFixed());
}
await shop.checkout("x", { payment_method: "pm_card_visa" }, { device: crypto.randomUUID() });
await shop.deleteCustomer({ password: "…", erase_orders: true }, { session: "ows_…" });
await verifyWebhook(new Uint8Array(), new Headers(), ["whsec_…"]);
// @ts-expect-error a quantity is a number
await shop.setCartItem("x", "y", "2");
// @ts-expect-error an order has items
await shop.placeOrder({ ...order, items: undefined });
// @ts-expect-error there is no such state
shop.listOrders({ status: "lost" });
