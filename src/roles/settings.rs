//! Conversion of the configuration to the settings of each crate.

use api::{ApiConfig, ServerLimits};
use webhooks::{UrlPolicy, shares::ShareLimits};
use workers::queues::WEBHOOKS;

use crate::{
    config::{Config, Server},
    descriptors,
};

pub(super) fn api(config: &Config) -> ApiConfig {
    ApiConfig {
        checkout: config.checkout,
        reads: config.reads,
        sign_in: config.sign_in,
        carts: config.carts,
        order_token_ttl: config.orders.token,
        sessions: config.sessions,
        webhook_urls: url_policy(config),
        trusted_proxies: config.server.trusted_proxies.clone(),
        streams_max: config.server.streams_max,
        streams_per_merchant_max: config.server.streams_per_merchant_max,
        stripe_webhook_secrets: config.payments.stripe_webhook_secrets.clone(),
        ..ApiConfig::default()
    }
}

/// Bounds of the listeners; connections are reduced to what the file descriptors allow.
pub(super) fn server_limits(server: &Server) -> ServerLimits {
    ServerLimits {
        connections_max: descriptors::connections(server.connections_max),
        connections_per_address_max: server.connections_per_address_max,
        trusted_proxies: server.trusted_proxies.clone(),
        write_timeout: server.write,
        exchange_timeout: server.exchange,
        drain_timeout: server.drain,
        ..ServerLimits::default()
    }
}

pub(super) fn url_policy(config: &Config) -> UrlPolicy {
    UrlPolicy { allow_loopback: config.webhooks.allow_loopback }
}

pub(crate) fn shares(config: &Config) -> ShareLimits {
    let slots =
        config.workers.queues.iter().find(|(queue, _)| queue == WEBHOOKS).map_or(1, |(_, slots)| *slots);
    let (usual, set) = (ShareLimits::of_slots(slots), &config.webhooks);
    ShareLimits {
        per_merchant: set.per_merchant.unwrap_or(usual.per_merchant),
        per_endpoint: set.per_endpoint,
        slow: set.slow.unwrap_or(usual.slow),
        ..usual
    }
}
