//! The test kit for authors of jobs: run one job as a worker would, without an engine; find jobs that code has
//! enqueued; check that payloads of earlier releases decode.
//!
//! Guarantees: [`run_one`] uses the layers of a real worker (payload round trip, timeout, panic guard) and returns the
//! [`Settlement`] a real engine would get. Its functions fail the calling test by panicking. Behind the feature
//! `testing`; the engine is in [`memory`].

pub mod memory;
mod time;

use std::sync::Arc;

use apalis_core::task::{builder::TaskBuilder, task_fn::task_fn};
use base::{Ambient, TraceContext};
use tower::{Layer, Service};

pub use self::{memory::MemoryEngine, time::virtual_time};
use crate::{
    engine::{Admin, Delivery, JobFilter, JobSignal, Receipt, Settlement},
    envelope::{EnqueueOptions, Envelope},
    job::Job,
    payload::decode,
    registry::Registry,
    worker::{layers::job_layers, run::Work, settlement::settlement_for},
};

/// Runs a first attempt of `job` and returns the settlement a worker would send.
///
/// # Panics
/// When the job cannot be enqueued at all: a bad name, a payload that is too large or does not serialise.
pub async fn run_one<J: Job>(job: &J, env: J::Env) -> Settlement {
    TestRun::new(job, env).run().await
}

/// Runs one delivery through the layers of a worker with this registry and returns the settlement the worker would
/// send. For code with its own source of deliveries, such as a simulation; dropping the future is a crash.
pub async fn run_delivery<E: Clone + Send + Sync + 'static>(
    registry: &Registry<E>,
    delivery: Delivery,
    env: E,
    ambient: &Ambient,
) -> Settlement {
    let work = Work::new(delivery, None, None, registry, &env, ambient);
    let run = Arc::clone(&work.run);
    let mut service = job_layers().layer(task_fn::<_, _, ()>(Work::execute));
    let result = service.call(TaskBuilder::new(work).build()).await;
    settlement_for(&result, &run, ambient)
}

/// One run with its settings.
pub struct TestRun<'a, J: Job> {
    job: &'a J,
    env: J::Env,
    attempt: u32,
    ambient: Ambient,
    signal: JobSignal,
    trace: Option<TraceContext>,
}

impl<'a, J: Job> TestRun<'a, J> {
    /// A first attempt with the system clock.
    pub fn new(job: &'a J, env: J::Env) -> Self {
        let (ambient, signal) = (Ambient::system(), JobSignal::default());
        Self { job, env, attempt: 1, ambient, signal, trace: None }
    }

    /// Sets the number of the attempt, from 1; [`Job::MAX_ATTEMPTS`] makes it the last.
    #[must_use]
    pub fn attempt(self, attempt: u32) -> Self {
        Self { attempt, ..self }
    }

    /// Sets clock, ids and randomness of the run.
    #[must_use]
    pub fn ambient(self, ambient: Ambient) -> Self {
        Self { ambient, ..self }
    }

    /// Sets the signal of the run, for the test to fire.
    #[must_use]
    pub fn signal(self, signal: JobSignal) -> Self {
        Self { signal, ..self }
    }

    /// Sets the trace context the run continues.
    #[must_use]
    pub fn trace(self, trace: TraceContext) -> Self {
        Self { trace: Some(trace), ..self }
    }

    /// Runs the job and returns the settlement a worker would send.
    ///
    /// # Panics
    /// As [`run_one`].
    #[expect(clippy::expect_used, reason = "a test kit fails the test it is used in")]
    pub async fn run(self) -> Settlement {
        let options = EnqueueOptions { trace: self.trace, ..EnqueueOptions::default() };
        let published = Envelope::new(self.job, options, &self.ambient).expect("the job can be enqueued");
        // Through JSON and back, as in every engine: values that do not survive this are found here.
        let wire = serde_json::to_string(&published).expect("an envelope serialises");
        let mut envelope: Envelope = serde_json::from_str(&wire).expect("an envelope deserialises");
        envelope.attempt = self.attempt.saturating_sub(1);
        let registry = Registry::new().register::<J>().expect("the job can be registered");
        let receipt = Receipt { job: envelope.id, tag: 1, session: 1 };
        let delivery = Delivery { envelope: Arc::new(envelope), receipt, crashes: 0, signal: self.signal };
        run_delivery(&registry, delivery, self.env, &self.ambient).await
    }
}

/// Asserts that the engine lists a job of this type that `matches`, in any state, and returns it.
///
/// # Panics
/// When there is none; the message lists the jobs of this kind that exist.
#[expect(clippy::expect_used, clippy::panic, reason = "a test kit fails the test it is used in")]
pub async fn assert_enqueued<J: Job>(engine: &dyn Admin, matches: impl Fn(&J) -> bool) -> J {
    let filter = JobFilter { kind: Some(J::KIND.to_owned()), limit: 1000, ..JobFilter::default() };
    let held = engine.list(&filter).await.expect("the engine lists its jobs");
    let mut others = Vec::new();
    for envelope in held.into_iter().map(|held| held.envelope) {
        match decode::<J>(envelope.version, envelope.payload.get()) {
            Ok(job) if matches(&job) => return job,
            Ok(_) => others.push(envelope.payload.get().to_owned()),
            Err(why) => others.push(format!("{}: {why}", envelope.payload.get())),
        }
    }
    panic!("no job `{}` matches, among: [{}]", J::KIND, others.join(", "))
}

/// Asserts that a payload published by an earlier release still decodes, and returns the job for further checks.
///
/// Keep one file per kind and version in the repository and never change it: it stands for the messages in flight while
/// a new version is deployed.
///
/// # Panics
/// When it does not decode.
#[expect(clippy::expect_used, reason = "a test kit fails the test it is used in")]
pub fn golden<J: Job>(version: u16, payload: &str) -> J {
    decode(version, payload)
        .map_err(|why| format!("{} version {version}: {why}", J::KIND))
        .expect("golden payload")
}
