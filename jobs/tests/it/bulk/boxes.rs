//! Items whose turns a test lets through one by one.

use orderworks_jobs::{
    async_trait,
    bulk::{Acted, Item, ItemPage, Items, Operation, OperationError, Plan},
    engine::EngineError,
};
use parking_lot::Mutex;
use tokio::sync::{Notify, Semaphore};

pub(super) const BOXES: &str = "boxes";

/// Items with the numbers from zero.
pub(super) struct Boxes {
    number: usize,
    /// How many may be done.
    pub(super) turns: Semaphore,
    /// Those that were done, in order.
    pub(super) opened: Mutex<Vec<String>>,
    changed: Notify,
}

impl Boxes {
    pub(super) fn new(number: usize) -> Self {
        let (turns, opened) = (Semaphore::new(0), Mutex::default());
        Self { number, turns, opened, changed: Notify::new() }
    }

    /// Waits until so many have been done.
    pub(super) async fn reached(&self, number: usize) {
        loop {
            let mut changed = std::pin::pin!(self.changed.notified());
            changed.as_mut().enable();
            if self.opened.lock().len() >= number {
                return;
            }
            changed.await;
        }
    }
}

#[async_trait]
impl Items for Boxes {
    fn name(&self) -> &'static str {
        BOXES
    }

    fn check(&self, _: &Plan) -> Result<(), OperationError> {
        Ok(())
    }

    async fn limits(&self, _: &Operation) -> Result<Vec<String>, EngineError> {
        Ok(Vec::new())
    }

    async fn page(&self, _: &Operation, after: Option<&str>, limit: u32) -> Result<ItemPage, EngineError> {
        let from: usize = after.map_or(0, |after| after.parse().expect("a position"));
        let to = (from + limit as usize).min(self.number);
        let items = (from..to).map(|number| Item { id: number.to_string(), text: String::new() });
        Ok(ItemPage { items: items.collect(), next: (to < self.number).then(|| to.to_string()) })
    }

    async fn act(&self, _: &Operation, item: &str) -> Result<Acted, EngineError> {
        self.turns.acquire().await.expect("is open").forget();
        self.opened.lock().push(item.to_owned());
        self.changed.notify_waiters();
        Ok(Acted::Done)
    }
}
