//! Declaration of exchanges before their first message, and of whatever a message did not find, for instance because an
//! operator deleted it.

use std::{
    collections::{BTreeMap, BTreeSet, btree_map::Entry},
    sync::Arc,
};

use tokio::{sync::Mutex, time::Instant};

use super::batch::{Outgoing, Target};
use crate::{
    engine::EngineError,
    rabbitmq::wire::{connect::AdminConnection, fault::answer, topology},
};

pub(super) struct Restorer {
    admin: Arc<AdminConnection>,
    /// Time of the last declaration: of the exchanges in use, and of job queues that were missing. Held while
    /// declaring, so that many callers that miss the same one declare it once.
    declared: Mutex<BTreeMap<Target, Instant>>,
}

impl Restorer {
    pub(super) fn new(admin: Arc<AdminConnection>) -> Self {
        Self { admin, declared: Mutex::default() }
    }

    /// Declares exchanges that this handle has not used before.
    pub(super) async fn declare_exchanges(&self, messages: &[Outgoing]) -> Result<(), EngineError> {
        let targets: BTreeSet<Target> =
            messages.iter().filter(|message| message.is_by_exchange()).map(Outgoing::target).collect();
        if targets.is_empty() {
            return Ok(());
        }
        let mut declared = self.declared.lock().await;
        for target in targets {
            if let Entry::Vacant(unused) = declared.entry(target) {
                self.declare(unused.key(), false).await?;
                unused.insert(Instant::now());
            }
        }
        Ok(())
    }

    /// Declares all that messages published after `since` did not find.
    pub(super) async fn restore(&self, missing: &[Outgoing], since: Instant) -> Result<(), EngineError> {
        let mut declared = self.declared.lock().await;
        for target in missing.iter().map(Outgoing::target).collect::<BTreeSet<_>>() {
            if declared.get(&target).is_some_and(|at| *at > since) {
                continue;
            }
            self.declare(&target, true).await?;
            declared.insert(target, Instant::now());
        }
        Ok(())
    }

    async fn declare(&self, target: &Target, was_missing: bool) -> Result<(), EngineError> {
        let channel = self.admin.channel().await?;
        match target {
            Target::Queue(queue) => topology::declare_missing(&channel, queue).await?,
            Target::Exchange(exchange) => {
                topology::declare_named(&channel, exchange).await?;
                if was_missing {
                    tracing::warn!(target = exchange, "missing broker queue or exchange declared again");
                }
            }
        }
        answer(channel.close(200, "declared".into())).await
    }
}
