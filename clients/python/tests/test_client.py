"""The client against a real server behind a proxy that loses answers; see ops/clients/run."""

import base64
import contextlib
import email
import email.policy
import hashlib
import hmac
import itertools
import json
import os
import pathlib
import re
import time
import unittest
import urllib.request
import uuid

from orderworks import ConnectionFailed, Orderworks, Problem, WebhookRefused, verify_webhook
from orderworks._proof import find_proof

PROXY = os.environ["ORDERWORKS_PROXY"]
PUB, SEC = os.environ["ORDERWORKS_PUB"], os.environ["ORDERWORKS_SEC"]
MAILS = pathlib.Path(os.environ["ORDERWORKS_MAILS"])
# A shop that suspects card testing: an order of a guest takes a proof of work.
ALARMED, ALARMED_PUB = os.environ["ORDERWORKS_ALARMED_PROXY"], os.environ["ORDERWORKS_ALARMED_PUB"]
# A busy machine may take long; only what a test slows down is to time out.
PATIENCE = 60.0


def control(path, body=None, proxy=PROXY):
    data = None if body is None else json.dumps(body).encode()
    with urllib.request.urlopen(urllib.request.Request(proxy + path, data=data), timeout=PATIENCE) as answer:
        return json.load(answer)


def order(reference):
    return {
        "customer": {"email": "ada@example.com", "name": "Ada Lovelace"}, "currency": "EUR",
        "items": [{"sku": "CUP-ENAMEL", "quantity": 1}], "payment_method": "pm_card_visa", "reference": reference,
    }


def mailed_token(address):
    """The token that was mailed to an address."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        for path in MAILS.glob("*.eml"):
            message = email.message_from_bytes(path.read_bytes(), policy=email.policy.default)
            if address in message["to"]:
                return re.search(r"owv_[\w-]{43,}", message.get_body(("plain",)).get_content())[0]
        time.sleep(0.05)
    raise AssertionError(f"no mail to {address}")


class Faults(unittest.TestCase):
    def setUp(self):
        control("/_faults", [])
        control("/_log")
        self.shop, self.back = Orderworks(PROXY, PUB, timeout=PATIENCE), Orderworks(PROXY, SEC, timeout=PATIENCE)
        self.reference = f"py-{uuid.uuid4()}"

    def tearDown(self):
        self.shop.close()
        self.back.close()
        control("/_faults", [])

    def assert_one_order(self):
        found = [order for order in self.back.list_orders() if order["reference"] == self.reference]
        self.assertEqual(len(found), 1)

    def requests(self):
        return control("/_log")

    def test_an_order_whose_answers_are_lost_is_one_order(self):
        for faults in (["cut", "cut"], ["half"], ["cut", "half", [503, "0"]]):
            with self.subTest(faults=faults):
                self.reference = f"py-{uuid.uuid4()}"
                control("/_faults", faults)
                placed = self.shop.place_order(order(self.reference))
                self.assertTrue(placed.is_replay)
                log = self.requests()
                self.assertEqual(len(log), len(faults) + 1)
                self.assertEqual({key for _, _, key, _ in log}, {placed.idempotency_key})
                whole = self.shop.get_order(placed.order["id"], order_token=placed.order_token)
                self.assertEqual(whole["reference"], self.reference)
                self.assert_one_order()
                self.requests()

    def test_a_slow_answer_is_asked_for_again(self):
        control("/_faults", ["slow"])
        with contextlib.closing(Orderworks(PROXY, PUB, timeout=2.0, retries=30)) as hasty:
            placed = hasty.place_order(order(self.reference))
        self.assertTrue(placed.order["id"].startswith("ord_"))
        self.assertGreaterEqual(len(self.requests()), 2)
        self.assert_one_order()

    def test_a_later_call_goes_on_with_the_key_of_the_error(self):
        control("/_faults", ["cut", "cut"])
        brief = Orderworks(PROXY, PUB, timeout=PATIENCE, retries=1)
        with contextlib.closing(brief), self.assertRaises(ConnectionFailed) as lost:
            brief.place_order(order(self.reference))
        key = lost.exception.idempotency_key
        self.assertEqual([sent for _, _, sent, _ in self.requests()], [key, key])
        placed = self.shop.place_order(order(self.reference), idempotency_key=key)
        self.assertTrue(placed.is_replay)
        self.assert_one_order()

    def test_a_refund_and_a_checkout_are_one(self):
        cart = self.shop.create_cart(items=[{"sku": "CUP-ENAMEL", "quantity": 2}])
        control("/_faults", ["cut"])
        customer = {"email": "ada@example.com", "name": "Ada"}
        checkout = {"customer": customer, "payment_method": "pm_card_visa", "reference": self.reference}
        placed = self.shop.checkout(cart["id"], checkout)
        self.assertTrue(placed.is_replay)
        self.assert_one_order()
        for event in self.shop.order_events(placed.order["id"], order_token=placed.order_token):
            if event["type"] == "order.paid":
                break
        control("/_faults", ["cut"])
        refund = self.back.refund_order(placed.order["id"], amount_minor=100)
        entries = self.back.order_timeline(placed.order["id"])["data"]
        refunds = [entry for entry in entries if entry["type"] == "refund"]
        self.assertLessEqual(len(refunds), 1)
        self.assertEqual(refund["amount_minor"], 100)

    def test_what_must_not_be_repeated_is_sent_once(self):
        control("/_faults", ["cut"])
        with self.assertRaises(ConnectionFailed):
            self.shop.create_cart()
        self.assertEqual(len(self.requests()), 1)
        control("/_faults", [[503, "0"]])
        with self.assertRaises(Problem):
            self.shop.create_cart()
        self.assertEqual(len(self.requests()), 1)

    def test_retry_after_is_respected(self):
        control("/_faults", [[429, "1"]])
        began = time.monotonic()
        self.assertEqual(self.shop.create_cart()["status"], "open")
        self.assertGreaterEqual(time.monotonic() - began, 1)
        control("/_faults", [[503, "3600"]])
        with self.assertRaises(Problem) as away:
            self.shop.get_product("CUP-ENAMEL")
        self.assertEqual((away.exception.status, away.exception.retry_after), (503, 3600))

    def test_a_deletion_whose_answer_was_lost_is_done(self):
        endpoint = self.back.create_webhook_endpoint("http://127.0.0.1:9/", ["order.paid"])
        control("/_faults", ["cut"])
        self.back.delete_webhook_endpoint(endpoint["id"])
        with self.assertRaises(Problem) as gone:
            self.back.delete_webhook_endpoint(endpoint["id"])
        self.assertEqual(gone.exception.code, "not_found")

    def test_problems_are_typed(self):
        bad = {**order(self.reference), "items": [{"sku": "no-such", "quantity": 1}]}
        with self.assertRaises(Problem) as refused:
            self.shop.place_order(bad)
        problem = refused.exception
        self.assertEqual((problem.status, problem.code), (422, "unknown_sku"))
        self.assertEqual(problem.errors[0]["pointer"], "/items/0/sku")
        self.assertIsNotNone(problem.idempotency_key)
        self.assertTrue(problem.request_id)

    def test_a_connection_is_used_again(self):
        for _ in range(3):
            self.assertEqual(self.shop.get_product("CUP-ENAMEL")["sku"], "CUP-ENAMEL")
        self.assertEqual(len(self.requests()), 3)

    def test_all_pages_are_read(self):
        skus = [product["sku"] for product in self.shop.list_products(limit=7)]
        self.assertEqual(len(skus), len(set(skus)))
        self.assertGreaterEqual(len(skus), 24)
        self.assertEqual(len(self.requests()), -(-len(skus) // 7))

    def test_lists_by_price_are_read_page_by_page(self):
        letters, category = {"A": 100, "B": 100, "C": 200}, self.reference
        for letter, price in letters.items():
            product = {"name": "Page", "category": category, "price_minor": price, "currency": "EUR"}
            self.back.put_product(f"{category}-{letter}", product)
        for sort, wanted in (("price", "ABC"), ("-price", "CBA"), ("sku", "ABC")):
            found = self.shop.list_products(category=category, currency="EUR", sort=sort, limit=1)
            self.assertEqual([product["sku"] for product in found], [f"{category}-{letter}" for letter in wanted], sort)

    def test_every_list_of_a_merchant_is_read_page_by_page(self):
        made = []
        for _ in range(3):
            placed = self.shop.place_order(order(self.reference))
            self.wait_until("order.fulfilled", placed.order["id"], order_token=placed.order_token)
            made.append(self.back.create_webhook_endpoint("http://127.0.0.1:9/", ["order.refunded"]))
        for name in ("list_orders", "list_payments", "list_events", "list_webhook_endpoints"):
            self.requests()
            found = itertools.islice(getattr(self.back, name)(limit=1), 3)
            self.assertEqual(len({item["id"] for item in found}), 3, name)
            self.assertEqual(len(self.requests()), 3, name)
        for endpoint in made:
            self.back.delete_webhook_endpoint(endpoint["id"])

    def test_an_account_is_deleted_with_what_its_orders_tell(self):
        address, password = f"{self.reference}@example.com", "a long passphrase of this test"
        self.shop.register(address, "Ada Lovelace", password)
        self.shop.verify_address(mailed_token(address), password)
        session = self.shop.sign_in(address, password)["token"]
        placed = []
        for _ in range(2):
            placed.append(self.shop.place_order(order(self.reference), session=session).order["id"])
            self.wait_until("order.fulfilled", placed[-1], session=session)
        self.assertEqual([found["id"] for found in self.shop.customer_orders(session, limit=1)], placed[::-1])
        self.assertEqual(self.back.get_order(placed[0])["customer"]["name"], "Ada Lovelace")
        self.shop.delete_customer(session, password, erase_orders=True)
        self.assertEqual([self.back.get_order(order_id)["customer"] for order_id in placed], [None, None])

    def wait_until(self, kind, order_id, **access):
        for event in self.shop.order_events(order_id, **access):
            if event["type"] == kind:
                return

    def test_events_go_on_where_the_stream_was_cut(self):
        placed = self.shop.place_order(order(self.reference))
        control("/_faults", ["events", "events"])
        sequences = []
        for event in self.shop.order_events(placed.order["id"], order_token=placed.order_token):
            sequences.append(event["sequence"])
            if event["type"] == "order.fulfilled":
                break
        self.assertEqual(sequences, [1, 2, 3, 4])

    def test_keys_are_sent_over_https_only(self):
        with self.assertRaises(ValueError):
            Orderworks("http://shop.example", SEC)
        Orderworks("https://shop.example", SEC)


class Webhooks(unittest.TestCase):
    SECRET = "whsec_" + base64.b64encode(b"a secret of this test").decode()

    def signed(self, body, at, secret):
        key = base64.b64decode(secret.removeprefix("whsec_"))
        digest = hmac.digest(key, f"evt_1.{at}.".encode() + body, hashlib.sha256)
        signatures = "v1,AAAA v1," + base64.b64encode(digest).decode()
        return {"Webhook-Id": "evt_1", "Webhook-Timestamp": str(at), "Webhook-Signature": signatures}

    def test_only_fresh_and_signed_webhooks_are_accepted(self):
        body = b'{"id":"evt_1","type":"order.paid","sequence":1}'
        other = "whsec_" + base64.b64encode(b"another").decode()
        headers = self.signed(body, 1000, self.SECRET)
        self.assertEqual(verify_webhook(body, headers, self.SECRET, now=1299)["type"], "order.paid")
        self.assertEqual(verify_webhook(body, headers, [other, self.SECRET], now=1000)["sequence"], 1)
        for bad in (
            lambda: verify_webhook(body + b" ", headers, self.SECRET, now=1000),
            lambda: verify_webhook(body, headers, other, now=1000),
            lambda: verify_webhook(body, headers, self.SECRET, now=1301),
            lambda: verify_webhook(body, headers, self.SECRET, now=699),
            lambda: verify_webhook(body, {}, self.SECRET, now=1000),
            lambda: verify_webhook(body, {**headers, "Webhook-Timestamp": "x"}, self.SECRET, now=1000),
        ):
            with self.assertRaises(WebhookRefused):
                bad()


class Proofs(unittest.TestCase):
    def guest(self, **settings):
        control("/_log", proxy=ALARMED)
        guest = Orderworks(ALARMED, ALARMED_PUB, timeout=PATIENCE, **settings)
        self.addCleanup(guest.close)
        return guest

    def test_an_order_that_takes_a_proof_of_work_is_one_order(self):
        guest, device = self.guest(), str(uuid.uuid4())
        cart = guest.create_cart(items=[{"sku": "CUP-ENAMEL", "quantity": 1}])
        checkout = {name: order("")[name] for name in ("customer", "payment_method")}
        for place in (
            lambda: guest.place_order(order("proven"), device=device),
            lambda: guest.checkout(cart["id"], checkout, device=device),
        ):
            control("/_faults", [None, "cut"], ALARMED)
            control("/_log", proxy=ALARMED)
            placed = place()
            self.assertTrue(placed.is_replay)
            _, _, keys, fields = zip(*control("/_log", proxy=ALARMED))
            self.assertEqual(keys, (placed.idempotency_key,) * 3)
            self.assertEqual([sent["orderworks-device"] for sent in fields], [device] * 3)
            asked, proven, repeated = (sent.get("orderworks-proof") for sent in fields)
            self.assertIsNone(asked)
            self.assertTrue(proven)
            self.assertEqual(proven, repeated)

    def test_more_work_than_a_client_does_is_told(self):
        guest = self.guest(proof_bits_max=11)
        with self.assertRaises(Problem) as refused:
            guest.place_order(order("refused"))
        self.assertEqual((refused.exception.code, refused.exception.proof_bits), ("proof_of_work_required", 12))
        self.assertEqual(len(control("/_log", proxy=ALARMED)), 1)

    def test_a_proof_has_all_of_its_bits(self):
        found = find_proof("order-1", 13)
        self.assertLess(int.from_bytes(hashlib.sha256(f"order-1:{found}".encode()).digest()[:2], "big"), 8)
        self.assertEqual(find_proof('"a\\"b"', 8), find_proof('a"b', 8))


if __name__ == "__main__":
    unittest.main()
