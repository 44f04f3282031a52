//! Domain of the address that the mails of an outbox message go to, by which mails are limited.
//!
//! Guarantees: one domain for all spellings of it. Reads the order of a mail about an order, as not every event tells
//! the customer's address; so it is called only where a limit is set. Next: [`crate::limits`].

use store::{
    OrderStore, StoreError,
    domain::{EventKind, mail_domain},
    event_data,
    outbox::{Command, OutboxBody},
};

use crate::subscriptions::mail_for;

/// `None` for a message without a mail, for an order or a customer that is gone, and for an address without a domain.
///
/// # Errors
/// Those of the order store.
pub async fn of_message(store: &dyn OrderStore, message: &OutboxBody) -> Result<Option<String>, StoreError> {
    let event = match message {
        OutboxBody::Event(event) => event,
        OutboxBody::Command { command: Command::Verify { domain, .. }, .. } => return Ok(domain.clone()),
        OutboxBody::Command { .. } | OutboxBody::Unreadable(_) => return Ok(None),
    };
    if event.kind == EventKind::CustomerRegistered {
        return Ok(event_data::customer_email(&event.data).and_then(mail_domain));
    }
    let Some(order) = event.order.filter(|_| mail_for(event).is_some()) else { return Ok(None) };
    let order = store.order_by_id(order).await?;
    Ok(order.and_then(|order| mail_domain(&order.customer.email)))
}
