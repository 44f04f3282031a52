//! Settings of the HTTP API and its listener, as the API's own types.

use std::{
    num::{NonZeroU32, NonZeroUsize},
    time::Duration,
};

use api::{
    AdmissionLimits, ApiConfig, CardTestingLimits, CartLimits, CheckoutLimits, DocsConfig, Origin,
    ReadLimits, ServerLimits, SessionLimits, SignInLimits, StorefrontConfig, WriteLimits,
};
use webhooks::UrlPolicy;

use super::{
    caches,
    payments::{self, ProviderKind},
    reader::Reader,
};

const RATE_MAX: u32 = 1_000_000;
const PER_DAY_MAX: u32 = 100_000_000;
/// Times the rate of one secret key that those of a merchant have together where it is not set.
const KEYS_OF_MERCHANT: NonZeroU32 = NonZeroU32::new(4).unwrap();
/// Unpaid or declined orders of one counter, and the minutes of each: so many microseconds are exact in Redis.
const CARD_ORDERS_MAX: u32 = 1_000_000;
const CARD_MINUTES_MAX: u64 = 60;
/// Ages of waiting work: a day.
const AGE_SECONDS_MAX: u64 = 86_400;
/// Begin of publishable keys.
const PUBLISHABLE: &str = "owk_pub_";
/// Begin of a payment provider's token, and its length at most, in bytes.
const PAYMENT_METHOD: &str = "pm_";
const PAYMENT_METHOD_BYTES_MAX: usize = 67;

pub(super) fn server(r: &mut Reader) -> ServerLimits {
    ServerLimits {
        head_timeout: r.seconds("server", "head_seconds", 1),
        idle_timeout: r.seconds("server", "idle_seconds", 1),
        connections_max: r.within("server", "connections_max", 1..=100_000),
        connections_per_address_max: r.within("server", "connections_per_address_max", 1..=100_000),
        trusted_proxies: r.networks("server", "trusted_proxies"),
        write_timeout: r.seconds("server", "write_seconds", 1),
        exchange_timeout: r.seconds("server", "exchange_seconds", 1),
        drain_timeout: r.seconds("server", "drain_seconds", 0),
    }
}

/// Longest times for a body, and until an answer begins; each within the next.
fn exchange(r: &mut Reader, whole: Duration) -> (Duration, Duration) {
    let (body, request) = (r.seconds("server", "body_seconds", 1), r.seconds("server", "request_seconds", 1));
    for (key, part, whole, of) in [
        ("body_seconds", body, request, "request_seconds"),
        ("request_seconds", request, whole, "exchange_seconds"),
    ] {
        if part > whole {
            r.fault("server", key, &format!("must not be more than server.{of}"));
        }
    }
    (body, request)
}

pub(super) fn api(r: &mut Reader, server: &ServerLimits, provider: ProviderKind) -> ApiConfig {
    let (body_timeout, request_timeout) = exchange(r, server.exchange_timeout);
    let streams_max = r.within("server", "streams_max", 1..=100_000);
    let streams_per_merchant_max = r.within("server", "streams_per_merchant_max", 1..=100_000);
    if streams_per_merchant_max > streams_max {
        r.fault("server", "streams_per_merchant_max", "must be at most server.streams_max");
    }
    let burst = rate(r, "checkout", "burst", RATE_MAX);
    ApiConfig {
        checkout: checkout(r, burst),
        reads: ReadLimits {
            per_ip_per_second: rate(r, "reads", "per_ip_per_second", RATE_MAX),
            per_key_per_second: rate(r, "reads", "per_key_per_second", RATE_MAX),
            searches_per_ip_per_second: rate(r, "reads", "searches_per_ip_per_second", RATE_MAX),
            searches_per_key_per_second: rate(r, "reads", "searches_per_key_per_second", RATE_MAX),
        },
        writes: writes(r),
        sign_in: SignInLimits {
            per_ip_per_minute: rate(r, "sign_in", "per_ip_per_minute", RATE_MAX),
            per_account_per_minute: rate(r, "sign_in", "per_account_per_minute", RATE_MAX),
            burst: rate(r, "sign_in", "burst", RATE_MAX),
        },
        carts: CartLimits {
            new_per_ip_per_minute: rate(r, "carts", "new_per_ip_per_minute", RATE_MAX),
            new_per_merchant_per_day: rate(r, "carts", "new_per_merchant_per_day", PER_DAY_MAX),
        },
        card_testing: card_testing(r, provider, burst),
        admission: admission(r),
        order_token_ttl: Duration::from_hours(24 * r.within("orders", "token_days", 1..=3650_u64)),
        sessions: sessions(r),
        webhook_urls: UrlPolicy { allow_loopback: r.value("webhooks", "allow_loopback", false) },
        hook_deadline: Duration::from_millis(r.within("checkout", "hook_ms", 100..=5_000_u64)),
        cors_origins: cors_origins(r),
        docs: r.value("api", "docs", false).then(DocsConfig::default),
        storefront: storefront(r),
        trusted_proxies: server.trusted_proxies.clone(),
        body_bytes_max: 1024 * r.within("server", "body_kib", 4..=1024_usize),
        body_timeout,
        request_timeout,
        streams_max,
        streams_per_merchant_max,
        streams_per_address_max: r.within("server", "streams_per_address_max", 1..=100_000),
        streams_check: Duration::from_millis(r.within("server", "streams_check_ms", 100..=4_000_u64)),
        cache: caches::policies(r),
        stripe_webhook_secrets: payments::stripe_webhook_secrets(r),
        provider_takes: provider.takes(),
    }
}

fn checkout(r: &mut Reader, burst: NonZeroU32) -> CheckoutLimits {
    let per_key_per_second = rate(r, "checkout", "per_key_per_second", RATE_MAX);
    CheckoutLimits {
        per_key_per_second,
        per_merchant_per_second: per_merchant(r, "checkout", per_key_per_second),
        per_publishable_key_per_second: rate(r, "checkout", "per_publishable_key_per_second", RATE_MAX),
        per_ip_per_second: rate(r, "checkout", "per_ip_per_second", RATE_MAX),
        invalid_per_ip_per_minute: rate(r, "checkout", "invalid_per_ip_per_minute", RATE_MAX),
        burst,
    }
}

fn writes(r: &mut Reader) -> WriteLimits {
    let per_key_per_second = rate(r, "writes", "per_key_per_second", RATE_MAX);
    WriteLimits {
        per_ip_per_second: rate(r, "writes", "per_ip_per_second", RATE_MAX),
        per_key_per_second,
        per_merchant_per_second: per_merchant(r, "writes", per_key_per_second),
    }
}

/// Requests per second of all secret keys of one merchant; zero stands for a multiple of those of one key.
fn per_merchant(r: &mut Reader, section: &str, per_key: NonZeroU32) -> NonZeroU32 {
    let set = NonZeroU32::new(r.within(section, "per_merchant_per_second", 0..=RATE_MAX));
    set.unwrap_or(per_key.saturating_mul(KEYS_OF_MERCHANT))
}

/// The storefront of the merchant whose key is set.
fn storefront(r: &mut Reader) -> Option<StorefrontConfig> {
    let [key, host, name] = ["publishable_key", "host", "name"].map(|key| r.text("storefront", key));
    let https = r.value("storefront", "https", false);
    let is_token = |text: &str| text.starts_with(PAYMENT_METHOD) && text.len() <= PAYMENT_METHOD_BYTES_MAX;
    let payment_methods = r.each("storefront", "payment_methods", |text| {
        is_token(text)
            .then(|| text.to_owned())
            .ok_or_else(|| "names a text that is no provider's token, pm_…".to_owned())
    });
    if key.is_empty() {
        return None;
    }
    // Pages are for all who reach them.
    if !key.starts_with(PUBLISHABLE) {
        r.fault("storefront", "publishable_key", "must be a publishable key, owk_pub_…");
    }
    let host = Some(host).filter(|host| !host.is_empty());
    Some(StorefrontConfig { name, key: key.into(), host, https, payment_methods })
}

fn card_testing(r: &mut Reader, provider: ProviderKind, burst: NonZeroU32) -> CardTestingLimits {
    let mut number = |key, max| rate(r, "card_testing", key, max);
    let [guest, customer, with_proof] = ["unpaid_per_guest", "unpaid_per_customer", "unpaid_with_proof"]
        .map(|key| number(key, CARD_ORDERS_MAX));
    let declines_per_payment_method = number("declines_per_payment_method", CARD_ORDERS_MAX);
    let declines_per_customer = number("declines_per_customer", CARD_ORDERS_MAX);
    let (alarm_percent, alarm_payments) = (number("alarm_percent", 100), number("alarm_payments", RATE_MAX));
    for (key, fewer, more, of) in [
        ("unpaid_per_guest", guest, customer, "unpaid_per_customer"),
        ("unpaid_per_customer", customer, with_proof, "unpaid_with_proof"),
    ] {
        if fewer > more {
            r.fault("card_testing", key, &format!("must not be more than card_testing.{of}"));
        }
    }
    let sandbox_bound = rate(r, "card_testing", "sandbox_bound", CARD_ORDERS_MAX);
    let mut minutes = |key, most: u64| Duration::from_mins(r.within("card_testing", key, 1..=most));
    let limits = CardTestingLimits {
        unpaid_per_guest: guest,
        unpaid_per_customer: customer,
        unpaid_with_proof: with_proof,
        forget_one_after: minutes("forget_one_after_minutes", CARD_MINUTES_MAX),
        declines_per_payment_method,
        declines_per_customer,
        alarm_percent,
        alarm_payments,
        alarm_for: minutes("alarm_minutes", 1_440),
        proof_bits: r.within("card_testing", "proof_bits", 1..=32),
    };
    if provider == ProviderKind::Sandbox { in_sandbox(limits, sandbox_bound, burst) } else { limits }
}

/// The same bound for all that the sandbox's few payment methods and addresses would reach soon. As many times more
/// orders may be unpaid as more may come at once than shipped.
fn in_sandbox(limits: CardTestingLimits, bound: NonZeroU32, burst: NonZeroU32) -> CardTestingLimits {
    let times = (burst.get() / ApiConfig::default().checkout.burst).max(1);
    let unpaid = bound.get().saturating_mul(times).min(CARD_ORDERS_MAX);
    let unpaid = NonZeroU32::new(unpaid).unwrap_or(bound);
    CardTestingLimits {
        unpaid_per_guest: unpaid,
        unpaid_per_customer: unpaid,
        unpaid_with_proof: unpaid,
        declines_per_payment_method: bound,
        declines_per_customer: bound,
        alarm_payments: bound,
        ..limits
    }
}

/// Ages at which orders are refused; zero: never.
fn admission(r: &mut Reader) -> AdmissionLimits {
    let mut age = |key, least: u64| r.within("admission", key, least..=AGE_SECONDS_MAX);
    let (orders, carts, room) =
        (age("order_age_seconds", 0), age("cart_age_seconds", 0), age("waiting_room_age_seconds", 1));
    if carts > 0 && carts < orders {
        r.fault("admission", "cart_age_seconds", "must not be less than admission.order_age_seconds");
    }
    let limit = |seconds| (seconds > 0).then(|| Duration::from_secs(seconds));
    AdmissionLimits {
        order_age_max: limit(orders),
        cart_age_max: limit(carts),
        room_age: Duration::from_secs(room),
    }
}

fn cors_origins(r: &mut Reader) -> Vec<Origin> {
    r.each("api", "cors_origins", |text| {
        text.parse::<Origin>().map_err(|why| format!("has \"{text}\": {why}"))
    })
}

fn sessions(r: &mut Reader) -> SessionLimits {
    let mut days = |key, max: u64| Duration::from_hours(24 * r.within("sign_in", key, 1..=max));
    let (idle, lifetime) = (days("session_days", 365), days("session_max_days", 3_650));
    if idle > lifetime {
        r.fault("sign_in", "session_days", "must not be more than sign_in.session_max_days");
    }
    let per_customer = r.within("sign_in", "sessions_per_customer", 1..=100);
    SessionLimits {
        idle,
        lifetime,
        per_customer: NonZeroUsize::new(per_customer).unwrap_or(NonZeroUsize::MIN),
    }
}

/// A number of requests; zero was already reported as a mistake.
fn rate(r: &mut Reader, section: &str, key: &str, max: u32) -> NonZeroU32 {
    NonZeroU32::new(r.within(section, key, 1..=max)).unwrap_or(NonZeroU32::MIN)
}
