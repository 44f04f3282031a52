//! [`Webhooks`]: endpoints and delivery attempts.

use async_trait::async_trait;
use base::{Timestamp, ids::Uuid};
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
    PostgresOrders, fault,
    router::{ReadMode, RecordIds},
    row::to_json,
    timestamps::Moment,
    transaction::Unit,
};
use crate::partitions::earliest_of;

macro_rules! columns {
    () => {
        "id, merchant_id, url, events::text AS events, secret, previous_secrets::text AS previous_secrets, enabled,
         failing_since, disabled_at, disabled_reason, times_disabled, created_at"
    };
}

pub(super) const ONE: &str = select!(" FROM webhook_endpoints WHERE merchant_id = $1 AND id = $2");
pub(super) const BY_ID: &str = select!(" FROM webhook_endpoints WHERE id = $1");
pub(super) const LIST: &str =
    select!(" FROM webhook_endpoints WHERE merchant_id = $1 AND id < $2 ORDER BY id DESC LIMIT $3");
pub(super) const ENABLED: &str =
    "SELECT id, events::text AS events FROM webhook_endpoints WHERE merchant_id = $1 AND enabled";
const UPDATE: &str = concat!(
    "UPDATE webhook_endpoints SET url = coalesce($3, url), events = coalesce($4::json, events),
         enabled = coalesce($5, enabled), changed_at = $6,
         failing_since = CASE WHEN coalesce($5, false) OR $3 IS NOT NULL THEN NULL ELSE failing_since END,
         disabled_at = CASE WHEN coalesce($5, false) THEN NULL ELSE disabled_at END,
         disabled_reason = CASE WHEN coalesce($5, false) THEN NULL ELSE disabled_reason END
     WHERE merchant_id = $1 AND id = $2 RETURNING ",
    columns!()
);
const LOCK: &str = select!(" FROM webhook_endpoints WHERE merchant_id = $1 AND id = $2 FOR NO KEY UPDATE");
const ROTATE: &str = "
    UPDATE webhook_endpoints SET secret = $3, previous_secrets = $4::json WHERE merchant_id = $1 AND id = $2";
const NOTE: &str = "
    UPDATE webhook_endpoints SET enabled = $3, failing_since = $4, disabled_at = $5, disabled_reason = $6,
        times_disabled = $7, changed_at = CASE WHEN $3 THEN changed_at ELSE $8 END
    WHERE merchant_id = $1 AND id = $2";
/// Serialises writes of a merchant that look first. A statement of its own: the next one then sees the rows committed
/// while this one waited.
pub(super) const LOCK_MERCHANT: &str = "SELECT id FROM merchants WHERE id = $1 FOR NO KEY UPDATE";
const DELETE: &str = "DELETE FROM webhook_endpoints WHERE merchant_id = $1 AND id = $2";
const RECORD: &str = "
    INSERT INTO webhook_attempts (endpoint_id, event_id, attempt, at, order_id, duration_micros, status, error)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT DO NOTHING";
pub(super) const ATTEMPTS_OF_ORDER: &str = "
    SELECT endpoint_id, event_id, attempt, at, order_id, duration_micros, status::bigint AS status, error
    FROM webhook_attempts
    WHERE order_id = $1 AND event_id >= $2 ORDER BY at, endpoint_id, event_id, attempt LIMIT 1000";
pub(super) const DELIVERED: &str = "
    SELECT 1 FROM webhook_attempts
    WHERE endpoint_id = $1 AND event_id = $2 AND status BETWEEN 200 AND 299 LIMIT 1";

#[async_trait]
impl Webhooks for PostgresOrders {
    async fn create_endpoint(&self, endpoint: Endpoint) -> Result<bool> {
        let created =
            self.router.write(endpoint.merchant, endpoint, |unit, endpoint| Box::pin(create(unit, endpoint)));
        Ok(created.await?)
    }

    async fn endpoint(&self, merchant: MerchantId, id: EndpointId) -> Result<Option<Endpoint>> {
        let query = || sqlx::query(ONE).bind(merchant.0).bind(id.0);
        Ok(self.router.row(merchant, ReadMode::Replica, query, rows::endpoint).await?)
    }

    async fn endpoint_by_id(&self, id: EndpointId) -> Result<Option<Endpoint>> {
        let query = || sqlx::query(BY_ID).bind(id.0);
        Ok(self.router.row(id, ReadMode::Primary, query, rows::endpoint).await?)
    }

    async fn endpoints(&self, merchant: MerchantId, page: PageRequest<EndpointId>) -> Result<Page<Endpoint>> {
        let query = || {
            sqlx::query(LIST)
                .bind(merchant.0)
                .bind(page.after.map_or(Uuid::max(), |id| id.0))
                .bind(i64::from(page.limit) + 1)
        };
        let endpoints = self.router.rows(merchant, ReadMode::Replica, query, rows::endpoint).await?;
        Ok(Page::from_overfetched(endpoints, page.limit))
    }

    async fn update_endpoint(
        &self,
        merchant: MerchantId,
        id: EndpointId,
        change: EndpointChange,
    ) -> Result<Option<Endpoint>> {
        let updated = self.router.write(merchant, (merchant, id, change), |unit, (merchant, id, change)| {
            Box::pin(update(unit, *merchant, *id, change))
        });
        Ok(updated.await?)
    }

    async fn rotate_secret(
        &self,
        merchant: MerchantId,
        id: EndpointId,
        rotation: SecretRotation,
    ) -> Result<SecretRotated> {
        let facts = ((merchant, id), rotation);
        let rotated = self.router.write(merchant, facts, |unit, (endpoint, rotation)| {
            Box::pin(rotate(unit, *endpoint, rotation.clone()))
        });
        Ok(rotated.await?)
    }

    async fn note_endpoint(
        &self,
        merchant: MerchantId,
        id: EndpointId,
        tried: &str,
        finding: EndpointFinding,
        at: Timestamp,
    ) -> Result<bool> {
        let facts = ((merchant, id), tried.to_owned(), finding, at);
        let noted = self.router.write(merchant, facts, |unit, (endpoint, tried, finding, at)| {
            Box::pin(note(unit, *endpoint, tried, *finding, *at))
        });
        Ok(noted.await?)
    }

    async fn delete_endpoint(&self, merchant: MerchantId, id: EndpointId) -> Result<bool> {
        Ok(self.router.run(merchant, || sqlx::query(DELETE).bind(merchant.0).bind(id.0)).await? > 0)
    }

    async fn subscribers(&self, merchant: MerchantId, kind: EventKind) -> Result<Vec<EndpointId>> {
        // At most 50 rows. `includes` decides which of them subscribe to the kind, so that the rule exists only once.
        let query = || sqlx::query(ENABLED).bind(merchant.0);
        let endpoints = self.router.rows(merchant, ReadMode::Primary, query, rows::subscriber).await?;
        Ok(endpoints.into_iter().filter(|(_, events)| events.includes(kind)).map(|(id, _)| id).collect())
    }

    async fn record_attempt(&self, attempt: WebhookAttempt) -> Result<()> {
        let query = || {
            sqlx::query(RECORD)
                .bind(attempt.endpoint.0)
                .bind(attempt.event.0)
                .bind(i64::from(attempt.attempt))
                .bind(Moment(attempt.at))
                .bind(attempt.order.map(|id| id.0))
                .bind(i64::try_from(attempt.duration.as_micros()).unwrap_or(i64::MAX))
                .bind(attempt.status.map(i32::from))
                .bind(attempt.error.as_deref())
        };
        let (endpoint, event) = (Some(attempt.endpoint), Some(attempt.event));
        let of = RecordIds { order: attempt.order, endpoint, event, ..RecordIds::default() };
        self.router.run(of, query).await?;
        Ok(())
    }

    async fn attempts_of_order(&self, order: OrderId) -> Result<Vec<WebhookAttempt>> {
        let query = || sqlx::query(ATTEMPTS_OF_ORDER).bind(order.0).bind(earliest_of(order));
        Ok(self.router.rows(order, ReadMode::Replica, query, rows::attempt).await?)
    }

    async fn delivered(&self, endpoint: EndpointId, event: EventId) -> Result<bool> {
        let query = || sqlx::query(DELIVERED).bind(endpoint.0).bind(event.0);
        let of = RecordIds { endpoint: Some(endpoint), event: Some(event), ..RecordIds::default() };
        Ok(self.router.row(of, ReadMode::Primary, query, |_| Ok(())).await?.is_some())
    }
}

async fn create(unit: &mut Unit, endpoint: &Endpoint) -> fault::Result<bool> {
    let (merchant, id) = (endpoint.merchant.0, endpoint.id.0);
    // So that the count below holds.
    unit.row(sqlx::query(LOCK_MERCHANT).bind(merchant)).await?;
    let query = sqlx::query(
        "INSERT INTO webhook_endpoints (merchant_id, id, url, events, secret, enabled, created_at)
         SELECT $1, $2, $3, $4::json, $5, $6, $7
         WHERE (SELECT count(*) FROM webhook_endpoints WHERE merchant_id = $1) < $8
         ON CONFLICT DO NOTHING",
    )
    .bind(merchant)
    .bind(id)
    .bind(&endpoint.url)
    .bind(to_json(&endpoint.events)?)
    .bind(&endpoint.secret)
    .bind(endpoint.enabled)
    .bind(Moment(endpoint.created_at))
    .bind(i64::from(ENDPOINTS_PER_MERCHANT_MAX));
    if unit.run(query).await? > 0 {
        return Ok(true);
    }
    // A repetition after an unknown outcome: the endpoint exists, as requested.
    Ok(unit.row(sqlx::query(ONE).bind(merchant).bind(id)).await?.is_some())
}

async fn update(
    unit: &mut Unit,
    merchant: MerchantId,
    id: EndpointId,
    change: &EndpointChange,
) -> fault::Result<Option<Endpoint>> {
    let query = sqlx::query(UPDATE)
        .bind(merchant.0)
        .bind(id.0)
        .bind(&change.url)
        .bind(change.events.as_ref().map(to_json).transpose()?)
        .bind(change.enabled)
        .bind(Moment(unit.ambient.now()));
    unit.row(query).await?.as_ref().map(rows::endpoint).transpose()
}

async fn rotate(
    unit: &mut Unit,
    (merchant, id): (MerchantId, EndpointId),
    rotation: SecretRotation,
) -> fault::Result<SecretRotated> {
    let row = unit.row(sqlx::query(LOCK).bind(merchant.0).bind(id.0)).await?;
    let Some(row) = row else { return Ok(SecretRotated::NotFound) };
    let mut endpoint = rows::endpoint(&row)?;
    if !endpoint.rotate_secret(rotation) {
        return Ok(SecretRotated::TooMany);
    }
    let query = sqlx::query(ROTATE)
        .bind(merchant.0)
        .bind(id.0)
        .bind(endpoint.secret.clone())
        .bind(to_json(&endpoint.previous_secrets)?);
    unit.run(query).await?;
    Ok(SecretRotated::Rotated(Box::new(endpoint)))
}

async fn note(
    unit: &mut Unit,
    (merchant, id): (MerchantId, EndpointId),
    tried: &str,
    finding: EndpointFinding,
    at: Timestamp,
) -> fault::Result<bool> {
    let query = sqlx::query(LOCK).bind(merchant.0).bind(id.0);
    let Some(row) = unit.row(query).await? else { return Ok(false) };
    let mut endpoint = rows::endpoint(&row)?;
    if endpoint.url != tried {
        return Ok(false);
    }
    let Some(is_disabled) = endpoint.take_in(finding, at) else { return Ok(false) };
    let query = sqlx::query(NOTE)
        .bind(merchant.0)
        .bind(id.0)
        .bind(endpoint.enabled)
        .bind(endpoint.failing_since.map(Moment))
        .bind(endpoint.disabled.map(|disabled| Moment(disabled.at)))
        .bind(endpoint.disabled.map(|disabled| disabled.reason.as_str()))
        .bind(i64::try_from(endpoint.times_disabled).unwrap_or(i64::MAX))
        .bind(Moment(at));
    unit.run(query).await?;
    if is_disabled {
        unit.messages(at).endpoint_disabled(&endpoint);
    }
    Ok(is_disabled)
}
