//! Mapping of rows to the types of the contracts; the columns have the same names in every engine.

use std::{fmt::Display, time::Duration};

use super::{
    Damage,
    columns::Columns,
    messages::COMMAND,
    search::FacetGroup,
    stock::Stock,
    transitions::{KnownRefund, RefundEnd, RefundSums},
    verifications,
};
use crate::{
    audit::{AuditedEndpoint, OrderRefund, StockCount},
    catalog::{Category, Product},
    customers::{Account, ErasureRecord, PasswordHash},
    domain::{
        Customer, CustomerId, EndpointId, Event, EventId, KeyId, MerchantId, Order, OrderId, OrderToken,
        PaymentId, RefundId, Shipment, ShipmentId, VerificationId,
    },
    merchants::{KeyRecord, MerchantRecord, StoredKey},
    orders::{CaptureFacts, MailRecord},
    outbox::{Command, OutboxBody, OutboxMessage, Position, SetAside},
    verifications::Verification,
    webhooks::{Disabled, Endpoint, Subscription, WebhookAttempt},
};

pub fn order<F: From<Damage>>(row: &impl Columns<F>) -> Result<Order, F> {
    Ok(Order {
        id: row.id("id", OrderId)?,
        merchant: row.id("merchant_id", MerchantId)?,
        status: row.parsed("status")?,
        currency: row.parsed("currency")?,
        total_minor: row.number("total_minor")?,
        refunded_minor: row.number("refunded_minor")?,
        lines: row.json("lines")?,
        adjustments: row.json_if_any("adjustments")?.unwrap_or_default(),
        customer: Customer { email: row.text("customer_email")?, name: row.text("customer_name")? },
        account: row.id_if_any("customer_id", CustomerId)?,
        token: token(row)?,
        payment_method: row.text("payment_method")?,
        shipping_address: row.json_if_any("shipping_address")?,
        reference: row.text_if_any("reference")?.map(str::to_owned),
        status_reason: row.text_if_any("status_reason")?.map(str::to_owned),
        shipment: shipment(row)?,
        event_sequence: row.number("event_sequence")?,
        trace: row.parsed_if_any("trace")?,
        created_at: row.time("created_at")?,
        updated_at: row.time("updated_at")?,
    })
}

fn shipment<F: From<Damage>>(row: &impl Columns<F>) -> Result<Option<Shipment>, F> {
    let id = row.id_if_any("shipment_id", ShipmentId)?;
    Ok(id.zip(row.time_if_any("shipped_at")?).map(|(id, shipped_at)| Shipment { id, shipped_at }))
}

fn token<F: From<Damage>>(row: &impl Columns<F>) -> Result<Option<OrderToken>, F> {
    let hash = row.bytes_if_any("token_hash")?.map(<[u8; 32]>::try_from).transpose();
    let hash = hash.map_err(|error| Damage::column("token_hash", error))?;
    let token = hash.zip(row.time_if_any("token_expires_at")?);
    Ok(token.map(|(hash, expires_at)| OrderToken { hash, expires_at }))
}

pub fn capture<F: From<Damage>>(row: &impl Columns<F>) -> Result<Option<CaptureFacts>, F> {
    let provider_reference = row.text_if_any("provider_reference")?.unwrap_or_default().to_owned();
    let captured = row.id_if_any("payment_id", PaymentId)?.zip(row.integer_if_any("captured_minor")?);
    Ok(captured.map(|(payment, amount_minor)| CaptureFacts { payment, provider_reference, amount_minor }))
}

pub fn order_refund<F: From<Damage>>(row: &impl Columns<F>) -> Result<OrderRefund, F> {
    Ok(OrderRefund {
        id: row.id("id", RefundId)?,
        amount_minor: row.number("amount_minor")?,
        requested_at: row.time("requested_at")?,
        recorded_at: row.time_if_any("recorded_at")?,
        failed_at: row.time_if_any("failed_at")?,
        command: None,
    })
}

pub fn refund_sums<F: From<Damage>>(row: &impl Columns<F>) -> Result<RefundSums, F> {
    Ok(RefundSums {
        live_minor: row.number("live_minor")?,
        refunds: row.number("refunds")?,
        failed: row.number("failed")?,
    })
}

pub fn known_refund<F: From<Damage>>(row: &impl Columns<F>) -> Result<KnownRefund, F> {
    let end = match row.text_if_any("failure")? {
        Some(code) => RefundEnd::Failed(code.to_owned()),
        None if row.time_if_any("recorded_at")?.is_some() => RefundEnd::Done,
        None => RefundEnd::Open,
    };
    Ok(KnownRefund { end, amount_minor: row.number("amount_minor")?, remainder: row.flag("remainder")? })
}

pub fn mail<F: From<Damage>>(row: &impl Columns<F>) -> Result<MailRecord, F> {
    Ok(MailRecord {
        template: row.text("template")?,
        message_id: row.text("message_id")?,
        sent_at: row.time("sent_at")?,
    })
}

pub fn product<F: From<Damage>>(row: &impl Columns<F>) -> Result<Product, F> {
    Ok(Product {
        sku: row.text("sku")?,
        name: row.text("name")?,
        description: row.text_if_any("description")?.map(str::to_owned),
        category: row.text("category")?,
        price_minor: row.number("price_minor")?,
        currency: row.parsed("currency")?,
        on_hand: row.number("on_hand")?,
        reserved: row.number("reserved")?,
        low_stock_at: row.number("low_stock_at")?,
        updated_at: row.time("updated_at")?,
    })
}

pub fn category<F: From<Damage>>(row: &impl Columns<F>) -> Result<Category, F> {
    Ok(Category { slug: row.text("category")?, products: row.number("products")? })
}

pub fn facet_group<F: From<Damage>>(row: &impl Columns<F>) -> Result<FacetGroup, F> {
    Ok(FacetGroup {
        category: row.text("category")?,
        currency: row.parsed("currency")?,
        products: row.number("products")?,
        in_stock: row.number("in_stock")?,
        lowest_minor: row.number("lowest_minor")?,
        highest_minor: row.number("highest_minor")?,
    })
}

pub fn erasure<F: From<Damage>>(row: &impl Columns<F>) -> Result<ErasureRecord, F> {
    Ok(ErasureRecord {
        orders: row.number("orders")?,
        requested_by: row.text("requested_by")?,
        erased_at: row.time("erased_at")?,
    })
}

pub fn stock<F: From<Damage>>(row: &impl Columns<F>) -> Result<Stock, F> {
    Ok(Stock {
        sku: row.text("sku")?,
        name: row.text("name")?,
        price_minor: row.number("price_minor")?,
        on_hand: row.number("on_hand")?,
        reserved: row.number("reserved")?,
        low_stock_at: row.number("low_stock_at")?,
        event_sequence: row.number("event_sequence")?,
    })
}

pub fn stock_count<F: From<Damage>>(row: &impl Columns<F>) -> Result<StockCount, F> {
    Ok(StockCount {
        merchant: row.id("merchant_id", MerchantId)?,
        sku: row.text("sku")?,
        on_hand: row.number("on_hand")?,
        reserved: row.number("reserved")?,
        held: row.number("held")?,
    })
}

pub fn account<F: From<Damage>>(row: &impl Columns<F>) -> Result<Account, F> {
    Ok(Account {
        id: row.id("id", CustomerId)?,
        merchant: row.id("merchant_id", MerchantId)?,
        customer: Customer { email: row.text("email")?, name: row.text("name")? },
        password_hash: PasswordHash::from_phc(row.text("password_hash")?),
        created_at: row.time("created_at")?,
    })
}

pub fn verification<F: From<Damage>>(row: &impl Columns<F>) -> Result<verifications::Row, F> {
    let (name, hash) = (row.text_if_any("name")?, row.text_if_any("password_hash")?);
    let purpose =
        verifications::purpose(&row.text("purpose")?, name.map(str::to_owned), hash.map(str::to_owned))?;
    Ok(verifications::Row {
        verification: Verification {
            id: row.id("id", VerificationId)?,
            merchant: row.id("merchant_id", MerchantId)?,
            email: row.text("email")?,
            purpose,
            created_at: row.time("created_at")?,
        },
        token: row.bytes_if_any("token_hash")?.and_then(|token| token.try_into().ok()),
        minted_at: row.time_if_any("minted_at")?,
        mailed_at: row.time_if_any("mailed_at")?,
    })
}

pub fn merchant<F: From<Damage>>(row: &impl Columns<F>) -> Result<MerchantRecord, F> {
    let (id, name) = (row.id("id", MerchantId)?, row.text("name")?);
    Ok(MerchantRecord { id, name, created_at: row.time("created_at")? })
}

pub fn key<F: From<Damage>>(row: &impl Columns<F>) -> Result<StoredKey, F> {
    let (id, merchant) = (row.id("id", KeyId)?, row.id("merchant_id", MerchantId)?);
    Ok(StoredKey {
        record: KeyRecord { id, merchant, scope: row.parsed("scope")? },
        label: row.text_if_any("label")?.map(str::to_owned),
        prefix: row.text_if_any("prefix")?.map(str::to_owned),
        created_at: row.time("created_at")?,
        last_used_at: row.time_if_any("last_used_at")?,
        revoked_at: row.time_if_any("revoked_at")?,
    })
}

pub fn event<F: From<Damage>>(row: &impl Columns<F>) -> Result<Event, F> {
    Ok(Event {
        id: row.id("id", EventId)?,
        merchant: row.id("merchant_id", MerchantId)?,
        order: row.id_if_any("order_id", OrderId)?,
        kind: row.parsed("kind")?,
        sequence: row.number("sequence")?,
        at: row.time("at")?,
        data: row.json("data")?,
        trace: row.parsed_if_any("trace")?,
    })
}

pub fn command<F: From<Damage>>(row: &impl Columns<F>) -> Result<(EventId, Command), F> {
    Ok((row.id("id", EventId)?, row.json("data")?))
}

/// A message of the outbox, with a position in one database. One that does not read back is no error.
pub fn message<F: From<Damage> + Display>(row: &impl Columns<F>) -> Result<OutboxMessage, F> {
    match body(row) {
        Ok(body) => positioned(row, body),
        Err(error) => unreadable(row, error),
    }
}

/// A message of the outbox that cannot be read for this reason.
pub fn unreadable<F: From<Damage>>(row: &impl Columns<F>, error: impl Display) -> Result<OutboxMessage, F> {
    positioned(row, OutboxBody::Unreadable(head(row, Some(error.to_string()))))
}

/// A message that is set aside, and whether this release can read it.
pub fn set_aside<F: From<Damage> + Display>(row: &impl Columns<F>) -> SetAside {
    head(row, body(row).err().map(|error| error.to_string()))
}

fn positioned<F: From<Damage>>(row: &impl Columns<F>, body: OutboxBody) -> Result<OutboxMessage, F> {
    let subject = row.id("subject", |id| id.to_string())?;
    Ok(OutboxMessage { position: Position::only(row.number("position")?), subject, body })
}

fn body<F: From<Damage>>(row: &impl Columns<F>) -> Result<OutboxBody, F> {
    if row.text_if_any("kind")? == Some(COMMAND) {
        let ((id, command), merchant) = (command(row)?, row.id("merchant_id", MerchantId)?);
        return Ok(OutboxBody::Command { id, merchant, command, trace: row.parsed_if_any("trace")? });
    }
    Ok(OutboxBody::Event(event(row)?))
}

fn head<F: From<Damage>>(row: &impl Columns<F>, error: Option<String>) -> SetAside {
    SetAside {
        id: row.id("id", EventId).map_or_else(|_| "?".to_owned(), |id| id.to_string()),
        merchant: row.id_if_any("merchant_id", MerchantId).ok().flatten(),
        order: row.id_if_any("order_id", OrderId).ok().flatten(),
        kind: row.text("kind").unwrap_or_else(|_| "?".to_owned()),
        at: row.time_if_any("at").ok().flatten(),
        error,
    }
}

/// A subscription of another form than this release knows is [`Subscription::Unreadable`].
fn subscription<F: From<Damage>>(row: &impl Columns<F>) -> Result<Subscription, F> {
    Ok(serde_json::from_str(&row.text("events")?).unwrap_or(Subscription::Unreadable))
}

/// An endpoint, and the kinds of events it gets.
pub fn subscriber<F: From<Damage>>(row: &impl Columns<F>) -> Result<(EndpointId, Subscription), F> {
    Ok((row.id("id", EndpointId)?, subscription(row)?))
}

pub fn endpoint<F: From<Damage>>(row: &impl Columns<F>) -> Result<Endpoint, F> {
    Ok(Endpoint {
        id: row.id("id", EndpointId)?,
        merchant: row.id("merchant_id", MerchantId)?,
        url: row.text("url")?,
        events: subscription(row)?,
        secret: row.text("secret")?,
        previous_secrets: row.json("previous_secrets")?,
        enabled: row.flag("enabled")?,
        failing_since: row.time_if_any("failing_since")?,
        disabled: row
            .time_if_any("disabled_at")?
            .zip(row.parsed_if_any("disabled_reason")?)
            .map(|(at, reason)| Disabled { at, reason }),
        times_disabled: row.number("times_disabled")?,
        created_at: row.time("created_at")?,
    })
}

pub fn audited_endpoint<F: From<Damage>>(row: &impl Columns<F>) -> Result<AuditedEndpoint, F> {
    Ok(AuditedEndpoint {
        id: row.id("id", EndpointId)?,
        events: subscription(row)?,
        enabled: row.flag("enabled")?,
        since: row.time("since")?,
    })
}

pub fn attempt<F: From<Damage>>(row: &impl Columns<F>) -> Result<WebhookAttempt, F> {
    let status = row.integer_if_any("status")?.map(u16::try_from).transpose();
    Ok(WebhookAttempt {
        endpoint: row.id("endpoint_id", EndpointId)?,
        event: row.id("event_id", EventId)?,
        order: row.id_if_any("order_id", OrderId)?,
        attempt: row.number("attempt")?,
        at: row.time("at")?,
        duration: Duration::from_micros(row.number("duration_micros")?),
        status: status.map_err(|error| Damage::column("status", error))?,
        error: row.text_if_any("error")?.map(str::to_owned),
    })
}
