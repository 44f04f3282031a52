//! Settings of the API, with the defaults of a public deployment.

use std::{
    num::{NonZeroU32, NonZeroUsize},
    time::Duration,
};

use ipnet::IpNet;
use secrecy::SecretString;
use store::domain::Currency;
use webhooks::UrlPolicy;

use crate::{cache_policies::CachePolicies, cors::Origin};

/// Rates hold over all processes that share their counters ([`crate::ApiParts::shared_limits`]), else in this process.
#[derive(Debug, Clone)]
pub struct ApiConfig {
    pub checkout: CheckoutLimits,
    /// Rate limits of registration and sign-in.
    pub sign_in: SignInLimits,
    pub carts: CartLimits,
    pub reads: ReadLimits,
    /// Rate limits of writes that have no limit of their own.
    pub writes: WriteLimits,
    /// Bounds of unpaid and declined orders with publishable keys.
    pub card_testing: CardTestingLimits,
    /// Ages of waiting work at which orders are refused.
    pub admission: AdmissionLimits,
    /// Lifetime of order tokens; default 30 days.
    pub order_token_ttl: Duration,
    /// Bounds of customers' sessions.
    pub sessions: SessionLimits,
    /// Which webhook addresses are accepted.
    pub webhook_urls: UrlPolicy,
    /// Longest time for a call of a merchant's hook; default 2 s. An order asks three hooks at most.
    pub hook_deadline: Duration,
    /// Networks whose `X-Forwarded-For` is trusted. Empty: the peer's own address counts.
    pub trusted_proxies: Vec<IpNet>,
    /// Origins of web pages that may call the API. Empty: none but its own.
    pub cors_origins: Vec<Origin>,
    /// The reference at `/docs`; default: not served.
    pub docs: Option<DocsConfig>,
    /// The storefront at `/`; default: not served.
    pub storefront: Option<StorefrontConfig>,
    /// Longest body in bytes; default 64 KiB.
    pub body_bytes_max: usize,
    /// Longest time for a body to arrive; default 10 s.
    pub body_timeout: Duration,
    /// Longest time until an answer begins; default 30 s.
    pub request_timeout: Duration,
    /// Event streams open at once; default 256.
    pub streams_max: usize,
    /// Event streams of one merchant's secret keys at once, and of its publishable keys; default 64.
    pub streams_per_merchant_max: usize,
    /// Event streams of one address (IPv6: one /64) with publishable keys at once; default 8.
    pub streams_per_address_max: usize,
    /// Interval between two checks of an open stream that its key, session or order token has not ended; default 4 s:
    /// a stream ends within 10 s of its key, which is cached for 5 s.
    pub streams_check: Duration,
    /// Expiry of cached reads and answers.
    pub cache: CachePolicies,
    /// Secrets that Stripe may sign its webhooks with; one match is enough. Empty: no webhooks are accepted.
    pub stripe_webhook_secrets: Vec<SecretString>,
    /// Whether the payment provider can take an amount in minor units of a currency; default: any.
    pub provider_takes: fn(i64, Currency) -> bool,
}

/// The reference at `/docs`.
#[derive(Debug, Clone, Default)]
pub struct DocsConfig {
    /// Keys that forms of the pages send requests with, for all who reach this process: those of a demo shop, and only
    /// on a listener of this machine. None: the pages have no forms.
    pub keys: Option<DocsKeys>,
}

/// The API keys of a demo shop.
#[derive(Debug, Clone)]
pub struct DocsKeys {
    pub publishable: SecretString,
    pub secret: SecretString,
}

/// The storefront at `/`: pages of one shop.
#[derive(Debug, Clone)]
pub struct StorefrontConfig {
    /// Name of the shop, on every page.
    pub name: String,
    /// Publishable key of its merchant.
    pub key: SecretString,
    /// `Host` of the requests that get pages, with its port where that is not the default one. None: all.
    pub host: Option<String>,
    /// Whether browsers reach the pages by https: their cookies are then sent by https only.
    pub https: bool,
    /// Tokens of payment methods to choose from. Empty: the visitor types the provider's token.
    pub payment_methods: Vec<String>,
}

/// Rate of orders, placed from a body or a cart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CheckoutLimits {
    /// Valid requests per second of one secret key.
    pub per_key_per_second: NonZeroU32,
    /// Valid requests per second of all secret keys of one merchant together; as many at once, or `burst` where that is
    /// more. Default 400.
    pub per_merchant_per_second: NonZeroU32,
    /// Valid requests per second of one publishable key, and as many at once. All customers of a shop share this key,
    /// so this is what the installation can bear.
    pub per_publishable_key_per_second: NonZeroU32,
    /// Valid requests per second of one address (IPv6: one /64) with one publishable key.
    pub per_ip_per_second: NonZeroU32,
    /// Invalid requests per minute of one address with one key, and as many at once.
    pub invalid_per_ip_per_minute: NonZeroU32,
    /// Valid requests at once after a quiet time, of one secret key or one address.
    pub burst: NonZeroU32,
}

/// Rate of reads; as many at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReadLimits {
    /// Of one address (IPv6: one /64), with a publishable key. Default 100.
    pub per_ip_per_second: NonZeroU32,
    /// Of one secret key. Default 1,000.
    pub per_key_per_second: NonZeroU32,
    /// By `?q=`, of one address with a publishable key. Default 10.
    pub searches_per_ip_per_second: NonZeroU32,
    /// By `?q=`, of one secret key. Default 100.
    pub searches_per_key_per_second: NonZeroU32,
}

/// Rate of writes but for orders, carts and passwords; as many at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WriteLimits {
    /// Of one address (IPv6: one /64), with a publishable key. Default 100.
    pub per_ip_per_second: NonZeroU32,
    /// Of one secret key. Default 1,000.
    pub per_key_per_second: NonZeroU32,
    /// Of all secret keys of one merchant together. Default 4,000.
    pub per_merchant_per_second: NonZeroU32,
}

/// Rate of password attempts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SignInLimits {
    /// Requests that work on passwords, per minute from one address (IPv6: one /64).
    pub per_ip_per_minute: NonZeroU32,
    /// Of these, per minute with one mail address of one merchant, with or without an account, from one address;
    /// signing in ends the count.
    pub per_account_per_minute: NonZeroU32,
    /// Requests at once after a quiet time, for either limit.
    pub burst: NonZeroU32,
}

/// Number of new carts; each is kept for a day at least.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CartLimits {
    /// From one address (IPv6: one /64). As many at once. Default 60.
    pub new_per_ip_per_minute: NonZeroU32,
    /// Of one merchant. As many at once. Default 100,000.
    pub new_per_merchant_per_day: NonZeroU32,
}

/// Bounds of orders that may try stolen cards: orders with publishable keys, of one merchant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CardTestingLimits {
    /// Unpaid orders of guests from one address (IPv6: one /64), and of one device. Default 8.
    pub unpaid_per_guest: NonZeroU32,
    /// The same for customers who are signed in, and those of one of them from anywhere. Default 16.
    pub unpaid_per_customer: NonZeroU32,
    /// The same with a proof of work. Default 24.
    pub unpaid_with_proof: NonZeroU32,
    /// Time after which one unpaid order, and one declined payment, no longer counts. Default 6 min.
    pub forget_one_after: Duration,
    /// Declined payments of one payment method. Default 4.
    pub declines_per_payment_method: NonZeroU32,
    /// Declined payments of one customer who is signed in. Default 8.
    pub declines_per_customer: NonZeroU32,
    /// Share of declined payments, in percent, from which on there is an alarm. Default 50.
    pub alarm_percent: NonZeroU32,
    /// Payments that must have ended within 10 to 20 minutes for an alarm. Default 20.
    pub alarm_payments: NonZeroU32,
    /// Time for which guests need a proof of work after the share was last too high. Default 60 min.
    pub alarm_for: Duration,
    /// Zero bits of a proof of work; each one more doubles the work. Default 18, some 260,000 hashes.
    pub proof_bits: u32,
}

/// Ages of the oldest work that waits, an order's payment or a message in the outbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AdmissionLimits {
    /// Beyond it new orders are refused; `None`: never. Default 10 min.
    pub order_age_max: Option<Duration>,
    /// Beyond it orders from carts are refused that were made before new orders were; `None`: never. Default 30 min.
    pub cart_age_max: Option<Duration>,
    /// From it on shoppers go through the waiting room, of merchants whose sale mode follows the load. Default 1 min.
    pub room_age: Duration,
}

/// Lifetime of customers' sessions (OWASP ASVS 5.0, V7.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SessionLimits {
    /// From the last use, which is recorded once an hour. Default 30 days.
    pub idle: Duration,
    /// From sign-in, whatever the use. Default 90 days.
    pub lifetime: Duration,
    /// Sessions of one customer at once; a new one ends the oldest. Default 10.
    pub per_customer: NonZeroUsize,
}

/// Bounds of [`crate::run`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerLimits {
    /// Connections open at once; further ones wait in the kernel's backlog. Default 4096.
    pub connections_max: usize,
    /// Connections open at once from one address (IPv6: one /64), and never more than half of `connections_max`;
    /// further ones are closed. Default 256.
    pub connections_per_address_max: usize,
    /// Networks of proxies: their connections carry many clients and have no bound per address.
    pub trusted_proxies: Vec<IpNet>,
    /// Longest time from the first byte of a request head until the head is complete. Default 15 s.
    pub head_timeout: Duration,
    /// Longest time without a byte of a request, from the beginning and between two requests. Default 75 s: balancers
    /// keep idle connections for 60 s and must be the first to close, as a request sent while the server closes fails.
    pub idle_timeout: Duration,
    /// Longest time in which the client takes no byte of the response. Default 30 s.
    pub write_timeout: Duration,
    /// Longest time from the request head until the response is written; event streams have none. Default 120 s.
    pub exchange_timeout: Duration,
    /// Longest time for open requests to finish once the listener is closed. Default 20 s.
    pub drain_timeout: Duration,
}

impl Default for ApiConfig {
    fn default() -> Self {
        Self {
            checkout: CheckoutLimits {
                per_key_per_second: const { NonZeroU32::new(100).unwrap() },
                per_merchant_per_second: const { NonZeroU32::new(400).unwrap() },
                per_publishable_key_per_second: const { NonZeroU32::new(5_000).unwrap() },
                per_ip_per_second: const { NonZeroU32::new(100).unwrap() },
                invalid_per_ip_per_minute: const { NonZeroU32::new(120).unwrap() },
                burst: const { NonZeroU32::new(200).unwrap() },
            },
            sign_in: SignInLimits {
                per_ip_per_minute: const { NonZeroU32::new(120).unwrap() },
                per_account_per_minute: const { NonZeroU32::new(10).unwrap() },
                burst: const { NonZeroU32::new(10).unwrap() },
            },
            carts: CartLimits {
                new_per_ip_per_minute: const { NonZeroU32::new(60).unwrap() },
                new_per_merchant_per_day: const { NonZeroU32::new(100_000).unwrap() },
            },
            reads: ReadLimits {
                per_ip_per_second: const { NonZeroU32::new(100).unwrap() },
                per_key_per_second: const { NonZeroU32::new(1_000).unwrap() },
                searches_per_ip_per_second: const { NonZeroU32::new(10).unwrap() },
                searches_per_key_per_second: const { NonZeroU32::new(100).unwrap() },
            },
            writes: WriteLimits {
                per_ip_per_second: const { NonZeroU32::new(100).unwrap() },
                per_key_per_second: const { NonZeroU32::new(1_000).unwrap() },
                per_merchant_per_second: const { NonZeroU32::new(4_000).unwrap() },
            },
            card_testing: CardTestingLimits::default(),
            admission: AdmissionLimits::default(),
            order_token_ttl: Duration::from_hours(30 * 24),
            sessions: SessionLimits {
                idle: Duration::from_hours(30 * 24),
                lifetime: Duration::from_hours(90 * 24),
                per_customer: const { NonZeroUsize::new(10).unwrap() },
            },
            webhook_urls: UrlPolicy { allow_loopback: false },
            hook_deadline: Duration::from_secs(2),
            trusted_proxies: Vec::new(),
            cors_origins: Vec::new(),
            docs: None,
            storefront: None,
            body_bytes_max: 64 * 1024,
            body_timeout: Duration::from_secs(10),
            request_timeout: Duration::from_secs(30),
            streams_max: 256,
            streams_per_merchant_max: 64,
            streams_per_address_max: 8,
            streams_check: Duration::from_secs(4),
            cache: CachePolicies::default(),
            stripe_webhook_secrets: Vec::new(),
            provider_takes: |_, _| true,
        }
    }
}

impl Default for CardTestingLimits {
    fn default() -> Self {
        Self {
            unpaid_per_guest: const { NonZeroU32::new(8).unwrap() },
            unpaid_per_customer: const { NonZeroU32::new(16).unwrap() },
            unpaid_with_proof: const { NonZeroU32::new(24).unwrap() },
            forget_one_after: Duration::from_mins(6),
            declines_per_payment_method: const { NonZeroU32::new(4).unwrap() },
            declines_per_customer: const { NonZeroU32::new(8).unwrap() },
            alarm_percent: const { NonZeroU32::new(50).unwrap() },
            alarm_payments: const { NonZeroU32::new(20).unwrap() },
            alarm_for: Duration::from_hours(1),
            proof_bits: 18,
        }
    }
}

impl Default for AdmissionLimits {
    fn default() -> Self {
        Self {
            order_age_max: Some(Duration::from_mins(10)),
            cart_age_max: Some(Duration::from_mins(30)),
            room_age: Duration::from_mins(1),
        }
    }
}

impl Default for ServerLimits {
    fn default() -> Self {
        Self {
            connections_max: 4096,
            connections_per_address_max: 256,
            trusted_proxies: Vec::new(),
            head_timeout: Duration::from_secs(15),
            idle_timeout: Duration::from_secs(75),
            write_timeout: Duration::from_secs(30),
            exchange_timeout: Duration::from_mins(2),
            drain_timeout: Duration::from_secs(20),
        }
    }
}
