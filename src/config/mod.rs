//! Configuration: one struct per concern, read from the shipped defaults, a file, and the environment.
//!
//! Guarantees: the configuration is checked as a whole, and all mistakes are reported at once, each with the full name
//! of its setting. Unknown settings are mistakes. The commented `default.toml` beside this file is both the reference
//! and the defaults in use.

mod caches;
mod console;
mod development;
mod engines;
mod fair_share;
mod http;
mod mail;
mod network;
mod payments;
mod reader;
mod scaling;
mod servers;
mod shards;
mod traces;

use std::{
    collections::HashMap,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use api::{ApiConfig, ServerLimits};
use cache::MemoryConfig;
use jobs::records::RecordLevel;
use serde::Deserialize;
use tracing_subscriber::filter::Targets;
use webhooks::shares::ShareLimits;
use workers::queues::{HOUSEKEEPING, QUEUES, WEBHOOKS};

use self::console::ConsoleSettings;
pub(crate) use engines::{CacheEngine, Engines, OrdersEngine, PaymentsEngine, PostgresTopology, QueueEngine};
use fair_share::FairShare;
pub(crate) use mail::{Mail, MailTransport};
use network::PlainHosts;
pub(crate) use payments::{Payments, ProviderKind};
use reader::Reader;
use scaling::Scaling;
pub(crate) use servers::RabbitMq;
pub(crate) use traces::Traces;

/// The shipped defaults, which are also the documentation.
pub(crate) const DEFAULTS: &str = include_str!("default.toml");

#[derive(Debug, Clone)]
pub(crate) struct Config {
    pub(crate) listen: SocketAddr,
    /// Of every listener; the file descriptors of the process may allow fewer connections.
    pub(crate) server: ServerLimits,
    /// Time from the request to stop until the API's listener closes, so that balancers stop sending.
    pub(crate) readiness_lead: Duration,
    pub(crate) api: ApiConfig,
    pub(crate) console: ConsoleSettings,
    /// Folder of the files of this process.
    pub(crate) folder: PathBuf,
    pub(crate) engines: Engines,
    /// Bound of the cache in this process.
    pub(crate) cache: MemoryConfig,
    /// `None`: pending orders never expire.
    pub(crate) pending_expires: Option<Duration>,
    /// `None`: an order with a bank debit under way never expires.
    pub(crate) debit_expires: Option<Duration>,
    pub(crate) workers: Workers,
    pub(crate) scaling: Scaling,
    pub(crate) fair_share: FairShare,
    /// What the attempt log holds, and for how long.
    pub(crate) records_level: RecordLevel,
    /// Of queues whose level differs.
    pub(crate) records_levels: HashMap<String, RecordLevel>,
    pub(crate) records_keep: Duration,
    pub(crate) dead_keep: Duration,
    /// Dead jobs kept of each queue.
    pub(crate) dead_most: u64,
    pub(crate) payments: Payments,
    pub(crate) mail: Mail,
    pub(crate) webhooks: Webhooks,
    /// Interval of audits; `None`: only on demand.
    pub(crate) verify_every: Option<Duration>,
    pub(crate) verify_grace: Duration,
    pub(crate) log: Log,
    /// `None`: traces are passed on and not recorded.
    pub(crate) traces: Option<Traces>,
    /// The merged values with secrets hidden, for `config show`.
    pub(crate) shown: toml::Table,
}

#[derive(Debug, Clone)]
pub(crate) struct Workers {
    /// Queue name and concurrency.
    pub(crate) queues: Vec<(String, usize)>,
    pub(crate) lease: Duration,
    pub(crate) drain: Duration,
}

#[derive(Debug, Clone)]
pub(crate) struct Webhooks {
    /// `None`: a quarter of the slots.
    per_merchant: Option<usize>,
    per_endpoint: usize,
    /// Over all worker processes; `None`: no limit.
    pub(crate) per_endpoint_total: Option<u32>,
    /// `None`: a quarter of the slots.
    slow: Option<usize>,
    /// `None`: never.
    pub(crate) disable_after: Option<Duration>,
}

#[derive(Debug, Clone)]
pub(crate) struct Log {
    pub(crate) filter: Targets,
    pub(crate) format: LogFormat,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum LogFormat {
    Text,
    Json,
}

/// Longest lifetime of a pending order, and longest interval of audits, in minutes: a month.
const MINUTES_MAX: u64 = 31 * 24 * 60;

/// Settings that `config show` hides and no message repeats.
const SECRETS: [(&str, &str); 15] = [
    ("cassandra", "password"),
    ("console", "tokens"),
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
    // Not secret, but a secret key may be set by mistake.
    ("storefront", "publishable_key"),
];

impl Config {
    /// Reads defaults, `file` and the process environment, and checks them as a whole. `folder` wins over the folder
    /// that they name.
    pub(crate) fn load(file: Option<&Path>, folder: Option<&Path>) -> anyhow::Result<Self> {
        Self::assemble(file, folder, std::env::vars())
    }

    fn assemble(
        file: Option<&Path>,
        folder: Option<&Path>,
        environment: impl Iterator<Item = (String, String)>,
    ) -> anyhow::Result<Self> {
        let mut reader = Reader::new(DEFAULTS, &SECRETS, file, environment)?;
        let r = &mut reader;
        let plain = &PlainHosts::read(r);
        let named = r.text("data", "folder");
        if named.is_empty() {
            r.fault("data", "folder", "must name a folder");
        }
        let folder = folder.map_or_else(|| named.into(), Path::to_owned);
        let server = http::server(r);
        let payments = Payments::read(r, plain);
        let config = Self {
            listen: r.parsed("server", "listen", SocketAddr::from(([127, 0, 0, 1], 0))),
            api: http::api(r, &server, payments.provider),
            console: ConsoleSettings::read(r),
            server,
            readiness_lead: Duration::from_secs(r.within("server", "readiness_lead_seconds", 0..=300_u64)),
            engines: Engines::read(r, plain, &folder),
            folder,
            cache: caches::memory(r),
            pending_expires: minutes(r.within("orders", "pending_expires_minutes", 0..=MINUTES_MAX)),
            debit_expires: minutes(24 * 60 * r.within("orders", "debit_expires_days", 0..=365_u64)),
            workers: Workers {
                queues: QUEUES
                    .map(|(queue, _)| (queue.to_owned(), r.within("workers", queue, 1..=1024)))
                    .into(),
                lease: r.seconds("workers", "lease_seconds", 2),
                drain: r.seconds("workers", "drain_seconds", 0),
            },
            scaling: Scaling::read(r),
            fair_share: FairShare::read(r),
            records_level: r.value("records", "level", RecordLevel::All),
            records_levels: records_levels(r),
            records_keep: Duration::from_hours(24 * r.within("records", "keep_days", 1..=3650_u64)),
            dead_keep: Duration::from_hours(24 * r.within("dead_jobs", "keep_days", 1..=3650_u64)),
            dead_most: r.within("dead_jobs", "per_queue_max", 1..=10_000_000_u64),
            payments,
            mail: Mail::read(r, plain),
            webhooks: Webhooks::read(r),
            verify_every: minutes(r.within("verify", "every_minutes", 0..=MINUTES_MAX)),
            verify_grace: Duration::from_mins(r.within("verify", "grace_minutes", 1..=MINUTES_MAX)),
            log: Log {
                filter: r.parsed("log", "filter", Targets::new()),
                format: r.value("log", "format", LogFormat::Text),
            },
            traces: Traces::read(r, plain),
            shown: r.shown(),
        };
        reader.finish(config)
    }

    /// Limits of concurrent posts, with the shares that are not set by the slots of their queue.
    pub(crate) fn webhook_shares(&self) -> ShareLimits {
        let slots = self.workers.queues.iter().find(|(queue, _)| queue == WEBHOOKS);
        let (usual, set) = (ShareLimits::of_slots(slots.map_or(1, |(_, slots)| *slots)), &self.webhooks);
        ShareLimits {
            per_merchant: set.per_merchant.unwrap_or(usual.per_merchant),
            per_endpoint: set.per_endpoint,
            slow: set.slow.unwrap_or(usual.slow),
            ..usual
        }
    }
}

impl Webhooks {
    fn read(r: &mut Reader) -> Self {
        Self {
            per_merchant: Some(r.within("webhooks", "per_merchant", 0..=1024)).filter(|posts| *posts > 0),
            per_endpoint: r.within("webhooks", "per_endpoint", 1..=1024),
            per_endpoint_total: payments::at_once(r, "webhooks", "per_endpoint_total"),
            slow: Some(r.within("webhooks", "slow", 0..=1024)).filter(|posts| *posts > 0),
            disable_after: minutes(r.within("webhooks", "disable_after_days", 0..=365) * 24 * 60),
        }
    }
}

fn records_levels(r: &mut Reader) -> HashMap<String, RecordLevel> {
    let levels: HashMap<String, RecordLevel> = r.value("records", "levels", HashMap::new());
    let known: Vec<_> = QUEUES.iter().map(|(queue, _)| *queue).chain([HOUSEKEEPING]).collect();
    if levels.keys().any(|queue| !known.contains(&queue.as_str())) {
        let known = known.join(", ");
        r.fault("records", "levels", &format!("names an unknown queue; there are {known}"));
    }
    levels
}

/// Minutes of a setting in which zero means never.
fn minutes(number: u64) -> Option<Duration> {
    (number > 0).then(|| Duration::from_mins(number))
}

#[cfg(test)]
mod tests;
