//! Schemas that are not this release's, and permissions that are missing.

use sqlx::Executor;
use store::{
    customers::PasswordHash,
    domain::VerificationId,
    orders::Orders,
    token::{Token, TokenKind},
    verifications::{Minting, NewVerification, Purpose, Verification, VerificationRequested, Verifications},
};
use store_conformance::defects::orders_that_do_not_fit;

use crate::{
    shop::{TestMerchant, shop},
    util::postgres,
};

/// As a later release's migration does while this one runs.
const ADD_COLUMN_EVERYWHERE: &str = "
    DO $$ DECLARE name text; BEGIN
        FOR name IN SELECT c.oid::regclass FROM pg_class c
            WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition AND c.relnamespace = 'public'::regnamespace
        LOOP EXECUTE format('ALTER TABLE %s ADD COLUMN of_later_release text', name); END LOOP;
    END $$";

#[tokio::test]
async fn renamed_column_of_orders_in_postgres() {
    if postgres::skipped() {
        return;
    }
    let database = postgres::migrated().await;
    let store = postgres::open(&database.config()).await;
    let pool = postgres::pool(&database).await;
    pool.execute("ALTER TABLE orders RENAME COLUMN total_minor TO total").await.expect("renames");
    orders_that_do_not_fit(&store).await;
}

#[tokio::test]
async fn revoked_permission_in_postgres() {
    if postgres::skipped() {
        return;
    }
    let database = postgres::migrated().await;
    // Every later connection takes a role that may read nothing of the shop's.
    let sql = "DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET role = pg_signal_backend', current_database()); END $$";
    postgres::pool(&database).await.execute(sql).await.expect("sets");
    orders_that_do_not_fit(&postgres::open(&database.config()).await).await;
}

#[tokio::test]
async fn open_connections_work_on_when_every_table_gets_a_column() {
    if postgres::skipped() {
        return;
    }
    let database = postgres::migrated().await;
    let shop = shop(&database.config()).await;
    order_and_verify(&shop, "before").await;
    postgres::pool(&database).await.execute(ADD_COLUMN_EVERYWHERE).await.expect("adds");
    order_and_verify(&shop, "after").await;
}

/// An order up to its shipment and a registration up to its token.
async fn order_and_verify(shop: &TestMerchant, name: &str) {
    let order = shop.place(name, &["a"]).await;
    shop.pay(&order).await;
    shop.fulfil(&order).await;
    shop.store.order(shop.merchant, order.id).await.expect("reads").expect("is there");

    let verification = Verification {
        id: VerificationId::fresh(&shop.ambient),
        merchant: shop.merchant,
        email: format!("{name}@example.com"),
        purpose: Purpose::Registration {
            name: name.to_owned(),
            password_hash: PasswordHash::from_phc(name.to_owned()),
        },
        created_at: shop.ambient.now(),
    };
    for expected in [VerificationRequested::Stored, VerificationRequested::Repeated] {
        let new = NewVerification {
            verification: verification.clone(),
            idempotency_key: Some(name.to_owned()),
            trace: None,
        };
        assert_eq!(shop.store.request_verification(new).await.expect("stores"), expected);
    }
    let token = Token::fresh(TokenKind::Verification, &shop.ambient).hash();
    let minted =
        shop.store.mint_verification(shop.merchant, verification.id, token, shop.ambient.now()).await;
    assert!(matches!(minted.expect("mints"), Minting::Minted { .. }));
    let found =
        shop.store.verification_by_token(shop.merchant, token, shop.ambient.now()).await.expect("reads");
    assert_eq!(found.expect("is there").id, verification.id);
}
