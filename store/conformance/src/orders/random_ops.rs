//! Seeded random operations on orders; after each, the invariants are checked through the public methods.

use std::{collections::BTreeMap, sync::Arc};

use store::{
    OrderStore,
    catalog::InventoryPut,
    domain::{Order, OrderId, OrderStatus, PageRequest},
    orders::{OrderFilter, PlaceOutcome, RefundRequested, Transition},
};

use super::{OrdersFixture, refunds};
use crate::race;

const STEPS: u32 = 300;
const SKUS: [&str; 3] = ["a", "b", "c"];

/// Expected state, kept without the store.
#[derive(Default)]
struct Model {
    on_hand: BTreeMap<&'static str, i64>,
    orders: BTreeMap<OrderId, OrderStatus>,
    /// Refunded amount per order.
    refunded: BTreeMap<OrderId, i64>,
}

pub async fn random_operations_keep_reservations_and_sequences(store: Arc<dyn OrderStore>) {
    for seed in [21, 22] {
        let world = OrdersFixture::seeded(Arc::clone(&store), seed).await;
        let mut rng = fastrand::Rng::with_seed(seed);
        let mut model = Model::default();
        for sku in SKUS {
            world.product(sku, 100, 40).await;
            model.on_hand.insert(sku, 40);
        }
        for step in 0..STEPS {
            let context = format!("seed {seed}, step {step}");
            let done = model.step(&world, &mut rng).await;
            model.check(&world, &format!("{context}, {done}")).await;
        }
        for id in model.orders.keys() {
            world.kinds(*id).await;
        }
    }
}

pub async fn concurrent_random_operations_keep_reservations_and_sequences(store: Arc<dyn OrderStore>) {
    let world = OrdersFixture::new(store).await;
    for sku in SKUS {
        world.product(sku, 100, 60).await;
    }
    let mut open = Vec::new();
    for _ in 0..12 {
        open.push(world.placed(&[("a", 1), ("b", 2)]).await.id);
    }
    race(8, |task| {
        let (world, open) = (world.clone(), open.clone());
        async move {
            let mut rng = fastrand::Rng::with_seed(u64::from(task));
            for _ in 0..60 {
                let id = open[rng.usize(0..open.len())];
                random_move(&world, id, &mut rng).await;
            }
        }
    })
    .await;
    let orders = all_orders(&world).await;
    for sku in SKUS {
        let (on_hand, reserved) = world.stock(sku).await;
        assert_eq!(reserved, reserved_by(&orders, sku), "{sku}");
        let shipped: i64 = orders.iter().filter(|o| o.shipment.is_some()).map(|o| units(o, sku)).sum();
        assert_eq!(on_hand, 60 - shipped, "{sku}");
    }
    for id in open {
        world.kinds(id).await;
    }
}

/// A random transition, weighted so that orders get through the whole state machine.
async fn random_move(
    world: &OrdersFixture,
    id: OrderId,
    rng: &mut fastrand::Rng,
) -> (&'static str, Option<Transition>) {
    match rng.u8(0..20) {
        0..6 => ("pay", Some(world.pay(id).await)),
        6..8 => ("fail", Some(world.fail(id).await)),
        8..11 => ("fulfil", Some(world.fulfil(id).await)),
        11..14 => ("cancel", Some(world.cancel(id).await)),
        14..17 => {
            let amount = rng.bool().then(|| rng.i64(1..150));
            drop(refunds::request(world, id, world.refund_id(), amount).await);
            ("request a refund", None)
        }
        17 => ("fail a refund", fail_refund(world, id).await),
        _ => ("record a refund", give_back(world, id, rng).await),
    }
}

/// Records a refusal of the refund requested just now.
async fn fail_refund(world: &OrdersFixture, id: OrderId) -> Option<Transition> {
    match refunds::request(world, id, world.refund_id(), Some(1)).await {
        RefundRequested::Accepted(_, refund) => Some(world.refund_fails(id, refund.id, 1).await),
        _ => None,
    }
}

/// Records the refund requested just now, as the refund job does.
async fn give_back(world: &OrdersFixture, id: OrderId, rng: &mut fastrand::Rng) -> Option<Transition> {
    let amount = rng.bool().then(|| rng.i64(1..150));
    match refunds::request(world, id, world.refund_id(), amount).await {
        RefundRequested::Accepted(order, refund) => {
            let left = order.total_minor - order.refunded_minor;
            // Concurrent tasks request refunds too, so the remainder may be less than the total.
            let amount = amount.unwrap_or(left).min(left);
            Some(world.refund(id, refund.id, Some(amount)).await)
        }
        _ => None,
    }
}

impl Model {
    async fn step(&mut self, world: &OrdersFixture, rng: &mut fastrand::Rng) -> String {
        match rng.u8(0..10) {
            0..3 => self.place(world, rng).await,
            3 => self.set_inventory(world, rng).await,
            _ if self.orders.is_empty() => self.place(world, rng).await,
            _ => {
                let id = *self.orders.keys().nth(rng.usize(0..self.orders.len())).expect("within");
                let (name, moved) = random_move(world, id, rng).await;
                self.learn(id, moved, name);
                format!("{name} {id}")
            }
        }
    }

    async fn place(&mut self, world: &OrdersFixture, rng: &mut fastrand::Rng) -> String {
        let mut lines: Vec<(&str, u32)> = SKUS.map(|sku| (sku, rng.u32(0..5))).to_vec();
        lines.retain(|(_, quantity)| *quantity > 0);
        if lines.is_empty() {
            lines.push(("a", 1));
        }
        match world.place(world.new_order(&lines)).await {
            PlaceOutcome::Placed { order, .. } => drop(self.orders.insert(order.id, order.status)),
            PlaceOutcome::Refused(_) => {}
            other => panic!("unexpected {other:?}"),
        }
        format!("place {lines:?}")
    }

    async fn set_inventory(&mut self, world: &OrdersFixture, rng: &mut fastrand::Rng) -> String {
        let (sku, on_hand) = (SKUS[rng.usize(0..3)], rng.i64(0..60));
        let (_, reserved) = world.stock(sku).await;
        match world.inventory(sku, on_hand).await {
            InventoryPut::Set(_) => {
                assert!(on_hand >= reserved);
                self.on_hand.insert(sku, on_hand);
            }
            InventoryPut::BelowReserved { reserved: told } => assert!(on_hand < told && told == reserved),
            InventoryPut::NoSuchProduct => panic!("{sku} is stored"),
        }
        format!("set {sku} to {on_hand}")
    }

    fn learn(&mut self, id: OrderId, moved: Option<Transition>, name: &str) {
        let Some(Transition::Now(order)) = moved else { return };
        let before = self.orders.insert(id, order.status).expect("placed here");
        let partial = matches!(name, "record a refund" | "fail a refund") && before == order.status;
        assert!(partial || before.may_become(order.status), "{name} {id}: {before} became {}", order.status);
        if name == "fulfil" {
            for sku in SKUS {
                *self.on_hand.entry(sku).or_default() -= units(&order, sku);
            }
        }
        if name == "record a refund" {
            self.refunded.insert(id, order.refunded_minor);
        }
    }

    async fn check(&self, world: &OrdersFixture, context: &str) {
        let orders = all_orders(world).await;
        assert_eq!(orders.len(), self.orders.len(), "{context}");
        for order in &orders {
            assert_eq!(order.status, self.orders[&order.id], "{context}: {}", order.id);
            let refunded = self.refunded.get(&order.id).copied().unwrap_or(0);
            assert_eq!(order.refunded_minor, refunded, "{context}: {}", order.id);
            assert!(refunded <= order.total_minor, "{context}: {}", order.id);
            let all_back = refunded == order.total_minor && order.status != OrderStatus::Cancelled;
            assert_eq!(order.status == OrderStatus::Refunded, all_back, "{context}: {}", order.id);
        }
        for sku in SKUS {
            let stock = world.stock(sku).await;
            assert_eq!(stock, (self.on_hand[sku], reserved_by(&orders, sku)), "{context}: {sku}");
            assert!(stock.0 >= stock.1, "{context}: {sku} is sold beyond the house");
        }
    }
}

async fn all_orders(world: &OrdersFixture) -> Vec<Order> {
    let mut orders: Vec<Order> = Vec::new();
    loop {
        let page = PageRequest { limit: 100, after: orders.last().map(|order| order.id) };
        let found = world.store.orders(world.merchant, OrderFilter::default(), page).await.expect("reads");
        orders.extend(found.items);
        if !found.has_more {
            return orders;
        }
    }
}

fn reserved_by(orders: &[Order], sku: &str) -> i64 {
    orders.iter().filter(|order| order.status.holds_reservation()).map(|order| units(order, sku)).sum()
}

fn units(order: &Order, sku: &str) -> i64 {
    order.lines.iter().filter(|line| line.sku == sku).map(|line| i64::from(line.quantity)).sum()
}
