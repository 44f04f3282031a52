//! Webhook deliveries of one process: the sender, the shares of its slots, and when an endpoint is disabled.

use std::{
    sync::{Arc, atomic::AtomicU64},
    time::Duration,
};

use base::Ambient;
use store::domain::{EndpointId, MerchantId};
use webhooks::{
    Answer, WebhookSender,
    shares::{ShareLimits, Shares},
};

use crate::counts::Counts;

/// Default time without a success after which an endpoint is disabled; the same as at Svix.
const DISABLE_AFTER: Duration = Duration::from_hours(5 * 24);
/// Outcomes of attempts: an answer of success, another answer, none, and no attempt, as the share of the endpoint is
/// used up or the endpoint paused.
const OUTCOMES: [&str; 4] = ["delivered", "rejected", "unreachable", "put_off"];

/// What the deliveries of a process share; clones share connections, slots and counts.
#[derive(Clone)]
pub struct WebhookDelivery {
    pub sender: WebhookSender,
    pub shares: Arc<Shares<MerchantId, EndpointId>>,
    /// Time without a success after which an endpoint is disabled, five days by default; `None`: never.
    pub disable_after: Option<Duration>,
    /// Attempts by outcome.
    pub attempts: Arc<Counts<1>>,
    /// Number of endpoints disabled since the start.
    pub endpoints_disabled: Arc<AtomicU64>,
}

impl WebhookDelivery {
    /// Deliveries through this sender within these limits; one per process.
    pub fn new(sender: WebhookSender, limits: ShareLimits, ambient: Ambient) -> Self {
        let endpoints_disabled = Arc::default();
        let shares = Shares::new(limits, ambient);
        let attempts = Arc::new(Counts::new(OUTCOMES.map(|outcome| [outcome])));
        Self { sender, shares, disable_after: Some(DISABLE_AFTER), attempts, endpoints_disabled }
    }

    pub(crate) fn count(&self, answer: &Answer) {
        self.attempts.add([match (answer.error, answer.status) {
            (None, _) => "delivered",
            (Some(_), Some(_)) => "rejected",
            (Some(_), None) => "unreachable",
        }]);
    }

    pub(crate) fn count_put_off(&self) {
        self.attempts.add(["put_off"]);
    }
}
