//! Periodic housekeeping of the scheduler: cancels orders that nobody paid in time, deletes expired records
//! (idempotency records, proofs of addresses, the attempt log, dead jobs, sessions and carts in a file, old partitions)
//! and creates the coming partitions. Rows are deleted in small slices, so that orders never wait long. Several
//! schedulers may run: every step is idempotent. Nothing is done while the clock differs from the order store's.

use std::{sync::Arc, time::Duration};

use base::{Ambient, time::earlier};
use cache::Sessions;
use jobs::{error::describe, records::RecordStore};
use store::{OrderStore, StoreError, orders::Stale};
use store_postgres::{
    PostgresOrders,
    partitions::{Dropped, Family},
};
use tokio_util::sync::CancellationToken;

use crate::dead_jobs::DeadRetention;

/// Interval of a pass.
const EVERY: Duration = Duration::from_mins(10);
/// Interval of the search for stale orders, which uses an index of the open ones.
const EXPIRE_EVERY: Duration = Duration::from_mins(1);
/// Rows per transaction.
const SLICE: u32 = 500;
/// Stale orders listed at once. Each is cancelled in a transaction of its own, so that one that cannot be cancelled
/// keeps no other.
const ORDERS_SLICE: u32 = 50;
/// Months of partitions created ahead: the scheduler may be down for weeks.
const MONTHS_AHEAD: u32 = 3;

/// Partitioned tables, and the retention of those that are not kept for ever.
pub(crate) struct Partitioning {
    pub(crate) tables: Arc<PostgresOrders>,
    pub(crate) keep: Vec<(Family, Duration)>,
}

pub(crate) struct Housekeeping {
    pub(crate) orders: Arc<dyn OrderStore>,
    pub(crate) sessions: Arc<dyn Sessions>,
    pub(crate) records: Arc<dyn RecordStore>,
    pub(crate) records_keep: Duration,
    pub(crate) dead: DeadRetention,
    pub(crate) partitions: Option<Partitioning>,
    /// Age at which an unpaid order is cancelled; `None`: never.
    pub(crate) pending_expires: Option<Duration>,
    /// The same of an order with a bank debit under way.
    pub(crate) debit_expires: Option<Duration>,
    pub(crate) ambient: Ambient,
}

impl Housekeeping {
    pub(crate) async fn run(self, stop: CancellationToken) {
        let (mut tick, mut orders) = (tokio::time::interval(EVERY), tokio::time::interval(EXPIRE_EVERY));
        loop {
            let is_orders = tokio::select! {
                () = stop.cancelled() => return,
                _ = orders.tick() => true,
                _ = tick.tick() => false,
            };
            self.pass(is_orders, &stop).await;
        }
    }

    /// Expires unpaid orders, or everything else.
    async fn pass(&self, is_orders: bool, stop: &CancellationToken) {
        if let Err(error) = self.orders.check_clock(self.ambient.now()).await {
            tracing::error!(error = describe(&error), alarm = true, "clocks differ; nothing is expired");
        } else if is_orders {
            self.stale_orders(stop).await;
        } else {
            self.rows(stop).await;
            self.dead.pass(self.ambient.now(), stop).await;
            if let Some(partitions) = &self.partitions {
                self.months(partitions).await;
            }
        }
    }

    /// Cancels orders whose payment does not come, because they hold stock that others could buy.
    async fn stale_orders(&self, stop: &CancellationToken) {
        let Some(expires) = self.pending_expires else { return };
        let now = self.ambient.now();
        let debits_before = self.debit_expires.map(|expires| earlier(now, expires));
        let stale = Stale { before: earlier(now, expires), debits_before };
        let (mut after, mut expired) = (None, 0_u64);
        while !stop.is_cancelled() {
            let page = match self.orders.stale_orders(stale, after, ORDERS_SLICE).await {
                Ok(page) => page,
                Err(error) => return not_cancelled(&error),
            };
            let mut outage = None;
            for id in &page {
                match self.orders.expire_order(*id, debits_before, self.ambient.now()).await {
                    Ok(is_expired) => expired += u64::from(is_expired),
                    Err(error) if error.class().is_transient() => outage = Some(error),
                    Err(error) => {
                        tracing::error!(alarm = true, order.id = %id, error = describe(&error), "order cannot be expired");
                    }
                }
            }
            // The next page is tried all the same: an unavailable shard keeps its own orders only.
            if let Some(error) = outage {
                not_cancelled(&error);
            }
            after = page.last().copied();
            if page.len() < ORDERS_SLICE as usize {
                break;
            }
        }
        if expired > 0 {
            tracing::info!(orders = expired, "unpaid orders cancelled");
        }
    }

    async fn rows(&self, stop: &CancellationToken) {
        let now = self.ambient.now();
        let attempts_before = earlier(now, self.records_keep);
        let keys = slices(stop, SLICE, || self.orders.expire_idempotency(now, SLICE)).await;
        let attempts = slices(stop, SLICE, || self.records.expire(attempts_before, SLICE)).await;
        let sessions = slices(stop, SLICE, || self.sessions.expire(SLICE)).await;
        let proofs = slices(stop, SLICE, || self.orders.expire_verifications(now, SLICE)).await;
        match (keys, attempts, sessions, proofs) {
            (Ok(0), Ok(0), Ok(0), Ok(0)) => {}
            (Ok(keys), Ok(attempts), Ok(sessions), Ok(proofs)) => {
                tracing::info!(keys, attempts, sessions, proofs, "expired records deleted");
            }
            (keys, attempts, sessions, proofs) => {
                let error = keys.err().or(attempts.err()).or(sessions.err()).or(proofs.err());
                tracing::warn!(error, "expired records not deleted; retrying later");
            }
        }
    }

    async fn months(&self, Partitioning { tables, keep }: &Partitioning) {
        match tables.create_partitions(self.ambient.now(), MONTHS_AHEAD).await {
            Ok(tables) if tables.is_empty() => {}
            Ok(tables) => tracing::info!(?tables, "partitions created"),
            Err(error) => tracing::warn!(%error, "partitions not created; retrying later"),
        }
        for (family, keep) in keep {
            match tables.drop_partitions(*family, self.ambient.now(), *keep).await {
                Ok(dropped) if dropped == Dropped::default() => {}
                Ok(Dropped { tables, kept }) => {
                    tracing::info!(?tables, ?kept, "expired partitions dropped or kept");
                }
                Err(error) => tracing::warn!(%error, ?family, "partitions not dropped; retrying later"),
            }
        }
    }
}

fn not_cancelled(error: &StoreError) {
    tracing::warn!(error = describe(error), "unpaid orders not cancelled; retrying later");
}

async fn slices<F, E>(stop: &CancellationToken, slice: u32, drop_some: impl Fn() -> F) -> Result<u64, String>
where
    F: Future<Output = Result<u64, E>>,
    E: std::error::Error + 'static,
{
    let mut total = 0;
    while !stop.is_cancelled() {
        let dropped = drop_some().await.map_err(|error| describe(&error))?;
        total += dropped;
        if dropped < u64::from(slice) {
            break;
        }
    }
    Ok(total)
}

#[cfg(test)]
mod tests {
    use base::{
        Timestamp,
        ambient::ManualClock,
        testing::{scratch, skip},
        time::later,
    };
    use cache::SqliteSessions;
    use jobs::sqlite::SqliteEngine;
    use sqlx::Connection as _;
    use store::{
        catalog::ProductData,
        domain::{Customer, MerchantId, Order, OrderId, OrderStatus},
        orders::{IdempotencyKey, NewLine, NewOrder, PlaceOutcome},
    };
    use store_sqlite::SqliteOrders;

    use super::*;

    async fn placed(house: &Housekeeping, merchant: MerchantId) -> Order {
        let order = NewOrder {
            id: OrderId::fresh(&house.ambient),
            merchant,
            customer: Customer { email: "ada@example.com".to_owned(), name: "Ada".to_owned() },
            account: None,
            token: None,
            currency: "EUR".parse().expect("a currency"),
            lines: vec![NewLine { sku: "cup".to_owned(), quantity: 1 }],
            expected_total_minor: None,
            payment_method: "pm_card_visa".to_owned(),
            shipping_address: None,
            reference: None,
            idempotency: IdempotencyKey { key: house.ambient.uuid().to_string(), fingerprint: [1; 32] },
            trace: None,
            at: house.ambient.now(),
        };
        match house.orders.place_order(order).await.expect("answers") {
            PlaceOutcome::Placed { order, .. } => *order,
            other => panic!("not placed: {other:?}"),
        }
    }

    async fn fixture(
        folder: &std::path::Path,
        expires: Option<Duration>,
    ) -> (Housekeeping, ManualClock, MerchantId) {
        let start = Timestamp::from_millisecond(1_700_000_000_000).expect("a time");
        let (ambient, clock) = Ambient::steered(9, start);
        let orders = SqliteOrders::open(&folder.join("orders.db"), ambient.clone()).await.expect("opens");
        let (house, merchant) = over(folder, Arc::new(orders), expires, ambient).await;
        (house, clock, merchant)
    }

    /// Over this order store, with 2,000 units of `cup`.
    async fn over(
        folder: &std::path::Path,
        orders: Arc<dyn OrderStore>,
        expires: Option<Duration>,
        ambient: Ambient,
    ) -> (Housekeeping, MerchantId) {
        let queue = SqliteEngine::open(&folder.join("queue.db"), ambient.clone()).await.expect("opens");
        let sessions =
            SqliteSessions::open(&folder.join("sessions.db"), ambient.clone()).await.expect("opens");
        let house = Housekeeping {
            orders,
            sessions: Arc::new(sessions),
            records: Arc::new(queue.records()),
            records_keep: Duration::from_hours(1),
            dead: DeadRetention { queue: Arc::new(queue), keep: Duration::from_hours(1), most: 10 },
            partitions: None,
            pending_expires: expires,
            debit_expires: None,
            ambient,
        };
        let (merchant, at) = (MerchantId::fresh(&house.ambient), house.ambient.now());
        house.orders.ensure_merchant(merchant, "Shop", at).await.expect("stores");
        let product = ProductData {
            sku: "cup".to_owned(),
            name: "Cup".to_owned(),
            description: None,
            category: "things".to_owned(),
            price_minor: 100,
            currency: "EUR".parse().expect("a currency"),
            low_stock_at: -1,
        };
        house.orders.put_product(merchant, product, at).await.expect("stores");
        house.orders.put_inventory(merchant, "cup", 2_000, at, None).await.expect("stores");
        (house, merchant)
    }

    #[tokio::test]
    async fn nothing_expires_while_the_clock_differs_from_the_servers() {
        if let Some(reason) = scratch::skipped() {
            return skip(&reason);
        }
        let (folder, database) = (tempfile::tempdir().expect("a folder"), scratch::Scratch::create().await);
        let (config, real) = (database.config(), Ambient::system());
        PostgresOrders::migrate(&config, real.clone()).await.expect("migrates");
        let orders = PostgresOrders::connect(&config, real.clone()).await.expect("connects");
        let day = Duration::from_hours(24);
        let (past, _) = Ambient::steered(5, earlier(real.now(), day * 2));
        let (house, merchant) = over(folder.path(), Arc::new(orders.clone()), Some(day), past).await;
        let order = placed(&house, merchant).await;
        let keep = Family::ALL.map(|family| (family, day)).to_vec();
        let mut house =
            Housekeeping { partitions: Some(Partitioning { tables: Arc::new(orders), keep }), ..house };
        let (ahead, _) = Ambient::steered(9, later(real.now(), day * 400));
        for (ambient, status) in [(ahead, OrderStatus::Pending), (real, OrderStatus::Cancelled)] {
            house.ambient = ambient;
            for is_orders in [true, false] {
                house.pass(is_orders, &CancellationToken::new()).await;
            }
            let order = house.orders.order_by_id(order.id).await.expect("reads").expect("is there");
            assert_eq!(order.status, status);
        }
    }

    #[tokio::test]
    async fn more_than_a_slice_of_stale_orders_expires_and_young_ones_stay() {
        let folder = tempfile::tempdir().expect("a folder");
        let (house, clock, merchant) = fixture(folder.path(), Some(Duration::from_mins(30))).await;
        for _ in 0..=ORDERS_SLICE {
            placed(&house, merchant).await;
        }
        clock.advance(Duration::from_mins(31));
        let young = placed(&house, merchant).await;
        house.stale_orders(&CancellationToken::new()).await;
        let cup = house.orders.product(merchant, "cup").await.expect("reads").expect("is there");
        assert_eq!((cup.on_hand, cup.reserved), (2_000, 1));
        let young = house.orders.order_by_id(young.id).await.expect("reads").expect("is there");
        assert_eq!(young.status, OrderStatus::Pending);
    }

    #[tokio::test]
    async fn orders_that_cannot_be_expired_keep_no_other_from_expiring() {
        let folder = tempfile::tempdir().expect("a folder");
        let (house, clock, merchant) = fixture(folder.path(), Some(Duration::from_mins(30))).await;
        for _ in 0..=ORDERS_SLICE {
            placed(&house, merchant).await;
        }
        let url = format!("sqlite://{}", folder.path().join("orders.db").display());
        let mut file = sqlx::SqliteConnection::connect(&url).await.expect("opens");
        sqlx::query("UPDATE orders SET lines = 'nonsense'").execute(&mut file).await.expect("plants");
        // Pages go by id, and ids of one millisecond have no order.
        clock.advance(Duration::from_millis(1));
        let whole = placed(&house, merchant).await;
        clock.advance(Duration::from_mins(31));
        house.stale_orders(&CancellationToken::new()).await;
        let whole = house.orders.order_by_id(whole.id).await.expect("reads").expect("is there");
        assert_eq!(whole.status, OrderStatus::Cancelled, "though a page of older ones cannot be");
        let cup = house.orders.product(merchant, "cup").await.expect("reads").expect("is there");
        assert_eq!(cup.reserved, i64::from(ORDERS_SLICE) + 1, "those keep their stock");
    }

    #[tokio::test]
    async fn orders_wait_for_good_where_that_is_set_and_bank_debits_have_their_own_limit() {
        let folder = tempfile::tempdir().expect("a folder");
        let (mut house, clock, merchant) = fixture(folder.path(), None).await;
        let (order, year) = (placed(&house, merchant).await, Duration::from_hours(24 * 365));
        house.orders.note_debit(order.id, house.ambient.now()).await.expect("notes");
        clock.advance(year);
        for (pending, debit, status) in [
            (None, None, OrderStatus::Pending),
            (Some(year / 2), None, OrderStatus::Pending),
            (Some(year / 2), Some(year * 2), OrderStatus::Pending),
            (Some(year / 4), Some(year / 2), OrderStatus::Cancelled),
        ] {
            (house.pending_expires, house.debit_expires) = (pending, debit);
            house.stale_orders(&CancellationToken::new()).await;
            let order = house.orders.order_by_id(order.id).await.expect("reads").expect("is there");
            assert_eq!(order.status, status, "{pending:?} {debit:?}");
        }
    }
}
