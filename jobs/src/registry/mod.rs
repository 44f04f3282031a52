//! The registry of job types of a process, by the kind that stands in the message.
//!
//! Guarantees: one type per kind, checked at boot and not at the first message; [`Registry::check`] tells beforehand
//! whether a job can be read. Does not run jobs: see [`crate::worker`].

mod error;
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
    time::Duration,
};

use base::ErrorClass;
use futures::future::BoxFuture;

use crate::{
    engine::is_name,
    envelope::Envelope,
    failure::Failure,
    job::{Backoff, Job, JobContext},
    limits::{KindLimit, Limit},
    payload,
};

pub use self::error::RegisterError;
pub use crate::payload::Unreadable;

/// The job types that share one environment `E`.
pub struct Registry<E> {
    entries: HashMap<&'static str, Entry<E>>,
    classify: ClassifyFn,
}

/// Runs one delivery: decodes its payload and calls the job.
pub(crate) type RunFn<E> = fn(JobContext<E>, Arc<Envelope>) -> BoxFuture<'static, Result<(), Failure>>;

/// Checks that a payload of this version decodes.
type CheckFn = fn(u16, &str) -> Result<(), Unreadable>;

pub(crate) struct Entry<E> {
    pub(crate) policy: Policy,
    pub(crate) run: RunFn<E>,
    check: CheckFn,
    queue: &'static str,
    type_name: &'static str,
    limit: Option<KindLimit>,
}

/// The constants and rules that decide about timeout, backoff and classes of errors.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Policy {
    pub(crate) timeout: Duration,
    pub(crate) soft_timeout: Option<Duration>,
    pub(crate) backoff: Backoff,
    pub(crate) classify: ClassifyFn,
}

impl Policy {
    /// Placeholder: a run of an unknown kind fails at once, and its settlement has a rule of its own.
    pub(crate) const OF_UNKNOWN: Self =
        Self { timeout: Duration::ZERO, soft_timeout: None, backoff: Backoff::STANDARD, classify: |_| None };
}

/// Classifier of errors: the class of an error of the program's own stores, `None` for every other error.
pub type ClassifyFn = fn(&(dyn std::error::Error + 'static)) -> Option<ErrorClass>;

impl<E: Clone + Send + Sync + 'static> Registry<E> {
    /// An empty registry without a classifier of errors.
    pub fn new() -> Self {
        Self { entries: HashMap::new(), classify: |_| None }
    }

    /// Sets the classifier for the causes of jobs registered after this call. A [`crate::JobError::Retry`] with a
    /// [transient](ErrorClass::is_transient) cause snoozes the job for 1 to 5 s and uses no attempt: a database that is
    /// unavailable for an hour must neither exhaust jobs nor move them to a backoff schedule made for other failures. A
    /// defect or corrupt data is logged as an error and uses an attempt, so that the job ends as a dead letter with its
    /// cause.
    #[must_use]
    pub fn classify_errors(mut self, classify: ClassifyFn) -> Self {
        self.classify = classify;
        self
    }

    /// Adds a job type.
    ///
    /// # Errors
    /// A kind that is registered already, a kind or queue name outside `[a-z0-9_]{1,60}`, no attempt allowed, a soft
    /// time-out that is not below the time-out, or a period of the unique key that [`crate::Unique::within`] does not
    /// allow.
    pub fn register<J: Job<Env = E>>(mut self) -> Result<Self, RegisterError> {
        let job = std::any::type_name::<J>();
        if !is_name(J::KIND) {
            return Err(RegisterError::BadKind { kind: J::KIND, job });
        }
        if !is_name(J::QUEUE) {
            return Err(RegisterError::BadQueue { queue: J::QUEUE, job });
        }
        if J::MAX_ATTEMPTS == 0 {
            return Err(RegisterError::NoAttempts { job });
        }
        if let Some(period) = J::UNIQUE.period().filter(|_| !J::UNIQUE.is_valid()) {
            return Err(RegisterError::BadUniquePeriod { job, period });
        }
        if let Some(soft) = J::SOFT_TIMEOUT.filter(|soft| soft.is_zero() || *soft >= J::TIMEOUT) {
            return Err(RegisterError::BadSoftTimeout { job, soft, timeout: J::TIMEOUT });
        }
        if let Some(first) = self.entries.get(J::KIND) {
            let first = first.type_name;
            return Err(RegisterError::DuplicateKind { kind: J::KIND, first, second: job });
        }
        let policy = Policy {
            timeout: J::TIMEOUT,
            soft_timeout: J::SOFT_TIMEOUT,
            backoff: J::BACKOFF,
            classify: self.classify,
        };
        let (run, check) = (run_erased::<J>, payload::check::<J>);
        self.entries
            .insert(J::KIND, Entry { policy, run, check, queue: J::QUEUE, type_name: job, limit: None });
        Ok(self)
    }

    /// Gives a registered kind a limit, and the function that takes the key from a job: `None` for one without a limit,
    /// at most [`KEY_BYTES_MAX`](crate::limits::KEY_BYTES_MAX) otherwise; a job with a longer key is dead when it is
    /// delivered. Kinds with limits of one name share it. Workers with such a registry need
    /// [`crate::Workers::limiter`].
    ///
    /// # Errors
    /// A job that is not registered or has a limit already, or a limit of this name with other numbers.
    pub fn limit<J: Job<Env = E>>(
        mut self,
        limit: Limit,
        key: impl Fn(&J) -> Option<String> + Send + Sync + 'static,
    ) -> Result<Self, RegisterError> {
        let job = std::any::type_name::<J>();
        let named = self.entries.values().filter_map(|entry| entry.limit.as_ref());
        let shared =
            named.map(|kind| &kind.limit).find(|shared| shared.name() == limit.name()).map(Arc::clone);
        let limit = match shared {
            Some(shared) if *shared == limit => shared,
            Some(_) => return Err(RegisterError::UnequalLimits { limit: limit.name().to_owned(), job }),
            None => Arc::new(limit),
        };
        let entry = self.entries.get_mut(J::KIND).filter(|entry| entry.type_name == job);
        let entry = entry.ok_or(RegisterError::LimitBeforeJob { job })?;
        if entry.limit.is_some() {
            return Err(RegisterError::SecondLimit { job });
        }
        let key = move |version: u16, payload: &str| key(&payload::decode::<J>(version, payload).ok()?);
        entry.limit = Some(KindLimit { limit, key: Arc::new(key) });
        Ok(self)
    }

    /// The registered kinds, sorted.
    pub fn kinds(&self) -> Vec<&'static str> {
        self.entries.keys().copied().collect::<BTreeSet<_>>().into_iter().collect()
    }

    /// The queues of the registered kinds, sorted and without duplicates.
    pub fn queues(&self) -> Vec<&'static str> {
        self.entries.values().map(|entry| entry.queue).collect::<BTreeSet<_>>().into_iter().collect()
    }

    /// Checks that workers with this registry read a job: its kind is registered, its version not newer, and its
    /// payload decodes, with [`Job::upcast`] if it is older. Runs nothing.
    ///
    /// # Errors
    /// The reason for which they do not.
    pub fn check(&self, envelope: &Envelope) -> Result<(), Unreadable> {
        if envelope.kind.is_empty() {
            return Err(Unreadable::NoJob);
        }
        self.check_payload(&envelope.kind, envelope.version, envelope.payload.get())
    }

    /// [`Self::check`] of a payload without a job, such as a golden one of an earlier release.
    ///
    /// # Errors
    /// As [`Self::check`].
    pub fn check_payload(&self, kind: &str, version: u16, payload: &str) -> Result<(), Unreadable> {
        let entry = self.entry(kind).ok_or(Unreadable::UnknownKind)?;
        (entry.check)(version, payload)
    }

    pub(crate) fn entry(&self, kind: &str) -> Option<&Entry<E>> {
        self.entries.get(kind)
    }

    /// The kinds with a limit.
    pub(crate) fn limits(&self) -> HashMap<&'static str, KindLimit> {
        self.entries.iter().filter_map(|(kind, entry)| Some((*kind, entry.limit.clone()?))).collect()
    }

    /// The kinds of a queue, each with its timeout.
    pub(crate) fn timeouts(&self, queue: &str) -> impl Iterator<Item = (&'static str, Duration)> {
        let of_queue = self.entries.iter().filter(move |(_, entry)| entry.queue == queue);
        of_queue.map(|(kind, entry)| (*kind, entry.policy.timeout))
    }
}

impl<E: Clone + Send + Sync + 'static> Default for Registry<E> {
    fn default() -> Self {
        Self::new()
    }
}

impl<E> std::fmt::Debug for Registry<E> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.entries.keys()).finish()
    }
}

/// Decoding and running in a single boxed future: the one allocation a run needs.
fn run_erased<J: Job>(
    ctx: JobContext<J::Env>,
    envelope: Arc<Envelope>,
) -> BoxFuture<'static, Result<(), Failure>> {
    Box::pin(async move {
        let is_newer = envelope.version > J::VERSION;
        let failure = |why| if is_newer { Failure::NewerVersion(why) } else { Failure::Undecodable(why) };
        let decoded = payload::decode::<J>(envelope.version, envelope.payload.get());
        let job = decoded.map_err(|error| failure(error.to_string()))?;
        // Dropped early: a run may take minutes, and the encoded payload is not needed any more.
        drop(envelope);
        job.run(&ctx).await.map_err(Failure::Job)
    })
}
