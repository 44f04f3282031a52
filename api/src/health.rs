//! Liveness and readiness.
//!
//! `/livez` reports only that the process answers: a dependency that is down is no reason to restart it. `/readyz`
//! checks every dependency, at most once a second however often it is called, each within two seconds.

use std::{sync::Arc, time::Duration};

use axum::{
    Json,
    extract::{FromRef, State},
};
use base::{Ambient, Timestamp};
use futures::future::{BoxFuture, FutureExt, join_all};
use http::StatusCode;
use serde::Serialize;
use store::{OrderStore, PaymentStore};
use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

/// A check that takes longer counts as down.
const CHECK_TIMEOUT: Duration = Duration::from_secs(2);
/// Age of a report that is returned again.
const REPORT_MILLIS: i64 = 1000;

/// State of a dependency.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum HealthStatus {
    /// Usable.
    Ok,
    /// Works less well or later; requests are still accepted.
    Degraded,
    /// Requests cannot be served without it.
    Down,
}

/// Check of one dependency. Clones share it.
#[derive(Clone)]
pub struct HealthCheck {
    name: &'static str,
    without: HealthStatus,
    trouble: Arc<dyn Fn() -> BoxFuture<'static, Option<String>> + Send + Sync>,
    note: Arc<dyn Fn() -> Option<String> + Send + Sync>,
}

impl HealthCheck {
    /// A check by the dependency's name, such as `broker`. `trouble` tells operators in a few words why it cannot be
    /// used, if so, and is dropped after two seconds; `/readyz` is public: no address, no host name. `without` is the
    /// state to report while there is trouble or no answer.
    pub fn new<F: Future<Output = Option<String>> + Send + 'static>(
        name: &'static str,
        without: HealthStatus,
        trouble: impl Fn() -> F + Send + Sync + 'static,
    ) -> Self {
        Self {
            name,
            without,
            trouble: Arc::new(move || trouble().boxed()),
            note: Arc::new(|| None::<String>),
        }
    }

    /// Adds a few words that are told while there is no trouble, under the same rule.
    #[must_use]
    pub fn with_note(self, note: impl Fn() -> Option<String> + Send + Sync + 'static) -> Self {
        Self { note: Arc::new(note), ..self }
    }

    /// Check of the order store; the API cannot serve without it.
    pub fn orders(store: Arc<dyn OrderStore>) -> Self {
        Self::new("orders", HealthStatus::Down, move || {
            let store = Arc::clone(&store);
            async move { store.ping().await.is_err().then(|| "does not answer".to_owned()) }
        })
    }

    /// Check of the payment store. Without it orders are still accepted and charged later.
    pub fn payments(store: Arc<dyn PaymentStore>) -> Self {
        Self::new("payments", HealthStatus::Degraded, move || {
            let store = Arc::clone(&store);
            let trouble = || "does not answer; orders are charged later".to_owned();
            async move { store.ping().await.is_err().then(trouble) }
        })
    }
}

/// Whether requests should be sent here, and why not.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct ReadyReport {
    /// The worst of all checks; `down` while the server drains.
    status: HealthStatus,
    /// Whether the server is about to stop.
    draining: bool,
    /// State of every dependency.
    checks: Vec<CheckReport>,
}

/// State of one dependency.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct CheckReport {
    /// The dependency.
    name: &'static str,
    /// State of the dependency.
    status: HealthStatus,
    /// A few words more.
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<String>,
}

/// The checks and their last report. Clones share both.
#[derive(Clone)]
pub struct Readiness(Arc<ReadinessChecks>);

struct ReadinessChecks {
    checks: Vec<HealthCheck>,
    last: Mutex<Option<(Timestamp, Vec<CheckReport>)>>,
    ambient: Ambient,
    shutdown: CancellationToken,
}

impl Readiness {
    /// Readiness by these checks; not ready once `shutdown` is cancelled.
    pub fn new(checks: Vec<HealthCheck>, ambient: Ambient, shutdown: CancellationToken) -> Self {
        Self(Arc::new(ReadinessChecks { checks, last: Mutex::new(None), ambient, shutdown }))
    }

    /// The lock is held during the checks, so concurrent callers share one round of them.
    async fn reports(&self) -> Vec<CheckReport> {
        let now = self.0.ambient.now();
        let mut last = self.0.last.lock().await;
        if let Some((asked_at, reports)) = &*last {
            let age_millis = now.as_millisecond() - asked_at.as_millisecond();
            if (0..REPORT_MILLIS).contains(&age_millis) {
                return reports.clone();
            }
        }
        let reports = join_all(self.0.checks.iter().map(ask)).await;
        *last = Some((now, reports.clone()));
        reports
    }
}

async fn ask(check: &HealthCheck) -> CheckReport {
    let HealthCheck { name, without, ref trouble, ref note } = *check;
    let answer = tokio::time::timeout(CHECK_TIMEOUT, trouble()).await;
    let Some(detail) = answer.unwrap_or_else(|_| Some("took too long".to_owned())) else {
        return CheckReport { name, status: HealthStatus::Ok, detail: note() };
    };
    tracing::warn!(check = name, status = ?without, detail, "dependency not healthy");
    CheckReport { name, status: without, detail: Some(detail) }
}

pub(crate) fn routes<S>() -> OpenApiRouter<S>
where
    S: Clone + Send + Sync + 'static,
    Readiness: FromRef<S>,
{
    OpenApiRouter::new().routes(routes!(live)).routes(routes!(ready))
}

/// Whether the process answers
#[utoipa::path(get, path = "/livez", tag = "health", security(()), responses((status = 200, description = "It does")))]
async fn live() -> StatusCode {
    StatusCode::OK
}

/// Whether requests should be sent here
#[utoipa::path(
    get, path = "/readyz", tag = "health", security(()),
    responses(
        (status = 200, description = "Yes, though dependencies may be degraded", body = ReadyReport),
        (status = 503, description = "No", body = ReadyReport),
    ),
)]
async fn ready(State(readiness): State<Readiness>) -> (StatusCode, Json<ReadyReport>) {
    let draining = readiness.0.shutdown.is_cancelled();
    let checks = readiness.reports().await;
    let worst = checks.iter().map(|check| check.status).max().unwrap_or(HealthStatus::Ok);
    let status = if draining { HealthStatus::Down } else { worst };
    let code = if status == HealthStatus::Down { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::OK };
    (code, Json(ReadyReport { status, draining, checks }))
}
