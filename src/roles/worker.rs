//! Role of the workers: runs jobs, and logs their attempts. The scheduler has workers of its own.

use std::sync::{Arc, atomic::Ordering};

use anyhow::Result;
use jobs::{
    Reporter,
    job_store::RunReports,
    recorder::{Recorder, RecorderConfig},
    records::RecordStore,
    worker::Workers,
};
use prometheus_client::{encoding::EncodeMetric, metrics::counter::ConstCounter};
use webhooks::WebhookSender;
use workers::{
    Env, Parts, WebhookDelivery, limits::JobLimits, provider::PaymentProvider as _, queues::PAYMENTS,
};

use super::{RELEASE, Roles};
use crate::{health, mail, provider, sandbox::Sandbox, wiring::WorkerParts};

impl Roles<'_> {
    pub(crate) async fn workers(&mut self, parts: WorkerParts, sandbox: Option<&Sandbox>) -> Result<()> {
        let (config, ambient) = (self.wiring.config, self.wiring.ambient);
        let WorkerParts { orders, payments, jobs, store, checks } = parts;
        let charges = config.workers.queues.iter().any(|(name, _)| name == PAYMENTS);
        let provider = provider::connect(&config.payments, sandbox, ambient)?;
        if charges {
            provider::check_open_payments(provider.as_ref(), orders.as_ref(), payments.as_ref(), ambient)
                .await?;
        }
        let recorder = self.recorder(jobs.records);
        let reporter = self.reporter(store.clone());
        let breaker = provider.breaker().clone();
        let limits = JobLimits {
            charges: config.payments.concurrent_max,
            deliveries: config.webhooks.per_endpoint_total,
        };
        let registry = limits.apply(workers::registry()?, provider.name())?;
        let env = Env::new(Parts {
            orders,
            payments,
            provider,
            mailer: mail::mailer(&config.mail, &config.folder)?,
            webhooks: self.webhooks()?,
            ambient: ambient.clone(),
            worker: self.wiring.name.clone(),
        });
        let pool = Workers::new(jobs.queue.clone(), Arc::new(registry), env, ambient.clone())
            .name(self.wiring.name.clone())
            .recorder(recorder.clone())
            .reporter(reporter.clone())
            .limiter(store.clone(), jobs.queue)
            .listed(store, RELEASE)
            .lease(config.workers.lease)
            .drain_timeout(config.workers.drain)
            .abort(self.stop.now.clone());
        // While the circuit breaker is open, payment jobs are left to processes that may reach the provider.
        let pool = config.workers.queues.iter().fold(pool, |pool, (name, slots)| match name.as_str() {
            PAYMENTS => pool.queue_behind(name, *slots, breaker.gate()),
            _ => pool.queue(name, *slots),
        });
        if charges {
            self.health.push(health::provider(breaker.standing()));
        }
        self.health.push(health::workers("workers", pool.health(), self.without, ambient.clone()));
        self.stores.extend(checks);
        self.run_workers(pool, recorder, reporter);
        Ok(())
    }

    /// A writer of the log of attempts.
    pub(super) fn recorder(&self, records: Arc<dyn RecordStore>) -> Recorder {
        let config = self.wiring.config;
        let levels = config.records_levels.clone();
        let default_level = config.records_level;
        Recorder::spawn(records, RecorderConfig { default_level, levels, ..RecorderConfig::default() })
    }

    /// Runs workers until a stop, then flushes their log and reports.
    pub(super) fn run_workers<E: Clone + Send + Sync + 'static>(
        &mut self,
        pool: Workers<E>,
        recorder: Recorder,
        reporter: Reporter,
    ) {
        let asked = self.stop.orderly.clone();
        self.running.spawn(async move {
            let ended = pool.run(asked).await;
            recorder.close().await;
            reporter.close().await;
            Ok(ended?)
        });
    }

    /// A writer of what runs report. One metric counts the drops of all writers of the process.
    pub(super) fn reporter(&self, store: Arc<dyn RunReports>) -> Reporter {
        let (name, keep) = (self.wiring.name.clone(), self.wiring.config.records_keep);
        let reporter = Reporter::spawn(store, name, keep, self.wiring.ambient.clone());
        let is_first = {
            let mut reporters = self.reporters.lock();
            reporters.push(reporter.clone());
            reporters.len() == 1
        };
        if is_first {
            let all = Arc::clone(&self.reporters);
            let help =
                "Ended runs whose last progress, log lines or result were dropped, as the job store was away";
            self.metrics.counter("run_reports_dropped", help, move |encoder| {
                let dropped: u64 = all.lock().iter().map(Reporter::dropped).sum();
                ConstCounter::new(dropped).encode(encoder)
            });
        }
        reporter
    }

    fn webhooks(&self) -> Result<WebhookDelivery> {
        let (config, ambient) = (self.wiring.config, self.wiring.ambient);
        let sender = WebhookSender::new(config.api.webhook_urls, ambient.clone())?;
        let webhooks = WebhookDelivery {
            disable_after: config.webhooks.disable_after,
            ..WebhookDelivery::new(sender, config.webhook_shares(), ambient.clone())
        };
        let disabled = Arc::clone(&webhooks.endpoints_disabled);
        let help = "Webhook endpoints disabled, as they failed for days or answered 410";
        self.metrics.counter("webhook_endpoints_disabled", help, move |encoder| {
            ConstCounter::new(disabled.load(Ordering::Relaxed)).encode(encoder)
        });
        Ok(webhooks)
    }
}
