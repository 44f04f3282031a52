//! A console: its parts, the sessions of its visitors, and the figures that its pages share.

use std::{sync::Arc, time::Duration};

use base::Timestamp;
use jobs::{CancellationToken, bulk::OperationAdmin, schedule::ScheduleAdmin};
use tokio::time::{MissedTickBehavior, interval, timeout};

use crate::{
    access::{Access, Bearer, Role},
    error::ConsoleError,
    figures::{Figures, QueueFigures, SharedFigures},
    history::{History, SAMPLE_EVERY},
    parts::{ConsoleConfig, ConsoleParts},
};

/// Longest look at all queues for a sample; a sample that takes longer is left out.
const SAMPLE_MAX: Duration = Duration::from_secs(15);

/// A console. Clones share it.
#[derive(Clone)]
pub struct Console(pub(crate) Arc<ConsoleState>);

pub(crate) struct ConsoleState {
    pub(crate) parts: ConsoleParts,
    pub(crate) config: ConsoleConfig,
    pub(crate) access: Access,
    pub(crate) history: History,
    figures: SharedFigures,
}

impl Console {
    /// A console over these parts.
    pub fn new(parts: ConsoleParts, config: ConsoleConfig) -> Self {
        let access = Access::new(config.tokens.clone(), parts.ambient.clone());
        let (history, figures) = (History::default(), SharedFigures::default());
        Self(Arc::new(ConsoleState { parts, config, access, history, figures }))
    }

    /// Samples the queues for the charts of the last hour, once a minute until `stop`. Without it there are no charts.
    pub async fn keep_history(&self, stop: CancellationToken) {
        tokio::select! {
            () = self.sample_on() => {}
            () = stop.cancelled() => {}
        }
    }

    async fn sample_on(&self) {
        let mut tick = interval(SAMPLE_EVERY);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tick.tick().await;
            self.sample().await;
        }
    }

    async fn sample(&self) {
        if let Ok(Ok(figures)) = timeout(SAMPLE_MAX, self.0.figures()).await {
            self.0.history.add(&figures);
        } else {
            // A gap in the charts; pages that are asked for say what is wrong.
            tracing::debug!("console history not sampled");
        }
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

    /// The present figures with those of this queue; `None` where there is no such queue.
    pub(crate) async fn figures_of(
        &self,
        queue: &str,
    ) -> Result<Option<(Arc<Figures>, QueueFigures)>, ConsoleError> {
        let mut figures = self.figures().await?;
        // It may be declared since the look that all pages share.
        if figures.queue(queue).is_none() && self.is_declared(queue).await? {
            figures = self.figures.read_later_than(&self.parts, Some(figures.at)).await?;
        }
        let found = figures.queue(queue).cloned();
        Ok(found.map(|queue| (figures, queue)))
    }

    async fn is_declared(&self, queue: &str) -> Result<bool, ConsoleError> {
        Ok(self.parts.engine.queues().await?.iter().any(|declared| declared == queue))
    }
}
