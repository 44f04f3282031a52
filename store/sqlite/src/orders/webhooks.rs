//! [`Webhooks`]: endpoints and delivery attempts.

use async_trait::async_trait;
use base::{Timestamp, sqlite::Query};
use store::{
    domain::{EndpointId, EventId, EventKind, MerchantId, OrderId, Page, PageRequest},
    error::Result,
    rules::rows,
    webhooks::{
        ENDPOINTS_PER_MERCHANT_MAX, Endpoint, EndpointChange, EndpointFinding, SecretRotated, SecretRotation,
        WebhookAttempt, Webhooks,
    },
};

use super::{
    SqliteOrders,
    fault::{SqliteFault, to_json},
    order_flow::AFTER_ALL_IDS,
    transaction::Unit,
};

pub(super) const LIST: &str =
    "SELECT * FROM webhook_endpoints WHERE merchant_id = ?1 AND id < ?2 ORDER BY id DESC LIMIT ?3";
pub(super) const ATTEMPTS_OF_ORDER: &str = "SELECT * FROM webhook_attempts WHERE order_id = ?1 ORDER BY at, endpoint_id, event_id, attempt LIMIT 1000";

const INSERT: &str = "
    INSERT INTO webhook_endpoints (merchant_id, id, url, events, secret, enabled, created_at)
    SELECT ?1, ?2, ?3, ?4, ?5, ?6, ?7
    WHERE (SELECT count(*) FROM webhook_endpoints WHERE merchant_id = ?1) < ?8
    ON CONFLICT DO NOTHING";
const UPDATE: &str = "
    UPDATE webhook_endpoints SET url = coalesce(?3, url), events = coalesce(?4, events),
        enabled = coalesce(?5, enabled), changed_at = ?6,
        failing_since = iif(coalesce(?5, 0) OR ?3 IS NOT NULL, NULL, failing_since),
        disabled_at = iif(coalesce(?5, 0), NULL, disabled_at),
        disabled_reason = iif(coalesce(?5, 0), NULL, disabled_reason)
    WHERE merchant_id = ?1 AND id = ?2 RETURNING *";
const ROTATE: &str =
    "UPDATE webhook_endpoints SET secret = ?3, previous_secrets = ?4 WHERE merchant_id = ?1 AND id = ?2";
const NOTE: &str = "
    UPDATE webhook_endpoints SET enabled = ?3, failing_since = ?4, disabled_at = ?5, disabled_reason = ?6,
        times_disabled = ?7, changed_at = iif(?3, changed_at, ?8)
    WHERE merchant_id = ?1 AND id = ?2";
const DELETE: &str = "DELETE FROM webhook_endpoints WHERE merchant_id = ?1 AND id = ?2";
const RECORD: &str = "
    INSERT INTO webhook_attempts (endpoint_id, event_id, attempt, at, order_id, duration_micros, status, error)
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8) ON CONFLICT DO NOTHING";
const DELIVERED: &str = "
    SELECT EXISTS (SELECT 1 FROM webhook_attempts
        WHERE endpoint_id = ?1 AND event_id = ?2 AND status BETWEEN 200 AND 299)";

#[async_trait]
impl Webhooks for SqliteOrders {
    async fn create_endpoint(&self, endpoint: Endpoint) -> Result<bool> {
        let query = sqlx::query(INSERT)
            .bind(endpoint.merchant.to_string())
            .bind(endpoint.id.to_string())
            .bind(endpoint.url)
            .bind(to_json(&endpoint.events)?)
            .bind(endpoint.secret)
            .bind(endpoint.enabled)
            .bind(endpoint.created_at.as_millisecond())
            .bind(ENDPOINTS_PER_MERCHANT_MAX);
        if self.run(query).await? > 0 {
            return Ok(true);
        }
        // A repetition after an unknown outcome: the endpoint exists, as requested.
        Ok(self.endpoint(endpoint.merchant, endpoint.id).await?.is_some())
    }

    async fn endpoint(&self, merchant: MerchantId, id: EndpointId) -> Result<Option<Endpoint>> {
        self.first(of_merchant(merchant, id), rows::endpoint).await
    }

    async fn endpoint_by_id(&self, id: EndpointId) -> Result<Option<Endpoint>> {
        let query = sqlx::query("SELECT * FROM webhook_endpoints WHERE id = ?1").bind(id.to_string());
        self.first(query, rows::endpoint).await
    }

    async fn endpoints(&self, merchant: MerchantId, page: PageRequest<EndpointId>) -> Result<Page<Endpoint>> {
        let query = sqlx::query(LIST)
            .bind(merchant.to_string())
            .bind(page.after.map_or_else(|| AFTER_ALL_IDS.to_owned(), |id| id.to_string()))
            .bind(i64::from(page.limit) + 1);
        Ok(Page::from_overfetched(self.all(query, rows::endpoint).await?, page.limit))
    }

    async fn update_endpoint(
        &self,
        merchant: MerchantId,
        id: EndpointId,
        change: EndpointChange,
    ) -> Result<Option<Endpoint>> {
        let at = self.ambient.now();
        let query = sqlx::query(UPDATE)
            .bind(merchant.to_string())
            .bind(id.to_string())
            .bind(change.url)
            .bind(change.events.as_ref().map(to_json).transpose()?)
            .bind(change.enabled)
            .bind(at.as_millisecond());
        let row = self.write(at, move |unit| Box::pin(unit.row(query))).await?;
        Ok(row.as_ref().map(rows::endpoint).transpose()?)
    }

    async fn rotate_secret(
        &self,
        merchant: MerchantId,
        id: EndpointId,
        rotation: SecretRotation,
    ) -> Result<SecretRotated> {
        let at = rotation.at;
        Ok(self.write(at, move |unit| Box::pin(rotate(unit, merchant, id, rotation))).await?)
    }

    async fn note_endpoint(
        &self,
        merchant: MerchantId,
        id: EndpointId,
        tried: &str,
        finding: EndpointFinding,
        at: Timestamp,
    ) -> Result<bool> {
        let tried = tried.to_owned();
        Ok(self.write(at, move |unit| Box::pin(note(unit, merchant, id, tried, finding))).await?)
    }

    async fn delete_endpoint(&self, merchant: MerchantId, id: EndpointId) -> Result<bool> {
        Ok(self.run(sqlx::query(DELETE).bind(merchant.to_string()).bind(id.to_string())).await? > 0)
    }

    async fn subscribers(&self, merchant: MerchantId, kind: EventKind) -> Result<Vec<EndpointId>> {
        // At most 50 rows. `includes` decides which of them subscribe to the kind, so that the rule exists only once.
        let query =
            sqlx::query("SELECT id, events FROM webhook_endpoints WHERE merchant_id = ?1 AND enabled = 1");
        let endpoints = self.all(query.bind(merchant.to_string()), rows::subscriber).await?;
        Ok(endpoints.into_iter().filter(|(_, events)| events.includes(kind)).map(|(id, _)| id).collect())
    }

    async fn record_attempt(&self, attempt: WebhookAttempt) -> Result<()> {
        let query = sqlx::query(RECORD)
            .bind(attempt.endpoint.to_string())
            .bind(attempt.event.to_string())
            .bind(attempt.attempt)
            .bind(attempt.at.as_millisecond())
            .bind(attempt.order.map(|id| id.to_string()))
            .bind(i64::try_from(attempt.duration.as_micros()).unwrap_or(i64::MAX))
            .bind(attempt.status)
            .bind(attempt.error);
        self.run(query).await?;
        Ok(())
    }

    async fn attempts_of_order(&self, order: OrderId) -> Result<Vec<WebhookAttempt>> {
        self.all(sqlx::query(ATTEMPTS_OF_ORDER).bind(order.to_string()), rows::attempt).await
    }

    async fn delivered(&self, endpoint: EndpointId, event: EventId) -> Result<bool> {
        let query = sqlx::query_scalar(DELIVERED).bind(endpoint.to_string()).bind(event.to_string());
        Ok(query.fetch_one(self.database.readers()).await.map_err(SqliteFault::from)?)
    }
}

fn of_merchant(merchant: MerchantId, id: EndpointId) -> Query<'static> {
    let query = sqlx::query("SELECT * FROM webhook_endpoints WHERE merchant_id = ?1 AND id = ?2");
    query.bind(merchant.to_string()).bind(id.to_string())
}

async fn rotate(
    unit: &mut Unit<'_>,
    merchant: MerchantId,
    id: EndpointId,
    rotation: SecretRotation,
) -> Result<SecretRotated, SqliteFault> {
    let Some(row) = unit.row(of_merchant(merchant, id)).await? else { return Ok(SecretRotated::NotFound) };
    let mut endpoint = rows::endpoint(&row)?;
    if !endpoint.rotate_secret(rotation) {
        return Ok(SecretRotated::TooMany);
    }
    let query = sqlx::query(ROTATE)
        .bind(merchant.to_string())
        .bind(id.to_string())
        .bind(endpoint.secret.clone())
        .bind(to_json(&endpoint.previous_secrets)?);
    unit.run(query).await?;
    Ok(SecretRotated::Rotated(Box::new(endpoint)))
}

async fn note(
    unit: &mut Unit<'_>,
    merchant: MerchantId,
    id: EndpointId,
    tried: String,
    finding: EndpointFinding,
) -> Result<bool, SqliteFault> {
    let Some(row) = unit.row(of_merchant(merchant, id)).await? else { return Ok(false) };
    let mut endpoint = rows::endpoint(&row)?;
    if endpoint.url != tried {
        return Ok(false);
    }
    let Some(is_disabled) = endpoint.take_in(finding, unit.messages.at) else { return Ok(false) };
    let query = sqlx::query(NOTE)
        .bind(merchant.to_string())
        .bind(id.to_string())
        .bind(endpoint.enabled)
        .bind(endpoint.failing_since.map(Timestamp::as_millisecond))
        .bind(endpoint.disabled.map(|disabled| disabled.at.as_millisecond()))
        .bind(endpoint.disabled.map(|disabled| disabled.reason.as_str()))
        .bind(i64::try_from(endpoint.times_disabled).unwrap_or(i64::MAX))
        .bind(unit.at_ms());
    unit.run(query).await?;
    if is_disabled {
        unit.messages.endpoint_disabled(&endpoint);
    }
    Ok(is_disabled)
}
