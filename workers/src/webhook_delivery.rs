//! Webhook deliveries of one process: the sender, the shares of its slots, and when an endpoint is disabled.

use std::{
    sync::{Arc, atomic::AtomicU64},
    time::Duration,
};

use base::Ambient;
use store::domain::{EndpointId, MerchantId};
use webhooks::{
    WebhookSender,
    shares::{ShareLimits, Shares},
};

/// Default time without a success after which an endpoint is disabled; the same as at Svix.
const DISABLE_AFTER: Duration = Duration::from_hours(5 * 24);

/// What the deliveries of a process share; clones share connections, slots and counter.
#[derive(Clone)]
pub struct WebhookDelivery {
    pub sender: WebhookSender,
    pub shares: Arc<Shares<MerchantId, EndpointId>>,
    /// Time without a success after which an endpoint is disabled, five days by default; `None`: never.
    pub disable_after: Option<Duration>,
    /// Number of endpoints disabled since the start.
    pub endpoints_disabled: Arc<AtomicU64>,
}

impl WebhookDelivery {
    /// Deliveries through this sender within these limits; one per process.
    pub fn new(sender: WebhookSender, limits: ShareLimits, ambient: Ambient) -> Self {
        let endpoints_disabled = Arc::default();
        let shares = Shares::new(limits, ambient);
        Self { sender, shares, disable_after: Some(DISABLE_AFTER), endpoints_disabled }
    }
}
