//! Role of the operations console.

use std::{sync::Arc, time::Duration};

use console::{Console, ConsoleParts, ReadScaling, ScalingReading};
use tokio::net::TcpListener;

use super::{Roles, scheduler::operation_items};
use crate::wiring::{ConsoleStores, Jobs};

impl Roles<'_> {
    /// Serves the console, which is returned for a link that signs in. Its metrics show queues and outbox also while no
    /// worker runs.
    pub(crate) fn console(&mut self, stores: ConsoleStores, listener: TcpListener) -> Console {
        let ConsoleStores { orders, payments, jobs, store, checks } = stores;
        let wiring = self.wiring;
        self.stores.extend(checks);
        self.show_queues(Arc::clone(&jobs.queue), Arc::clone(&store));
        self.show_outbox(Arc::clone(&orders));
        let items = operation_items(Arc::clone(&orders), &jobs, Arc::clone(&store), wiring);
        let Jobs { queue, records } = jobs;
        let parts = ConsoleParts {
            engine: queue,
            records,
            store,
            orders,
            payments,
            items,
            scaling: self.signal(),
            // Beside the scheduler of the same process, which is another runner of operations.
            name: format!("{} console", wiring.name),
            ambient: wiring.ambient.clone(),
        };
        let console = Console::new(parts, wiring.config.console.config.clone());
        let (history, stop) = (console.clone(), self.shutdown());
        self.spawn(async move { history.keep_history(stop).await });
        self.serve(listener, console::app(console.clone()), Duration::ZERO);
        console
    }

    /// The signal that this process serves at `/scaling`, not one beside it: each reading is a step of the rule.
    fn signal(&self) -> ReadScaling {
        let view = self.scaling.clone();
        Arc::new(move || -> ScalingReading {
            let view = view.clone();
            Box::pin(async move { view?.read().await })
        })
    }
}
