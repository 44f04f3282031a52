//! Configuration: one struct per concern, read from the shipped defaults, a file, and the environment.
//!
//! Guarantees: the configuration is checked as a whole, and all mistakes are reported at once, each with the full name
//! of its setting. Unknown settings are mistakes. The commented `default.toml` beside this file is both the reference
//! and the defaults in use.

mod http;
mod limits;
mod network;
mod payments;
mod reader;
mod servers;
mod shards;

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use api::{CartLimits, CheckoutLimits, ReadLimits, SessionLimits, SignInLimits};
use cache::RedisConfig;
use jobs::records::RecordLevel;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use store_cassandra::CassandraConfig;
use tracing_subscriber::filter::Targets;
use url::Url;

pub(crate) use http::Server;
use network::PlainHosts;
pub(crate) use payments::{Payments, ProviderKind};
pub(crate) use reader::ConfigError;
use reader::Reader;
pub(crate) use servers::{Postgres, RabbitMq};
pub(crate) use shards::Shards;

/// The shipped defaults, which are also the documentation.
pub(crate) const DEFAULTS: &str = include_str!("default.toml");

/// All settings.
#[derive(Debug, Clone)]
pub(crate) struct Config {
    pub(crate) server: Server,
    pub(crate) data: Data,
    pub(crate) engines: Engines,
    pub(crate) redis: RedisConfig,
    pub(crate) rabbitmq: RabbitMq,
    pub(crate) postgres: Postgres,
    pub(crate) shards: Shards,
    pub(crate) cassandra: CassandraConfig,
    pub(crate) orders: Orders,
    pub(crate) checkout: CheckoutLimits,
    pub(crate) reads: ReadLimits,
    pub(crate) sign_in: SignInLimits,
    pub(crate) sessions: SessionLimits,
    pub(crate) carts: CartLimits,
    pub(crate) workers: Workers,
    pub(crate) records: Records,
    pub(crate) payments: Payments,
    pub(crate) mail: Mail,
    pub(crate) webhooks: Webhooks,
    pub(crate) verify: Verify,
    pub(crate) log: Log,
    /// The merged values with secrets hidden, for `config show`.
    pub(crate) shown: toml::Table,
}

/// Files of the embedded mode.
#[derive(Debug, Clone)]
pub(crate) struct Data {
    pub(crate) folder: PathBuf,
}

/// The engine behind each contract.
#[derive(Debug, Clone)]
pub(crate) struct Engines {
    pub(crate) queue: QueueEngine,
    pub(crate) orders: OrderEngine,
    pub(crate) payments: PaymentEngine,
    pub(crate) cache: CacheEngine,
}

/// Store of orders and of everything that shares their transactions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum OrderEngine {
    Sqlite,
    Postgres,
}

/// Store of payments.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum PaymentEngine {
    Sqlite,
    Cassandra,
}

/// Cache of catalog reads, counters of checkouts, sessions and carts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum CacheEngine {
    Memory,
    Redis,
}

/// Engine of the job queues.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum QueueEngine {
    Sqlite,
    RabbitMq,
}

/// Settings of orders.
#[derive(Debug, Clone)]
pub(crate) struct Orders {
    /// `None`: pending orders never expire.
    pub(crate) pending_expires: Option<Duration>,
    /// Lifetime of order tokens.
    pub(crate) token: Duration,
}

/// Settings of the audit across all stores.
#[derive(Debug, Clone)]
pub(crate) struct Verify {
    /// `None`: only on demand.
    pub(crate) every: Option<Duration>,
    pub(crate) grace: Duration,
}

/// Settings of the worker pools.
#[derive(Debug, Clone)]
pub(crate) struct Workers {
    /// Queue name and concurrency.
    pub(crate) queues: Vec<(String, usize)>,
    pub(crate) lease: Duration,
    pub(crate) drain: Duration,
}

/// Settings of the attempt log.
#[derive(Debug, Clone)]
pub(crate) struct Records {
    pub(crate) level: RecordLevel,
    pub(crate) keep: Duration,
}

/// Settings of mail.
#[derive(Debug, Clone)]
pub(crate) struct Mail {
    pub(crate) transport: MailTransport,
    pub(crate) from: String,
    pub(crate) smtp_url: SecretString,
    /// Empty: mails show tokens instead of links.
    pub(crate) storefront_url: String,
}

/// Delivery of mails.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum MailTransport {
    File,
    Smtp,
}

/// Settings of merchant webhooks.
#[derive(Debug, Clone)]
pub(crate) struct Webhooks {
    pub(crate) allow_loopback: bool,
    /// `None`: a quarter of the slots.
    pub(crate) per_merchant: Option<usize>,
    pub(crate) per_endpoint: usize,
    /// `None`: a quarter of the slots.
    pub(crate) slow: Option<usize>,
    /// `None`: never.
    pub(crate) disable_after: Option<Duration>,
}

/// Settings of logging.
#[derive(Debug, Clone)]
pub(crate) struct Log {
    pub(crate) filter: Targets,
    pub(crate) format: LogFormat,
}

/// Format of log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum LogFormat {
    Text,
    Json,
}

/// Longest time span of a setting: a day, far above any sensible value, so that a wrong unit is caught.
const SPAN_SECONDS_MAX: u64 = 86_400;

/// Longest lifetime of a pending order, and longest interval of audits, in minutes: a month.
const MINUTES_MAX: u64 = 31 * 24 * 60;

/// Settings that `config show` hides and no message repeats.
const SECRETS: [(&str, &str); 13] = [
    ("cassandra", "password"),
    ("mail", "smtp_url"),
    ("payments", "provider_key"),
    ("payments", "stripe_key"),
    ("payments", "stripe_webhook_secrets"),
    ("postgres", "direct_url"),
    ("postgres", "replica_urls"),
    ("postgres", "url"),
    ("rabbitmq", "url"),
    ("redis", "url"),
    ("shards", "direct_urls"),
    ("shards", "replica_urls"),
    ("shards", "urls"),
];

impl Config {
    /// Reads defaults, `file` and the process environment, and checks them as a whole.
    pub(crate) fn load(file: Option<&Path>) -> Result<Self, ConfigError> {
        Self::assemble(file, std::env::vars())
    }

    fn assemble(
        file: Option<&Path>,
        environment: impl Iterator<Item = (String, String)>,
    ) -> Result<Self, ConfigError> {
        let mut reader = Reader::new(DEFAULTS, &SECRETS, file, environment)?;
        let r = &mut reader;
        let plain = &PlainHosts::read(r);
        let config = Self {
            server: Server::read(r),
            data: Data { folder: r.text("data", "folder").into() },
            engines: Engines {
                queue: r.value("engines", "queue", QueueEngine::Sqlite),
                orders: r.value("engines", "orders", OrderEngine::Sqlite),
                payments: r.value("engines", "payments", PaymentEngine::Sqlite),
                cache: r.value("engines", "cache", CacheEngine::Memory),
            },
            redis: servers::redis(r, plain),
            rabbitmq: servers::rabbitmq(r, plain),
            postgres: Postgres::read(r, plain),
            shards: Shards::read(r, plain),
            cassandra: servers::cassandra(r, plain),
            orders: Orders {
                pending_expires: minutes(r.within("orders", "pending_expires_minutes", 0..=MINUTES_MAX)),
                token: Duration::from_hours(24 * r.within("orders", "token_days", 1..=3650_u64)),
            },
            checkout: limits::checkout(r),
            reads: limits::reads(r),
            sign_in: limits::sign_in(r),
            sessions: limits::sessions(r),
            carts: limits::carts(r),
            workers: Workers {
                queues: ["payments", "fulfilment", "email", "webhooks"]
                    .map(|queue| (queue.to_owned(), r.within("workers", queue, 1..=1024)))
                    .into(),
                lease: Duration::from_secs(r.within("workers", "lease_seconds", 2..=SPAN_SECONDS_MAX)),
                drain: Duration::from_secs(r.within("workers", "drain_seconds", 0..=SPAN_SECONDS_MAX)),
            },
            records: Records {
                level: r.value("records", "level", RecordLevel::All),
                keep: Duration::from_hours(24 * r.within("records", "keep_days", 1..=3650_u64)),
            },
            payments: Payments::read(r, plain),
            mail: Mail::read(r, plain),
            webhooks: Webhooks::read(r),
            verify: Verify {
                every: minutes(r.within("verify", "every_minutes", 0..=MINUTES_MAX)),
                grace: Duration::from_mins(r.within("verify", "grace_minutes", 1..=MINUTES_MAX)),
            },
            log: Log {
                filter: r.parsed("log", "filter", Targets::new()),
                format: r.value("log", "format", LogFormat::Text),
            },
            shown: r.shown(),
        };
        config.check_across(r);
        reader.finish(config)
    }

    /// Checks rules across settings.
    fn check_across(&self, reader: &mut Reader) {
        if self.mail.transport == MailTransport::Smtp && self.mail.smtp_url.expose_secret().is_empty() {
            reader.fault("mail", "smtp_url", "must be set when mail.transport is \"smtp\"");
        }
        if self.engines.queue == QueueEngine::RabbitMq && self.rabbitmq.url.expose_secret().is_empty() {
            reader.fault("rabbitmq", "url", "must be set when engines.queue is \"rabbitmq\"");
        }
        if self.engines.orders == OrderEngine::Postgres && self.postgres.url.expose_secret().is_empty() {
            reader.fault("postgres", "url", "must be set when engines.orders is \"postgres\"");
        }
        self.shards.check(reader, self.engines.orders, &self.postgres);
        if self.engines.cache == CacheEngine::Redis && self.redis.url.expose_secret().is_empty() {
            reader.fault("redis", "url", "must be set when engines.cache is \"redis\"");
        }
        if self.engines.payments == PaymentEngine::Cassandra
            && let Err(mistake) = self.cassandra.check()
        {
            reader.fault("cassandra", mistake.setting, &mistake.why);
        }
        self.server.check(reader);
        self.payments.check(reader);
        if self.data.folder.as_os_str().is_empty() {
            reader.fault("data", "folder", "must name a folder");
        }
    }
}

impl Mail {
    fn read(r: &mut Reader, plain: &PlainHosts) -> Self {
        let smtp_url = r.text("mail", "smtp_url");
        // The same test as the mailer's.
        let is_starttls = smtp_url.parse::<Url>().is_ok_and(|url| url.query() == Some("tls=required"));
        if !is_starttls {
            plain.check_url(r, ("mail", "smtp_url"), &smtp_url, "smtps");
        }
        Self {
            transport: r.value("mail", "transport", MailTransport::File),
            from: r.text("mail", "from"),
            smtp_url: smtp_url.into(),
            storefront_url: r.text("mail", "storefront_url"),
        }
    }
}

impl Webhooks {
    fn read(r: &mut Reader) -> Self {
        Self {
            allow_loopback: r.value("webhooks", "allow_loopback", false),
            per_merchant: Some(r.within("webhooks", "per_merchant", 0..=1024)).filter(|posts| *posts > 0),
            per_endpoint: r.within("webhooks", "per_endpoint", 1..=1024),
            slow: Some(r.within("webhooks", "slow", 0..=1024)).filter(|posts| *posts > 0),
            disable_after: minutes(r.within("webhooks", "disable_after_days", 0..=365) * 24 * 60),
        }
    }
}

/// Minutes of a setting in which zero means never.
fn minutes(number: u64) -> Option<Duration> {
    (number > 0).then(|| Duration::from_mins(number))
}

#[cfg(test)]
mod tests;
