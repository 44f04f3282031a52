//! Role of the scheduler: publishes the runs of the housekeeping while it leads, runs housekeeping jobs, and carries
//! out bulk operations.

use std::{sync::Arc, time::Duration};

use anyhow::Result;
use jobs::{
    bulk::{Items, JobItems, OneJob, OperationRunner, QueueItems, ScheduleItems},
    job_store::JobStore,
    schedule::Scheduler,
    worker::Workers,
};
use store::OrderStore;
use workers::{
    ended_items::{EndedItemsParts, ended_items},
    queues::{HOUSEKEEPING, HOUSEKEEPING_SLOTS},
    registry::housekeeping_registry,
    schedules::schedules,
};

use super::{RELEASE, Roles};
use crate::{
    health,
    metrics::VerifyGauges,
    provider::with_ledger,
    sandbox::Sandbox,
    wiring::{Jobs, SchedulerParts, Wiring},
};

/// Time for running jobs to finish during a stop, after which they are interrupted: they may be, at any point.
const DRAIN: Duration = Duration::from_secs(1);

/// Everything that bulk operations can be for.
pub(super) fn operation_items(
    orders: Arc<dyn OrderStore>,
    jobs: &Jobs,
    store: Arc<dyn JobStore>,
    wiring: &Wiring<'_>,
) -> Vec<Arc<dyn Items>> {
    let (engine, records) = (&jobs.queue, &jobs.records);
    let schedules = ScheduleItems::new(store, engine.clone(), records.clone(), wiring.ambient.clone());
    let mut items: Vec<Arc<dyn Items>> = vec![
        Arc::new(JobItems::new(engine.clone())),
        Arc::new(OneJob::new(engine.clone())),
        Arc::new(QueueItems::new(engine.clone())),
        Arc::new(schedules),
    ];
    let (records, engine) = (records.clone(), engine.clone());
    let mail_domains = wiring.config.mail.per_domain.is_some();
    let parts = EndedItemsParts { orders, records, engine, ambient: wiring.ambient.clone(), mail_domains };
    items.extend(ended_items(&parts));
    items
}

impl Roles<'_> {
    pub(crate) fn scheduler(&mut self, parts: SchedulerParts, sandbox: Option<&Sandbox>) -> Result<()> {
        let SchedulerParts { mut house, store, jobs, checks } = parts;
        let wiring = self.wiring;
        self.stores.extend(checks);
        self.show_queues(Arc::clone(&jobs.queue), store.clone());
        self.show_outbox(Arc::clone(&house.orders));
        if let Some(audit) = &mut house.audit {
            // A process without its own provider does not read the ledger.
            audit.verify.provider = with_ledger(&wiring.config.payments, sandbox, wiring.ambient)?;
            let gauges = VerifyGauges::register(&self.metrics);
            audit.report = Box::new(move |summary, ended_at| gauges.report(summary, ended_at));
        }
        let mut scheduler =
            Scheduler::new(store.clone(), jobs.queue.clone(), wiring.name.clone(), wiring.ambient.clone());
        for schedule in schedules(&house)? {
            scheduler = scheduler.with(schedule)?;
        }
        self.spawn(scheduler.run(self.shutdown()));
        let items = operation_items(house.orders.clone(), &jobs, store.clone(), wiring);
        let reporter = self.reporter(store.clone());
        let runner = OperationRunner::new(store.clone(), items, wiring.name.clone(), wiring.ambient.clone());
        self.spawn(runner.run(self.shutdown()));
        let (registry, recorder) = (Arc::new(housekeeping_registry()?), self.recorder(jobs.records));
        let pool = Workers::new(jobs.queue, registry, Arc::new(house), wiring.ambient.clone())
            .name(wiring.name.clone())
            .recorder(recorder.clone())
            .reporter(reporter.clone())
            .listed(store, RELEASE)
            .lease(wiring.config.workers.lease)
            .drain_timeout(DRAIN)
            .abort(self.stop.now.clone())
            .queue(HOUSEKEEPING, HOUSEKEEPING_SLOTS);
        let ambient = wiring.ambient.clone();
        self.health.push(health::workers("housekeeping", pool.health(), self.without, ambient));
        self.run_workers(pool, recorder, reporter);
        Ok(())
    }
}
