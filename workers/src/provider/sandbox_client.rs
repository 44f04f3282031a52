//! Client of the sandbox provider.
//!
//! Guarantees: answers are bounded in time and size, and checked against the request; an error is
//! [`ProviderError::Unavailable`] only where the request cannot have taken effect.

use std::time::Duration;

use async_trait::async_trait;
use base::{Ambient, time::between};
use http::{Method, StatusCode};
use reqwest::{RequestBuilder, Response};
use serde::{Deserialize, de::DeserializeOwned};
use store::domain::OrderId;
use webhooks::http_client::retry_after;

use super::{
    CaptureRequest, ChargeOutcome, ChargeQuery, ChargeReport, EntryKind, Ledger, LedgerEntry, LedgerPage,
    PaymentProvider, ProviderError, RefundOutcome, RefundReport, RefundRequest, Result,
    sandbox_server::Entry,
    wire::{self, ClientConfig, ClientError, HttpClient, decode},
};

const LEDGER_PAGE_MAX: u32 = 100;
/// Most ledger entries of several orders, which is the server's limit.
const OF_ORDERS_MAX: u32 = 1000;

/// The sandbox provider; clones share the connections.
#[derive(Clone)]
pub struct SandboxProvider {
    http: HttpClient,
    ambient: Ambient,
}

impl SandboxProvider {
    /// Sets up the client; connects only when used.
    pub fn new(config: ClientConfig, ambient: Ambient) -> Result<Self, ClientError> {
        Ok(Self { http: HttpClient::new(config)?, ambient })
    }

    async fn exchange(&self, request: RequestBuilder) -> Result<(StatusCode, Vec<u8>)> {
        let response = wire::send(request).await?;
        self.refusal(&response)?;
        wire::read(response).await
    }

    /// The body of a successful answer; `refused` is the code of any other.
    async fn ask<T: DeserializeOwned>(&self, request: RequestBuilder, refused: &'static str) -> Result<T> {
        let (status, body) = self.exchange(request).await?;
        if status.is_success() { decode(&body) } else { Err(ProviderError::Protocol { detail: refused }) }
    }

    async fn entries(&self, query: &[(&str, String)]) -> Result<LedgerPage> {
        let call = self.http.request(Method::GET, "/v1/ledger").query(query);
        let list: List<Entry> = self.ask(call, "ledger_refused").await?;
        let entries: Vec<_> = list.data.into_iter().map(entry).collect::<Result<_, _>>()?;
        let position = entries.last().map(|entry| entry.id.clone());
        Ok(LedgerPage { entries, position, has_more: list.has_more })
    }

    fn refusal(&self, response: &Response) -> Result<()> {
        let retry_after = || retry_after(response.headers(), self.ambient.now());
        match response.status() {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Err(ProviderError::Authentication),
            StatusCode::TOO_MANY_REQUESTS => Err(ProviderError::RateLimited { retry_after: retry_after() }),
            StatusCode::SERVICE_UNAVAILABLE => Err(ProviderError::Unavailable { retry_after: retry_after() }),
            // Any other 5xx, also of a gateway, leaves open whether the request took effect.
            status if status.is_server_error() => Err(ProviderError::Unknown { cause: "server_error" }),
            _ => Ok(()),
        }
    }
}

#[async_trait]
impl PaymentProvider for SandboxProvider {
    fn name(&self) -> &'static str {
        "sandbox"
    }

    async fn capture(&self, request: &CaptureRequest) -> Result<ChargeOutcome> {
        let body = serde_json::json!({
            "amount_minor": request.amount_minor,
            "currency": request.currency,
            "payment_method": request.method,
            "metadata": { "order_id": request.order },
        });
        let call = self.http.request(Method::POST, "/v1/charges");
        let call = call.header("idempotency-key", &request.idempotency_key).json(&body);
        let charge: Charge = self.ask(call, "charge_refused").await?;
        let asked_for = charge.idempotency_key == request.idempotency_key
            && charge.amount_minor == request.amount_minor
            && charge.currency == request.currency.as_str();
        if asked_for { charge.outcome() } else { Err(ProviderError::Protocol { detail: "another_charge" }) }
    }

    async fn find(&self, charge: &ChargeQuery) -> Result<Option<ChargeOutcome>> {
        let key = charge.idempotency_key.as_str();
        let call = self.http.request(Method::GET, "/v1/charges").query(&[("idempotency_key", key)]);
        let found: List<Charge> = self.ask(call, "lookup_refused").await?;
        match found.data.into_iter().next() {
            Some(charge) if charge.idempotency_key == key => charge.outcome().map(Some),
            Some(_) => Err(ProviderError::Protocol { detail: "another_charge" }),
            None => Ok(None),
        }
    }

    async fn refund(&self, request: &RefundRequest) -> Result<RefundOutcome> {
        let body = serde_json::json!({
            "charge": request.charge,
            "amount_minor": request.amount_minor,
            "metadata": { "order_id": request.order },
        });
        let call = self.http.request(Method::POST, "/v1/refunds");
        let call = call.header("idempotency-key", &request.idempotency_key).json(&body);
        let (status, body) = self.exchange(call).await?;
        if status.is_success() {
            let refund: Refund = decode(&body)?;
            let asked_for = refund.idempotency_key == request.idempotency_key
                && refund.amount_minor == request.amount_minor;
            return if asked_for {
                Ok(RefundOutcome::Done { reference: refund.id })
            } else {
                Err(ProviderError::Protocol { detail: "another_refund" })
            };
        }
        let problem: Problem = decode(&body)?;
        match problem.code.as_str() {
            "refund_exceeds_charge" => Ok(RefundOutcome::Refused { code: problem.code }),
            "charge_not_found" => Err(ProviderError::OWN_CHARGE_MISSING),
            _ => Err(ProviderError::Protocol { detail: "refund_refused" }),
        }
    }

    /// Read from the ledger. It holds no declined charges, which need no report.
    async fn report(&self, reference: &str) -> Result<Option<ChargeReport>> {
        let query = [("charge", reference.to_owned()), ("limit", LEDGER_PAGE_MAX.to_string())];
        let mut entries = self.entries(&query).await?.entries.into_iter();
        // The refunds of a charge come after it.
        let Some(charge) = entries.next().filter(|first| first.movement == EntryKind::Charge) else {
            return Ok(None);
        };
        let refunds = entries.map(|refund| RefundReport {
            outcome: RefundOutcome::Done { reference: refund.id.clone() },
            reference: refund.id,
            refund: refund.idempotency_key.parse().ok(),
            amount_minor: refund.amount_minor,
        });
        Ok(Some(ChargeReport {
            order: charge.order,
            amount_minor: charge.amount_minor,
            currency: charge.currency,
            outcome: Some(ChargeOutcome::Captured { provider_reference: charge.id }),
            refunds: refunds.collect(),
        }))
    }

    fn ledger(&self) -> Option<&dyn Ledger> {
        Some(self)
    }
}

#[async_trait]
impl Ledger for SandboxProvider {
    /// Entries oldest first; the position is the id of the last one.
    async fn page(&self, after: Option<&str>, grace: Duration) -> Result<LedgerPage> {
        let mut query = vec![("limit", LEDGER_PAGE_MAX.to_string())];
        query.extend(after.map(|after| ("after", after.to_owned())));
        let mut page = self.entries(&query).await?;
        let old =
            page.entries.iter().take_while(|entry| between(entry.at, self.ambient.now()) > grace).count();
        page.has_more &= old == page.entries.len();
        page.entries.truncate(old);
        page.position = page.entries.last().map(|entry| entry.id.clone()).or(after.map(str::to_owned));
        Ok(page)
    }

    async fn of_order(&self, order: OrderId, _charge: Option<&str>) -> Result<Vec<LedgerEntry>> {
        let query = [("order", order.to_string()), ("limit", LEDGER_PAGE_MAX.to_string())];
        Ok(self.entries(&query).await?.entries)
    }

    async fn of_orders(&self, orders: &[OrderId]) -> Result<Option<Vec<LedgerEntry>>> {
        let ids: Vec<String> = orders.iter().map(ToString::to_string).collect();
        let query = [("orders", ids.join(",")), ("limit", OF_ORDERS_MAX.to_string())];
        let page = self.entries(&query).await?;
        Ok((!page.has_more).then_some(page.entries))
    }
}

#[derive(Deserialize)]
struct List<T> {
    data: Vec<T>,
    has_more: bool,
}

fn entry(entry: Entry) -> Result<LedgerEntry> {
    Ok(LedgerEntry {
        id: entry.id,
        movement: entry.r#type,
        idempotency_key: entry.idempotency_key,
        charge: entry.reference,
        amount_minor: entry.amount_minor,
        currency: entry
            .currency
            .parse()
            .map_err(|_| ProviderError::Protocol { detail: "ledger_currency" })?,
        order: entry.order_id.and_then(|order| order.parse().ok()),
        at: entry.created_at,
    })
}

#[derive(Deserialize)]
struct Charge {
    id: String,
    status: String,
    decline_code: Option<String>,
    idempotency_key: String,
    amount_minor: i64,
    currency: String,
}

impl Charge {
    fn outcome(self) -> Result<ChargeOutcome> {
        match (self.status.as_str(), self.decline_code) {
            ("captured", _) => Ok(ChargeOutcome::Captured { provider_reference: self.id }),
            ("declined", Some(code)) => Ok(ChargeOutcome::Declined { code }),
            _ => Err(ProviderError::Protocol { detail: "unknown_status" }),
        }
    }
}

#[derive(Deserialize)]
struct Refund {
    id: String,
    idempotency_key: String,
    amount_minor: i64,
}

#[derive(Deserialize)]
struct Problem {
    code: String,
}
