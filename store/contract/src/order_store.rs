//! [`OrderStore`]: the contracts of the relational store together, for callers that need several of them.

use crate::{
    admission::Admission,
    audit::Audit,
    catalog::Catalog,
    customers::Customers,
    merchants::Merchants,
    orders::{Mails, Orders},
    outbox::Outbox,
    reservations::Reservations,
    verifications::Verifications,
    webhooks::Webhooks,
};

/// All contracts of the relational store.
pub trait OrderStore:
    Merchants
    + Customers
    + Verifications
    + Catalog
    + Reservations
    + Orders
    + Mails
    + Outbox
    + Webhooks
    + Audit
    + Admission
{
}

impl<S> OrderStore for S where
    S: Merchants
        + Customers
        + Verifications
        + Catalog
        + Reservations
        + Orders
        + Mails
        + Outbox
        + Webhooks
        + Audit
        + Admission
{
}
