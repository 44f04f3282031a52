//! Role of the workers: runs jobs, and logs their attempts. The scheduler has workers of its own.

use std::sync::Arc;

use anyhow::Result;
use jobs::{
    Reporter,
    job_store::RunReports,
    recorder::{Recorder, RecorderConfig},
    records::RecordStore,
    worker::Workers,
};
use webhooks::WebhookSender;
use workers::{
    Env, Parts, WebhookDelivery, counts::PaymentCounts, limits::JobLimits, provider::PaymentProvider as _,
    queues::PAYMENTS,
};

use super::{RELEASE, Roles};
use crate::{
    health, mail,
    metrics::{register_mails, register_payments, register_webhooks},
    provider,
    sandbox::Sandbox,
    wiring::WorkerParts,
};

impl Roles<'_> {
    pub(crate) async fn workers(&mut self, parts: WorkerParts, sandbox: Option<&Sandbox>) -> Result<()> {
        let (config, ambient) = (self.wiring.config, self.wiring.ambient);
        let WorkerParts { orders, payments, jobs, store, checks } = parts;
        self.show_queues(Arc::clone(&jobs.queue), store.clone());
        let charges = config.workers.queues.iter().any(|(name, _)| name == PAYMENTS);
        let provider = provider::connect(&config.payments, sandbox, ambient)?;
        if charges {
            provider::check_open_payments(provider.as_ref(), orders.as_ref(), payments.as_ref(), ambient)
                .await?;
        }
        let recorder = self.recorder(jobs.records);
        let reporter = self.reporter(store.clone());
        let breaker = provider.breaker().clone();
        let payment_counts = PaymentCounts::default();
        register_payments(&self.metrics, &provider, payment_counts.clone());
        let mailer = mail::mailer(&config.mail, &config.folder)?;
        register_mails(&self.metrics, &mailer);
        let limits = JobLimits {
            charges: config.payments.concurrent_max,
            deliveries: config.webhooks.per_endpoint_total,
            mails: config.mail.per_domain,
        };
        let registry = limits.apply(workers::registry()?, provider.name())?;
        let env = Env::new(Parts {
            orders,
            payments,
            provider,
            mailer,
            webhooks: self.webhooks()?,
            payment_counts,
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
        let pool = config.workers.queues.iter().fold(pool, |pool, (name, slots)| {
            let pool = match config.fair_share.weights(name) {
                Some(weights) => pool.fair(name, weights),
                None => pool,
            };
            match name.as_str() {
                PAYMENTS => pool.queue_behind(name, *slots, breaker.gate()),
                _ => pool.queue(name, *slots),
            }
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
        let config = RecorderConfig { default_level, levels, ..RecorderConfig::default() };
        let recorder = Recorder::spawn(records, config);
        self.buffers.add_recorder(&self.metrics, recorder.clone());
        recorder
    }

    /// Runs workers until a stop, then flushes their log and reports.
    pub(super) fn run_workers<E: Clone + Send + Sync + 'static>(
        &mut self,
        pool: Workers<E>,
        recorder: Recorder,
        reporter: Reporter,
    ) {
        self.workers.add(&self.metrics, pool.health(), self.wiring.ambient);
        let asked = self.stop.orderly.clone();
        self.running.spawn(async move {
            let ended = pool.run(asked).await;
            recorder.close().await;
            reporter.close().await;
            Ok(ended?)
        });
    }

    /// A writer of what runs report.
    pub(super) fn reporter(&self, store: Arc<dyn RunReports>) -> Reporter {
        let (name, keep) = (self.wiring.name.clone(), self.wiring.config.records_keep);
        let reporter = Reporter::spawn(store, name, keep, self.wiring.ambient.clone());
        self.buffers.add_reporter(&self.metrics, reporter.clone());
        reporter
    }

    fn webhooks(&self) -> Result<WebhookDelivery> {
        let (config, ambient) = (self.wiring.config, self.wiring.ambient);
        let sender = WebhookSender::new(config.api.webhook_urls, ambient.clone())?;
        let webhooks = WebhookDelivery {
            disable_after: config.webhooks.disable_after,
            ..WebhookDelivery::new(sender, config.webhook_shares(), ambient.clone())
        };
        register_webhooks(&self.metrics, &webhooks);
        Ok(webhooks)
    }
}
