//! The payment suite on a real Cassandra, and cases of that engine: failures, killed nodes, migrations, TLS.

#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a failing test says so; a ring test says how it went"
)]

mod defects;
mod faults;
mod ring;
mod schema;
mod tls;
mod util;

use std::sync::Arc;

use base::Ambient;
use store::{
    domain::{Decision, MerchantId, OrderId, Payment, PaymentId},
    payments::{Begun, NewPayment, PaymentStore},
};
use store_cassandra::CassandraPayments;

store_conformance::payment_store_suite!(crate::util::cassandra::payments);

fn new_payment(ambient: &Ambient, merchant: MerchantId) -> NewPayment {
    let order = OrderId::fresh(ambient);
    NewPayment {
        id: PaymentId::of_order(order),
        order,
        merchant,
        amount_minor: 1000,
        currency: "EUR".parse().expect("a currency"),
        method: "pm_card_visa".to_owned(),
        provider: "sandbox".to_owned(),
        at: ambient.now(),
    }
}

fn capture(reference: &str) -> Decision {
    Decision::Captured { provider_reference: reference.to_owned() }
}

async fn begun(store: &CassandraPayments, payment: &Payment) -> u64 {
    match store.begin_attempt(payment.id, "w", payment.created_at).await.expect("begins") {
        Begun::Attempt { epoch } => epoch,
        other => panic!("{} began no attempt: {other:?}", payment.id),
    }
}

/// Alternates between two stores with connections of their own.
fn either<T>(two: &[Arc<T>; 2], turn: usize) -> Arc<T> {
    Arc::clone(&two[turn % 2])
}
