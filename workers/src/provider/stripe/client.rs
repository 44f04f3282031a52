//! HTTP client of Stripe: one request and its answer.

use std::sync::{
    Arc,
    atomic::{AtomicI64, Ordering},
};

use base::{Ambient, Timestamp};
use http::{Method, header::CONTENT_TYPE};
use reqwest::RequestBuilder;
use serde::{Deserialize, de::DeserializeOwned};
use webhooks::http_client::{date, retry_after};

use super::{error, form::Form, objects::StripeError};
use crate::provider::{
    ClientConfig, ClientError, Result,
    wire::{self, HttpClient, decode},
};

/// The version of Stripe's API that this code is written against; sent with each call, so that the account's own
/// setting does not matter.
pub const API_VERSION: &str = "2025-09-30.clover";

/// Largest page that Stripe returns.
const PAGE: u32 = 100;

/// The Stripe provider; clones share the connections.
#[derive(Clone)]
pub struct StripeProvider {
    http: HttpClient,
    ambient: Ambient,
    /// Milliseconds that Stripe's clock is ahead of ours, by its last answer.
    ahead: Arc<AtomicI64>,
}

/// Answer of Stripe; the caller interprets a rejection.
pub(super) enum Answer<T> {
    Done(T),
    Refused(Box<StripeError>),
}

/// A page of a list, newest first.
#[derive(Deserialize)]
pub(super) struct List<T> {
    pub(super) data: Vec<T>,
    pub(super) has_more: bool,
}

impl StripeProvider {
    /// Sets up the client; connects only when used.
    pub fn new(config: ClientConfig, ambient: Ambient) -> Result<Self, ClientError> {
        Ok(Self { http: HttpClient::new(config)?, ambient, ahead: Arc::default() })
    }

    pub(super) fn now(&self) -> Timestamp {
        self.ambient.now()
    }

    /// The time by Stripe's clock, once it has answered.
    pub(super) fn now_at_stripe(&self) -> Timestamp {
        let at = self.now().as_millisecond().saturating_add(self.ahead.load(Ordering::Relaxed));
        Timestamp::from_millisecond(at).unwrap_or_else(|_| self.now())
    }

    pub(super) async fn get<T: DeserializeOwned>(&self, path: &str, query: Form) -> Result<Answer<T>> {
        self.exchange(self.http.request(Method::GET, path).query(&query.pairs())).await
    }

    /// A page of a list, after the entry with this id.
    pub(super) async fn list<T: DeserializeOwned>(
        &self,
        path: &str,
        query: Form,
        after: Option<&str>,
    ) -> Result<Answer<List<T>>> {
        let query = query.with("limit", PAGE);
        let query = match after {
            Some(id) => query.with("starting_after", id),
            None => query,
        };
        self.get(path, query).await
    }

    /// Sends a POST request that takes effect once under `key`; without one where repeating it changes nothing.
    pub(super) async fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        form: Form,
        key: Option<&str>,
    ) -> Result<Answer<T>> {
        let call = self.http.request(Method::POST, path);
        let call = key.into_iter().fold(call, |call, key| call.header("idempotency-key", key));
        let call = call.header(CONTENT_TYPE, "application/x-www-form-urlencoded").body(form.text());
        self.exchange(call).await
    }

    async fn exchange<T: DeserializeOwned>(&self, call: RequestBuilder) -> Result<Answer<T>> {
        let response = wire::send(call.header("stripe-version", API_VERSION)).await?;
        if let Some(date) = date(response.headers()) {
            let ahead = date.as_millisecond().saturating_sub(self.now().as_millisecond());
            self.ahead.store(ahead, Ordering::Relaxed);
        }
        error::refusal(response.status(), retry_after(response.headers(), self.ambient.now()))?;
        let (status, body) = wire::read(response).await?;
        if status.is_success() {
            return Ok(Answer::Done(decode(&body)?));
        }
        let mut error = StripeError::of(&body)?;
        if status == http::StatusCode::PAYMENT_REQUIRED {
            // Status 402, "the parameters were valid but the request failed": a card error, whatever type the body
            // names.
            error.kind = Some("card_error".to_owned());
        } else if status == http::StatusCode::NOT_FOUND && error.code.is_none() {
            error.code = Some("resource_missing".to_owned());
        }
        Ok(Answer::Refused(Box::new(error)))
    }
}
