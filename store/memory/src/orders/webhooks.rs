//! [`Webhooks`] in memory: endpoints and attempts.

use std::time::Duration;

use async_trait::async_trait;
use base::Timestamp;
use store::{
    domain::{EndpointId, EventId, EventKind, MerchantId, OrderId, Page, PageRequest},
    error::StoreError,
    rules::messages::Messages,
    webhooks::{
        ENDPOINTS_PER_MERCHANT_MAX, Endpoint, EndpointChange, EndpointFinding, SecretRotated, SecretRotation,
        WebhookAttempt, Webhooks,
    },
};

use super::{
    MemoryOrders,
    state::{AttemptKey, OrdersState},
};
use crate::page_of;

const ATTEMPTS_MAX: usize = 1000;

#[async_trait]
impl Webhooks for MemoryOrders {
    async fn create_endpoint(&self, endpoint: Endpoint) -> Result<bool, StoreError> {
        self.held.write("create_endpoint", move |state, _| Ok(create(state, endpoint))).await
    }

    async fn endpoint(&self, merchant: MerchantId, id: EndpointId) -> Result<Option<Endpoint>, StoreError> {
        self.held.read("endpoint", |state| of_merchant(state, merchant, id).cloned()).await
    }

    async fn endpoint_by_id(&self, id: EndpointId) -> Result<Option<Endpoint>, StoreError> {
        self.held.find("endpoint_by_id", |state| state.endpoints.get(&id).cloned()).await
    }

    async fn endpoints(
        &self,
        merchant: MerchantId,
        page: PageRequest<EndpointId>,
    ) -> Result<Page<Endpoint>, StoreError> {
        let list = |state: &OrdersState| {
            let newest_first = state.endpoints.values().rev().filter(|endpoint| {
                endpoint.merchant == merchant && page.after.is_none_or(|after| endpoint.id < after)
            });
            page_of(newest_first.cloned(), page.limit)
        };
        self.held.read("endpoints", list).await
    }

    async fn update_endpoint(
        &self,
        merchant: MerchantId,
        id: EndpointId,
        change: EndpointChange,
    ) -> Result<Option<Endpoint>, StoreError> {
        let at = self.ambient.now();
        let update = move |state: &mut OrdersState, _| {
            let Some(endpoint) = state.endpoints.get_mut(&id).filter(|e| e.merchant == merchant) else {
                return Ok(None);
            };
            let EndpointChange { url, events, enabled } = change;
            if url.is_some() || enabled == Some(true) {
                endpoint.failing_since = None;
            }
            if enabled == Some(true) {
                endpoint.disabled = None;
            }
            endpoint.url = url.unwrap_or_else(|| endpoint.url.clone());
            endpoint.events = events.unwrap_or_else(|| endpoint.events.clone());
            endpoint.enabled = enabled.unwrap_or(endpoint.enabled);
            let endpoint = endpoint.clone();
            state.changed_at.insert(id, at);
            Ok(Some(endpoint))
        };
        self.held.write("update_endpoint", update).await
    }

    async fn rotate_secret(
        &self,
        merchant: MerchantId,
        id: EndpointId,
        rotation: SecretRotation,
    ) -> Result<SecretRotated, StoreError> {
        let rotate = move |state: &mut OrdersState, _| {
            let endpoint = state.endpoints.get_mut(&id).filter(|e| e.merchant == merchant);
            let Some(endpoint) = endpoint else { return Ok(SecretRotated::NotFound) };
            if !endpoint.rotate_secret(rotation) {
                return Ok(SecretRotated::TooMany);
            }
            Ok(SecretRotated::Rotated(Box::new(endpoint.clone())))
        };
        self.held.write("rotate_secret", rotate).await
    }

    async fn note_endpoint(
        &self,
        merchant: MerchantId,
        id: EndpointId,
        tried: &str,
        finding: EndpointFinding,
        at: Timestamp,
    ) -> Result<bool, StoreError> {
        let (ambient, tried) = (self.ambient.clone(), tried.to_owned());
        let note = move |state: &mut OrdersState, _| {
            let endpoint = state.endpoints.get_mut(&id).filter(|e| e.merchant == merchant && e.url == tried);
            let Some(endpoint) = endpoint else { return Ok(false) };
            if endpoint.take_in(finding, at) != Some(true) {
                return Ok(false);
            }
            let mut messages = Messages::new(&ambient, at);
            messages.endpoint_disabled(endpoint);
            state.changed_at.insert(id, at);
            state.tell(messages)?;
            Ok(true)
        };
        self.held.write("note_endpoint", note).await
    }

    async fn delete_endpoint(&self, merchant: MerchantId, id: EndpointId) -> Result<bool, StoreError> {
        let delete = move |state: &mut OrdersState, _| {
            let there = of_merchant(state, merchant, id).is_some();
            if there {
                state.endpoints.remove(&id);
            }
            Ok(there)
        };
        self.held.write("delete_endpoint", delete).await
    }

    async fn subscribers(
        &self,
        merchant: MerchantId,
        kind: EventKind,
    ) -> Result<Vec<EndpointId>, StoreError> {
        let wants = |endpoint: &&Endpoint| {
            endpoint.merchant == merchant && endpoint.enabled && endpoint.events.includes(kind)
        };
        let find = |state: &OrdersState| {
            state.endpoints.values().filter(wants).map(|endpoint| endpoint.id).collect()
        };
        self.held.read("subscribers", find).await
    }

    async fn record_attempt(&self, attempt: WebhookAttempt) -> Result<(), StoreError> {
        let key = (attempt.endpoint, attempt.event, attempt.attempt, attempt.at);
        let micros = u64::try_from(attempt.duration.as_micros()).unwrap_or(u64::MAX);
        let attempt = WebhookAttempt { duration: Duration::from_micros(micros), ..attempt };
        let record = move |state: &mut OrdersState, _| {
            state.attempts.entry(key).or_insert(attempt);
            Ok(())
        };
        self.held.write("record_attempt", record).await
    }

    async fn attempts_of_order(&self, order: OrderId) -> Result<Vec<WebhookAttempt>, StoreError> {
        let list = |state: &OrdersState| {
            let of_order = state.attempts.values().filter(|attempt| attempt.order == Some(order));
            let mut attempts: Vec<_> = of_order.cloned().collect();
            attempts.sort_by_key(|a| (a.at, a.endpoint, a.event, a.attempt));
            attempts.truncate(ATTEMPTS_MAX);
            attempts
        };
        self.held.read("attempts_of_order", list).await
    }

    async fn delivered(&self, endpoint: EndpointId, event: EventId) -> Result<bool, StoreError> {
        let any = |state: &OrdersState| {
            let from = (endpoint, event, 0, base::Timestamp::MIN);
            let same = |(key, _): &(&AttemptKey, &WebhookAttempt)| (key.0, key.1) == (endpoint, event);
            state.attempts.range(from..).take_while(same).any(|(_, attempt)| attempt.delivered())
        };
        self.held.read("delivered", any).await
    }
}

fn of_merchant(state: &OrdersState, merchant: MerchantId, id: EndpointId) -> Option<&Endpoint> {
    state.endpoints.get(&id).filter(|endpoint| endpoint.merchant == merchant)
}

fn create(state: &mut OrdersState, endpoint: Endpoint) -> bool {
    // A repetition after an unknown outcome: the endpoint exists, so the request succeeds.
    if let Some(known) = state.endpoints.get(&endpoint.id) {
        return known.merchant == endpoint.merchant;
    }
    let of_merchant = state.endpoints.values().filter(|known| known.merchant == endpoint.merchant).count();
    if of_merchant >= usize::try_from(ENDPOINTS_PER_MERCHANT_MAX).unwrap_or(usize::MAX) {
        return false;
    }
    state.endpoints.insert(endpoint.id, endpoint);
    true
}
