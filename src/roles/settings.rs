//! The configuration in the words of the crates that use it.

use std::{
    num::{NonZeroU32, NonZeroUsize},
    time::Duration,
};

use api::{ApiConfig, CartLimits, CheckoutLimits, ServerLimits, SessionLimits, SignInLimits};
use store::{partitions::Family, webhook_url::UrlPolicy};

use workers::{registry::WEBHOOKS, verify::Kept, webhook::ShareLimits};

use crate::{
    config::{Config, OrderEngine, Server},
    housekeeping::{Keep, MONTH},
};

pub(super) fn api(config: &Config) -> ApiConfig {
    // The configuration refuses zeros; a limit of one is the nearest thing if that ever changes.
    let at_least_one = |number: u32| NonZeroU32::new(number).unwrap_or(NonZeroU32::MIN);
    ApiConfig {
        checkout: CheckoutLimits {
            per_key_per_second: at_least_one(config.checkout.per_key_per_second),
            per_ip_per_second: at_least_one(config.checkout.per_ip_per_second),
            burst: at_least_one(config.checkout.burst),
        },
        sign_in: SignInLimits {
            per_ip_per_minute: at_least_one(config.sign_in.per_ip_per_minute),
            per_account_per_minute: at_least_one(config.sign_in.per_account_per_minute),
            burst: at_least_one(config.sign_in.burst),
        },
        carts: CartLimits {
            new_per_ip_per_minute: at_least_one(config.carts.new_per_ip_per_minute),
            new_per_merchant_per_day: at_least_one(config.carts.new_per_merchant_per_day),
        },
        order_token_ttl: config.orders.token,
        sessions: SessionLimits {
            idle: days(config.sign_in.session_days),
            lifetime: days(config.sign_in.session_max_days),
            per_customer: NonZeroUsize::try_from(at_least_one(config.sign_in.sessions_per_customer))
                .unwrap_or(NonZeroUsize::MIN),
        },
        webhook_urls: url_policy(config),
        trusted_proxies: config.server.trusted_proxies.clone(),
        streams_max: config.server.streams_max,
        streams_per_merchant_max: config.server.streams_per_merchant_max,
        stripe_webhook_secrets: config.payments.stripe_webhook_secrets.clone(),
        ..ApiConfig::default()
    }
}

fn days(days: u32) -> Duration {
    Duration::from_hours(24) * days
}

pub(super) fn keep(config: &Config) -> Keep {
    let postgres = &config.postgres;
    Keep {
        records: config.records.keep,
        partitions: [
            (Family::Orders, postgres.keep_orders),
            (Family::Outbox, postgres.keep_outbox),
            (Family::WebhookAttempts, postgres.keep_webhook_attempts),
        ],
    }
}

/// How far back the stores go; files keep everything.
pub(crate) fn kept(config: &Config) -> Kept {
    if config.engines.orders != OrderEngine::Postgres {
        return Kept::default();
    }
    let postgres = &config.postgres;
    let span = |months: u32| (months > 0).then(|| MONTH * months);
    let (outbox, attempts) = (span(postgres.keep_outbox), span(postgres.keep_webhook_attempts));
    Kept { orders: span(postgres.keep_orders), history: outbox.into_iter().chain(attempts).min() }
}

/// `connections_max` is what the process can afford, see [`crate::descriptors`].
pub(super) fn server_limits(server: &Server, connections_max: usize) -> ServerLimits {
    ServerLimits {
        connections_max,
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
