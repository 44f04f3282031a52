//! The state of a console: the stores and the engine that it shows, and its configuration.

use std::sync::Arc;

use base::{Ambient, Timestamp};
use jobs::{
    Engine,
    bulk::{Items, OperationAdmin},
    inspection::live_notes,
    job_store::{JobStore, WorkerNote},
    records::RecordStore,
    schedule::ScheduleAdmin,
};
use store::{OrderStore, PaymentStore};

use crate::{
    access::{Access, AccessToken, Bearer, Role},
    error::ConsoleError,
    figures::Figures,
};

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

/// A console. Clones share it.
#[derive(Clone)]
pub struct Console(pub(crate) Arc<ConsoleState>);

pub(crate) struct ConsoleState {
    pub(crate) parts: ConsoleParts,
    pub(crate) config: ConsoleConfig,
    pub(crate) access: Access,
    /// The figures that all open pages share.
    pub(crate) figures: tokio::sync::Mutex<Option<Arc<Figures>>>,
}

impl Console {
    /// A console over these parts.
    pub fn new(parts: ConsoleParts, config: ConsoleConfig) -> Self {
        let access = Access::new(config.tokens.clone(), parts.ambient.clone());
        let figures = tokio::sync::Mutex::default();
        Self(Arc::new(ConsoleState { parts, config, access, figures }))
    }

    /// The path of a link that signs in once, as an admin of this name, within
    /// [`LINK_VALID_FOR`](crate::access::LINK_VALID_FOR).
    pub fn sign_in_path(&self, name: &str) -> String {
        let bearer = Bearer { name: name.to_owned(), role: Role::Admin };
        format!("/sign-in/{}", self.0.access.add_link(bearer))
    }
}

impl ConsoleState {
    pub(crate) fn now(&self) -> Timestamp {
        self.parts.ambient.now()
    }

    pub(crate) fn operations(&self) -> OperationAdmin<'_> {
        let ConsoleParts { store, items, ambient, .. } = &self.parts;
        OperationAdmin { store: store.as_ref(), items, ambient }
    }

    pub(crate) fn schedules(&self) -> ScheduleAdmin<'_> {
        let ConsoleParts { engine, records, store, ambient, .. } = &self.parts;
        ScheduleAdmin { store: store.as_ref(), engine: engine.as_ref(), records: records.as_ref(), ambient }
    }

    /// Notes of the worker processes that live.
    pub(crate) async fn notes(&self) -> Result<Vec<WorkerNote>, ConsoleError> {
        Ok(live_notes(self.parts.store.as_ref(), &self.parts.ambient).await?)
    }
}
