//! A console: its parts, the sessions of its visitors, and the figures that its pages share.

use std::sync::Arc;

use base::Timestamp;
use jobs::{bulk::OperationAdmin, inspection::live_notes, job_store::WorkerNote, schedule::ScheduleAdmin};

use crate::{
    access::{Access, Bearer, Role},
    error::ConsoleError,
    figures::{Figures, SharedFigures},
    parts::{ConsoleConfig, ConsoleParts},
};

/// A console. Clones share it.
#[derive(Clone)]
pub struct Console(pub(crate) Arc<ConsoleState>);

pub(crate) struct ConsoleState {
    pub(crate) parts: ConsoleParts,
    pub(crate) config: ConsoleConfig,
    pub(crate) access: Access,
    figures: SharedFigures,
}

impl Console {
    /// A console over these parts.
    pub fn new(parts: ConsoleParts, config: ConsoleConfig) -> Self {
        let access = Access::new(config.tokens.clone(), parts.ambient.clone());
        Self(Arc::new(ConsoleState { parts, config, access, figures: SharedFigures::default() }))
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

    /// The present figures of all queues.
    pub(crate) async fn figures(&self) -> Result<Arc<Figures>, ConsoleError> {
        self.figures.read(&self.parts).await
    }

    /// Notes of the worker processes that live.
    pub(crate) async fn notes(&self) -> Result<Vec<WorkerNote>, ConsoleError> {
        Ok(live_notes(self.parts.store.as_ref(), &self.parts.ambient).await?)
    }
}
