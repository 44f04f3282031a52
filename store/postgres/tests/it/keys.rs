//! Idempotency keys: across the migration that separates those of secret API keys, up and down; and their expiry by
//! clocks that differ.

use std::time::Duration;

use base::time::{earlier, later};
use sqlx::Executor;
use store::{
    error::StoreError,
    orders::{CLOCK_DIFFERENCE_MAX, NewOrder, Orders, PlaceOutcome},
};

use super::{needs_postgres, shop::shop};
use crate::util::postgres::{Lent, migrated, pool};

macro_rules! step {
    ($direction:literal) => {
        include_str!(concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../../migrations/postgres/orders/0010_order_access.",
            $direction,
            ".sql"
        ))
    };
}

#[tokio::test]
async fn keys_are_found_under_both_kinds_of_api_key_after_the_step_and_alone_after_the_way_back() {
    needs_postgres!();
    let database = migrated().await;
    let pool = pool(&database).await;
    pool.execute(step!("down")).await.expect("goes back");
    let id = "0190a0b4-4242-7424-8242-424242424242";
    let (fits, long) = ("f".repeat(248), "l".repeat(249));
    let before = ["A-1001".to_owned(), "checkout of cart_1".to_owned(), fits.clone(), long];
    for key in &before {
        let insert = "INSERT INTO idempotency_keys
            VALUES ($1::uuid, $2, decode(repeat('00', 32), 'hex'), $1::uuid, '{}', now())";
        sqlx::query(insert).bind(id).bind(key).execute(&pool).await.expect("inserts");
    }
    pool.execute(step!("up")).await.expect("goes on");
    let sorted = |mut keys: Vec<String>| {
        keys.sort();
        keys
    };
    let copies = ["A-1001", &fits].map(|key| format!("secret {key}"));
    let kept = || sqlx::query_scalar("SELECT key FROM idempotency_keys").fetch_all(&pool);
    assert_eq!(sorted(kept().await.expect("reads")), sorted([&before[..], &copies].concat()));
    let add = "INSERT INTO idempotency_keys SELECT merchant_id, 'secret B-7', fingerprint, order_id, body, created_at
        FROM idempotency_keys WHERE key = 'A-1001'";
    pool.execute(add).await.expect("inserts");
    pool.execute(step!("down")).await.expect("goes back");
    let after = [&before[..], &["B-7".to_owned()]].concat();
    assert_eq!(sorted(kept().await.expect("reads")), sorted(after));
}

#[tokio::test]
async fn the_servers_clock_keeps_the_keys_of_the_last_day() {
    needs_postgres!();
    let database = Lent::new().await;
    let shop = shop(&database.config()).await;
    shop.place("k", &["a"]).await;
    // Also the clock of the process that placed the newest order is ahead.
    let ahead = later(shop.ambient.now(), Duration::from_hours(300 * 24));
    let newest = NewOrder { at: ahead, ..shop.new_order("newest", &["a"]) };
    shop.store.place_order(newest).await.expect("places");
    assert_eq!(shop.store.expire_idempotency(ahead, 100).await.expect("expires"), 0);
    let replayed = shop.try_place("k", &["a"]).await.expect("answers");
    assert!(matches!(replayed, PlaceOutcome::Replayed { .. }), "{replayed:?}");
}

#[tokio::test]
async fn a_clock_apart_from_the_servers_is_refused() {
    needs_postgres!();
    let database = Lent::new().await;
    let shop = shop(&database.config()).await;
    let (now, apart) = (shop.ambient.now(), CLOCK_DIFFERENCE_MAX * 2);
    shop.store.check_clock(now).await.expect("they agree");
    for differs in [later(now, apart), earlier(now, apart)] {
        let refused = shop.store.check_clock(differs).await;
        assert!(matches!(refused, Err(StoreError::Defect { .. })), "{refused:?}");
    }
}
