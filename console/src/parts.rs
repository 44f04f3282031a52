//! Parts and settings of a console, as its owner hands them over.

use std::{pin::Pin, sync::Arc};

use base::Ambient;
use jobs::{Engine, bulk::Items, job_store::JobStore, records::RecordStore, scaling::QueueSignal};
use store::{OrderStore, PaymentStore};

use crate::access::AccessToken;

/// A reading of the scaling signal, under way; `None` where it cannot be had now.
pub type ScalingReading = Pin<Box<dyn Future<Output = Option<Vec<QueueSignal>>> + Send>>;

/// Reads the scaling signal of this process, the one that it serves to others.
pub type ReadScaling = Arc<dyn Fn() -> ScalingReading + Send + Sync>;

/// What a console shows and changes.
#[derive(Clone)]
pub struct ConsoleParts {
    /// The queues.
    pub engine: Arc<dyn Engine>,
    /// The log of attempts.
    pub records: Arc<dyn RecordStore>,
    /// Schedules, reports, notes of workers, operations and limits.
    pub store: Arc<dyn JobStore>,
    /// Orders with their events, mails and webhook attempts.
    pub orders: Arc<dyn OrderStore>,
    /// Payments of orders.
    pub payments: Arc<dyn PaymentStore>,
    /// All that operations can be for; without the kinds of this list there is no action.
    pub items: Vec<Arc<dyn Items>>,
    /// Workers that the queues need.
    pub scaling: ReadScaling,
    /// Name of this process as a runner of operations; unique among those that run.
    pub name: String,
    /// Clock and randomness.
    pub ambient: Ambient,
}

/// Settings of a console.
#[derive(Debug, Clone, Default)]
pub struct ConsoleConfig {
    /// Tokens that sign in.
    pub tokens: Vec<AccessToken>,
    /// Whether admins see payloads, results of jobs and personal data.
    pub show_payloads: bool,
    /// Whether browsers reach the console by https: their cookie is then sent by https only.
    pub https: bool,
}
