//! Scenario of a seed: the requests of merchants and customers.
//!
//! They reach the order store as the API does, over an equally faulty connection, and repeat unanswered calls under the
//! same idempotency key or id until they are answered.

use std::{future::Future, sync::Arc, time::Duration};

use base::TraceContext;
use store::{
    OrderStore, StoreError,
    catalog::{Catalog as _, ProductData},
    domain::{Customer, EndpointId, EventId, EventKind, MerchantId, OrderId, PaymentId, RefundId},
    merchants::Merchants as _,
    orders::{DisputeFacts, IdempotencyKey, NewLine, NewOrder, PlaceOutcome, RefundRequested},
    outbox::Command,
    webhooks::{Endpoint, EndpointChange, Subscription, Webhooks as _},
};

use crate::{
    chance::{InjectedFault, pause},
    deployment::Deployment,
    outside::url_of,
};

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSwMfKQ9r8GKYo=";
const METHODS: [&str; 5] =
    ["pm_card_visa", "pm_card_visa", "pm_card_visa", "pm_card_chargeDeclined", "pm_sandbox_flaky"];
/// Time within which all orders are placed.
const SHOPPING: Duration = Duration::from_secs(15);
/// Longest time between two requests of a customer.
const SECOND_THOUGHTS: Duration = Duration::from_secs(15);
/// Longest time before a call without an answer is repeated.
const REPEAT_MAX: Duration = Duration::from_secs(1);
/// Most requests for the refund of an order that is not paid yet.
const REFUND_TRIES: u32 = 6;
/// Occasions to dispute an order, and to refund it by hand.
const BY_HAND_TRIES: u32 = 4;

#[derive(Clone)]
pub(crate) struct Merchant {
    id: MerchantId,
    skus: Vec<String>,
}

/// An endpoint that does not change during the run.
#[derive(Clone)]
pub(crate) struct Steady {
    pub(crate) id: EndpointId,
    pub(crate) merchant: MerchantId,
    pub(crate) events: Subscription,
}

/// Starts merchants and customers; returns the endpoints that must get every event.
pub(crate) async fn trade(world: &Arc<Deployment>) -> Result<Vec<Steady>, StoreError> {
    let mut merchants = Vec::new();
    let mut steady = Vec::new();
    for number in 0..=world.chance.below(2) {
        let merchant = open_shop(world, number).await?;
        for _ in 0..world.chance.below(3) {
            let endpoint = add_endpoint(world, merchant.id).await?;
            if world.chance.one_in(4) {
                spawn(world, change_mind(Arc::clone(world), endpoint.clone()));
            } else {
                steady.push(endpoint);
            }
        }
        if world.chance.one_in(3) {
            spawn(world, restock(Arc::clone(world), merchant.clone()));
        }
        merchants.push(merchant);
    }
    for number in 0..3 + world.chance.below(8) {
        let merchant = world.chance.pick(&merchants).clone();
        spawn(world, shop(Arc::clone(world), merchant, number));
    }
    Ok(steady)
}

fn spawn(world: &Arc<Deployment>, wish: impl Future<Output = ()> + Send + 'static) {
    let busy = Arc::clone(&world.busy);
    tokio::spawn(async move {
        wish.await;
        drop(busy);
    });
}

async fn open_shop(world: &Deployment, number: u64) -> Result<Merchant, StoreError> {
    let (id, at) = (MerchantId::fresh(&world.ambient), world.ambient.now());
    world.orders.ensure_merchant(id, &format!("Shop {number}"), at).await?;
    let mut skus = Vec::new();
    for letter in ["a", "b", "c"].into_iter().take(1 + world.chance.place(3)) {
        let drawn = i64::try_from(world.chance.below(5000)).unwrap_or(1);
        let data = ProductData {
            sku: letter.to_owned(),
            name: format!("Thing {letter}"),
            description: None,
            category: "things".to_owned(),
            // One in eight is free, and so are some orders.
            price_minor: if drawn % 8 == 0 { 0 } else { 1 + drawn },
            currency: euro(),
            low_stock_at: 1,
        };
        world.orders.put_product(id, data, at).await?;
        let on_hand = i64::try_from(1 + world.chance.below(8)).unwrap_or(1);
        world.orders.put_inventory(id, letter, on_hand, at, None).await?;
        skus.push(letter.to_owned());
    }
    Ok(Merchant { id, skus })
}

#[expect(clippy::expect_used, reason = "three upper-case letters are a currency")]
fn euro() -> store::domain::Currency {
    "EUR".parse().expect("a currency")
}

async fn add_endpoint(world: &Deployment, merchant: MerchantId) -> Result<Steady, StoreError> {
    let id = EndpointId::fresh(&world.ambient);
    let events = if world.chance.one_in(3) {
        Subscription::of([EventKind::OrderPaid, EventKind::PaymentCaptured, EventKind::OrderCancelled])
    } else {
        Subscription::All
    };
    let endpoint = Endpoint {
        id,
        merchant,
        url: url_of(id),
        events: events.clone(),
        secret: SECRET.to_owned(),
        enabled: true,
        failing_since: None,
        disabled: None,
        previous_secrets: Vec::new(),
        times_disabled: 0,
        created_at: world.ambient.now(),
    };
    world.orders.create_endpoint(endpoint).await?;
    Ok(Steady { id, merchant, events })
}

/// All requests of one customer.
async fn shop(world: Arc<Deployment>, merchant: Merchant, number: u64) {
    let customer = Client::of(world);
    let world = &customer.world;
    pause(world.chance.up_to(SHOPPING)).await;
    let Some(order) = customer.place(&merchant, number).await else { return };
    spawn(world, without_the_shop(Arc::clone(world), order));
    for _ in 0..world.chance.below(4) {
        pause(world.chance.some_time(SECOND_THOUGHTS)).await;
        match world.chance.below(3) {
            0 => customer.cancel(merchant.id, order).await,
            1 => customer.refund(merchant.id, order, None).await,
            _ => {
                let part = i64::try_from(1 + world.chance.below(4000)).unwrap_or(1);
                customer.refund(merchant.id, order, Some(part)).await;
            }
        }
    }
}

/// Disputes an order and refunds parts of it in the provider's dashboard; half of these refunds are reported.
async fn without_the_shop(world: Arc<Deployment>, order: OrderId) {
    let client = Client::of(world);
    let world = &client.world;
    for _ in 0..BY_HAND_TRIES {
        pause(world.chance.some_time(SECOND_THOUGHTS)).await;
        if world.chance.happens(InjectedFault::Dispute) && world.provider.dispute(order) {
            client.report_dispute(order, "needs_response").await;
            pause(world.chance.some_time(SECOND_THOUGHTS)).await;
            world.provider.win_dispute(order);
            client.report_dispute(order, "won").await;
        }
        if !world.chance.happens(InjectedFault::RefundByHand) {
            continue;
        }
        let part = i64::try_from(1 + world.chance.below(4000)).unwrap_or(1);
        let Some(reference) = world.provider.refund_by_hand(order, part) else { continue };
        if world.chance.one_in(2) {
            client.report(order, reference).await;
        }
    }
}

async fn restock(world: Arc<Deployment>, merchant: Merchant) {
    let client = Client::of(world);
    let world = &client.world;
    pause(world.chance.up_to(SHOPPING)).await;
    let sku = world.chance.pick(&merchant.skus);
    let on_hand = i64::try_from(world.chance.below(12)).unwrap_or(0);
    let orders = &client.orders;
    client.insist(|| orders.put_inventory(merchant.id, sku, on_hand, world.ambient.now(), None)).await;
}

async fn change_mind(world: Arc<Deployment>, endpoint: Steady) {
    let client = Client::of(world);
    let world = &client.world;
    pause(world.chance.up_to(SHOPPING + SECOND_THOUGHTS)).await;
    let Steady { id, merchant, .. } = endpoint;
    match world.chance.below(3) {
        0 => world.outside.close(id),
        1 => {
            client.insist(|| client.orders.delete_endpoint(merchant, id)).await;
        }
        _ => {
            let change = EndpointChange { enabled: Some(false), ..EndpointChange::default() };
            client.insist(|| client.orders.update_endpoint(merchant, id, change.clone())).await;
        }
    }
}

struct Client {
    world: Arc<Deployment>,
    orders: Arc<dyn OrderStore>,
}

impl Client {
    fn of(world: Arc<Deployment>) -> Self {
        Self { orders: world.orders_of("api"), world }
    }

    /// Repeats a call until it is answered.
    async fn insist<T, F>(&self, call: impl Fn() -> F) -> Option<T>
    where
        F: Future<Output = Result<T, StoreError>>,
    {
        loop {
            match call().await {
                Ok(answer) => return Some(answer),
                Err(StoreError::Unavailable { .. }) => pause(self.world.chance.some_time(REPEAT_MAX)).await,
                Err(error) => {
                    self.world.watch.breach("damage", error.to_string());
                    return None;
                }
            }
        }
    }

    async fn place(&self, merchant: &Merchant, number: u64) -> Option<OrderId> {
        let (chance, ambient) = (&self.world.chance, &self.world.ambient);
        let mut lines = Vec::new();
        for sku in &merchant.skus {
            if lines.is_empty() || chance.one_in(3) {
                let quantity = u32::try_from(1 + chance.below(3)).unwrap_or(1);
                lines.push(NewLine { sku: sku.clone(), quantity });
            }
        }
        let payment_method = (*chance.pick(&METHODS)).to_owned();
        let placement = self
            .insist(|| {
                // A repeated request has a new id and a new trace, and the same key.
                let order = NewOrder {
                    id: OrderId::fresh(ambient),
                    merchant: merchant.id,
                    customer: Customer { email: "ada@customer.example".to_owned(), name: "Ada".to_owned() },
                    account: None,
                    token: None,
                    currency: euro(),
                    lines: lines.clone(),
                    reservation: None,
                    pricing: None,
                    expected_total_minor: None,
                    payment_method: payment_method.clone(),
                    shipping_address: None,
                    reference: None,
                    idempotency: IdempotencyKey { key: format!("request-{number}"), fingerprint: [7; 32] },
                    trace: Some(TraceContext::fresh(ambient)),
                    estimated_fulfilment_at: None,
                    at: ambient.now(),
                };
                self.orders.place_order(order)
            })
            .await?;
        self.world.trace.note("customer", || format!("placing: {placement:?}"));
        match placement {
            PlaceOutcome::Placed { order, .. } => Some(order.id),
            PlaceOutcome::Replayed { order, .. } => Some(order),
            PlaceOutcome::Refused(_) | PlaceOutcome::InFlight => None,
            PlaceOutcome::KeyReused { .. } => {
                self.world.watch.breach("placing", "a key was taken by another request".to_owned());
                None
            }
        }
    }

    /// Passes the provider's webhook on, as the API does.
    async fn report(&self, order: OrderId, reference: String) {
        let id = EventId::fresh(&self.world.ambient);
        let command = Command::ProviderReport { order, reference };
        self.insist(|| self.orders.submit(id, command.clone(), self.world.ambient.now())).await;
    }

    async fn report_dispute(&self, order: OrderId, status: &'static str) {
        let facts = DisputeFacts {
            payment: PaymentId::of_order(order),
            reference: "dp_1".to_owned(),
            status: status.to_owned(),
            reason: "fraudulent".to_owned(),
        };
        self.insist(|| self.orders.record_dispute(order, facts.clone(), self.world.ambient.now())).await;
    }

    async fn cancel(&self, merchant: MerchantId, order: OrderId) {
        self.world.trace.note("customer", || format!("cancels {order}"));
        let cancel =
            || self.orders.cancel(merchant, order, "requested_by_customer", self.world.ambient.now());
        self.insist(cancel).await;
    }

    async fn refund(&self, merchant: MerchantId, order: OrderId, amount_minor: Option<i64>) {
        let refund = RefundId::fresh(&self.world.ambient);
        for _ in 0..REFUND_TRIES {
            let request = || {
                let at = self.world.ambient.now();
                self.orders.request_refund(merchant, order, refund, amount_minor, at)
            };
            let answer = self.insist(request).await;
            self.world.trace.note("customer", || format!("wants {amount_minor:?} of {order}: {answer:?}"));
            match answer {
                Some(RefundRequested::Refused(_)) => {
                    pause(self.world.chance.some_time(SECOND_THOUGHTS)).await;
                }
                _ => return,
            }
        }
    }
}
