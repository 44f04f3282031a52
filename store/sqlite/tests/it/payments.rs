//! The payment suite on SQLite, and cases that need a file: reopening, two processes, damaged rows, query plans.

use base::Ambient;
use futures::future::join_all;
use sqlx::{Connection, SqliteConnection};
use store::{PaymentStore, StoreError, domain::*, payments::*};
use store_conformance::Clockwork;
use store_sqlite::SqlitePayments;

store_conformance::payment_store_suite!(crate::util::payments);

fn new_payment(time: &Clockwork) -> NewPayment {
    let order = OrderId::fresh(&time.ambient);
    NewPayment {
        id: PaymentId::of_order(order),
        order,
        merchant: MerchantId::fresh(&time.ambient),
        amount_minor: 100,
        currency: "EUR".parse().expect("a currency"),
        method: "pm_card_visa".to_owned(),
        provider: "sandbox".to_owned(),
        at: time.tick(),
    }
}

/// A captured payment with a note, a finished refund and an open one: a row in every table.
async fn filled(store: &SqlitePayments, time: &Clockwork) -> Payment {
    let payment = PaymentStore::open_payment(store, new_payment(time)).await.expect("opens");
    store.begin_attempt(payment.id, "w", time.tick()).await.expect("begins");
    store.annotate_attempt(payment.id, 1, "ok", time.tick()).await.expect("notes");
    store.record_charge(payment.id, 1, "ch_1", time.tick()).await.expect("records");
    let captured = Decision::Captured { provider_reference: "ch_1".to_owned() };
    assert_eq!(
        store.record_decision(payment.id, 1, captured, time.tick()).await.expect("decides"),
        Decided::Recorded
    );
    for amount in [10, 20] {
        let refund = RefundId::fresh(&time.ambient);
        store.begin_refund(payment.id, refund, amount, time.tick()).await.expect("begins");
        if amount == 10 {
            store.end_refund(payment.id, refund, true, "re_1", time.tick()).await.expect("ends");
        }
    }
    store.payment(payment.id).await.expect("reads").expect("is stored")
}

#[tokio::test]
async fn a_reopened_file_holds_what_was_answered() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("payments.db");
    let time = Clockwork::new(1);
    let store = SqlitePayments::open(&path, Ambient::system()).await.expect("opens");
    let before = filled(&store, &time).await;
    store.close().await;
    drop(store);
    let store = SqlitePayments::open(&path, Ambient::system()).await.expect("opens again");
    assert_eq!(store.payment(before.id).await.expect("reads"), Some(before));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn processes_that_start_together_make_one_new_file() {
    for _ in 0..10 {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("payments.db");
        let opened = (0..8).map(|_| {
            let path = path.clone();
            tokio::spawn(async move { SqlitePayments::open(&path, Ambient::system()).await })
        });
        for opened in join_all(opened).await {
            opened.expect("does not panic").expect("opens");
        }
    }
}

#[tokio::test]
async fn two_processes_on_one_file_share_epochs_and_decisions() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("payments.db");
    let time = Clockwork::new(2);
    let one = SqlitePayments::open(&path, Ambient::system()).await.expect("opens");
    let two = SqlitePayments::open(&path, Ambient::system()).await.expect("opens");
    let payment = PaymentStore::open_payment(&one, new_payment(&time)).await.expect("opens");
    let begins = (0..40).map(|i| {
        let store = if i % 2 == 0 { &one } else { &two };
        store.begin_attempt(payment.id, "w", time.tick())
    });
    let mut epochs: Vec<_> = join_all(begins).await.into_iter().map(|begun| begun.expect("begins")).collect();
    epochs.sort_unstable_by_key(|begun| if let Begun::Attempt { epoch } = begun { *epoch } else { 0 });
    assert_eq!(epochs, (1..=40).map(|epoch| Begun::Attempt { epoch }).collect::<Vec<_>>());
    let decide = |store: &SqlitePayments, code: &str| {
        let (store, code, at) = (store.clone(), code.to_owned(), time.tick());
        async move {
            store.record_decision(payment.id, 40, Decision::Declined { code }, at).await.expect("decides")
        }
    };
    let answers = join_all([decide(&one, "a"), decide(&two, "b")]).await;
    assert_eq!(answers.iter().filter(|answer| **answer == Decided::Recorded).count(), 1);
}

#[tokio::test]
async fn rows_cannot_be_changed_or_deleted() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("payments.db");
    let store = SqlitePayments::open(&path, Ambient::system()).await.expect("opens");
    let before = filled(&store, &Clockwork::new(3)).await;
    let mut raw = SqliteConnection::connect(&format!("sqlite://{}", path.display())).await.expect("connects");
    let tables: Vec<String> = sqlx::query_scalar(
        "SELECT name FROM sqlite_schema WHERE type = 'table' AND name LIKE 'payment%' ORDER BY name",
    )
    .fetch_all(&mut raw)
    .await
    .expect("reads");
    assert_eq!(tables.len(), 7);
    for table in tables {
        let column: String = sqlx::query_scalar("SELECT name FROM pragma_table_info(?) LIMIT 1")
            .bind(&table)
            .fetch_one(&mut raw)
            .await
            .expect("reads");
        for statement in [format!("UPDATE {table} SET {column} = {column}"), format!("DELETE FROM {table}")] {
            let error = sqlx::raw_sql(sqlx::AssertSqlSafe(statement.clone())).execute(&mut raw).await;
            let error = error.expect_err(&statement).to_string();
            assert!(error.contains(&format!("{table} is append-only")), "{statement}: {error}");
        }
    }
    assert_eq!(store.payment(before.id).await.expect("reads"), Some(before));
}

#[tokio::test]
async fn a_damaged_row_is_named_and_a_closed_file_is_unavailable() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("payments.db");
    let time = Clockwork::new(4);
    let store = SqlitePayments::open(&path, Ambient::system()).await.expect("opens");
    let mut raw = SqliteConnection::connect(&format!("sqlite://{}", path.display())).await.expect("connects");
    let id = new_payment(&time).id;
    sqlx::query("INSERT INTO payments VALUES (?, 'ord_nonsense', 'm', 1, 'EUR', 'pm', 'sandbox', 0)")
        .bind(id.to_string())
        .execute(&mut raw)
        .await
        .expect("inserts");
    match store.payment(id).await {
        Err(StoreError::Corrupt { store: "payment", detail }) => {
            assert!(detail.contains("order_id") && detail.contains(&id.to_string()), "{detail}");
        }
        other => panic!("read damaged data: {other:?}"),
    }
    store.close().await;
    let closed = store.payment(id).await;
    assert!(matches!(closed, Err(StoreError::Unavailable { store: "payment", .. })), "{closed:?}");
    assert!(matches!(store.ping().await, Err(StoreError::Unavailable { .. })));
}

#[tokio::test]
async fn listings_and_references_are_searched_by_index() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("payments.db");
    SqlitePayments::open(&path, Ambient::system()).await.expect("opens").close().await;
    let mut raw = SqliteConnection::connect(&format!("sqlite://{}", path.display())).await.expect("connects");
    let plans = [
        "EXPLAIN QUERY PLAN SELECT id FROM payments WHERE merchant_id = 'm' AND created_at >= 0
         AND created_at < 9 ORDER BY created_at, id LIMIT 5",
        "EXPLAIN QUERY PLAN SELECT p.id FROM payment_decisions d JOIN payments p ON p.id = d.payment_id
         WHERE d.provider_reference = 'ch' AND p.provider = 'sandbox'",
    ];
    for sql in plans {
        let plan: Vec<(i64, i64, i64, String)> =
            sqlx::query_as(sql).fetch_all(&mut raw).await.expect("plans");
        let text = format!("{plan:?}");
        assert!(text.contains("SEARCH") && !text.contains("SCAN") && !text.contains("TEMP B-TREE"), "{text}");
    }
}
