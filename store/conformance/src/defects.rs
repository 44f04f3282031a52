//! Stores whose schema is not this release's, or whose permissions are missing: every engine answers a defect, which is
//! neither retried in silence nor taken for corrupt data. The tests of an engine damage its store and call these.

use std::fmt::Debug;

use base::Ambient;
use store::{
    OrderStore, PaymentStore, StoreError,
    domain::{MerchantId, OrderId, PaymentId},
};

fn is_defect<T: Debug>(answer: Result<T, StoreError>, of: &str) {
    match answer {
        Err(StoreError::Defect { store, .. }) => assert_eq!(store, of),
        other => panic!("no defect: {other:?}"),
    }
}

/// A read, and a write that reads first.
pub async fn orders_that_do_not_fit(store: &dyn OrderStore) {
    let ambient = Ambient::system();
    let (merchant, order) = (MerchantId::fresh(&ambient), OrderId::fresh(&ambient));
    is_defect(store.order(merchant, order).await, "order");
    is_defect(store.cancel(merchant, order, "requested", ambient.now()).await, "order");
}

/// The same of payments.
pub async fn payments_that_do_not_fit(store: &dyn PaymentStore) {
    let ambient = Ambient::system();
    let payment = PaymentId::of_order(OrderId::fresh(&ambient));
    is_defect(store.payment(payment).await, "payment");
    is_defect(store.begin_attempt(payment, "w-1", ambient.now()).await, "payment");
}
