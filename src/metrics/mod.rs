//! Metrics of a process at `/metrics`, one file per area.
//!
//! Guarantees: every metric is declared once, with its labels and its meaning, and `docs/METRICS.md` lists all of them;
//! labels have few values, known in advance, and never an id; reading metrics takes neither a lock that work of the
//! process waits for nor longer than a few seconds; a figure that cannot be had is left out, never 0. Names are base
//! units, counters end in `_total`.
//!
//! The areas read what the parts of the process count themselves: no crate below this one knows of Prometheus. Start
//! with [`metric`], what is declared, and [`exposition`], how it is shown.

mod admission;
mod asked;
mod buffers;
mod cache;
mod card_testing;
#[cfg(test)]
mod document;
mod exposition;
mod hooks;
mod http;
mod mails;
mod metric;
mod outbox;
mod payments;
mod process;
mod queues;
mod rate_limits;
mod relay;
mod runs;
mod scaling;
mod stores;
mod text;
mod traces;
mod verify;
mod webhooks;
mod writer;

pub(crate) use self::{
    admission::register as register_admission, buffers::Buffers, cache::register as register_cache,
    card_testing::register as register_card_testing, exposition::Metrics, hooks::register as register_hooks,
    http::observed, mails::register as register_mails, outbox::register as register_outbox,
    payments::register as register_payments, process::register as register_process,
    queues::register as register_queues, rate_limits::register as register_rate_limits,
    relay::register as register_relay, runs::WorkerMetrics, scaling::ScalingView,
    scaling::register as register_scaling, stores::StoreViews, traces::register as register_traces,
    verify::VerifyGauges, webhooks::register as register_webhooks,
};
