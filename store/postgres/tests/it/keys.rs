//! Idempotency keys across the migration that separates those of secret API keys, up and down.

use sqlx::Executor;

use super::needs_postgres;
use crate::util::postgres::{migrated, pool};

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
