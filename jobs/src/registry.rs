//! The registry of job types of a process, by the kind that stands in the message.
//!
//! Guarantees: one type per kind, checked at boot and not at the first message; [`Registry::check`] tells beforehand
//! whether a job can be read. Does not run jobs: see [`crate::worker`].

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
    payload,
};

pub use crate::payload::Unreadable;

/// The job types that share one environment `E`.
pub struct Registry<E> {
    entries: HashMap<&'static str, Entry<E>>,
    classify: ClassifyFn,
}

/// Reason why a job type cannot join a registry.
#[expect(missing_docs, reason = "the message of each says what it means")]
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RegisterError {
    /// A message could not tell the two types apart.
    #[error("kind `{kind}` is claimed by both `{first}` and `{second}`")]
    DuplicateKind { kind: &'static str, first: &'static str, second: &'static str },
    #[error("kind `{kind}` of `{job}` must match [a-z0-9_]{{1,60}}")]
    BadKind { kind: &'static str, job: &'static str },
    #[error("queue `{queue}` of `{job}` must match [a-z0-9_]{{1,60}}")]
    BadQueue { queue: &'static str, job: &'static str },
    #[error("`{job}` allows no attempt; MAX_ATTEMPTS counts the first run too")]
    NoAttempts { job: &'static str },
    #[error("`{job}` has a UNIQUE with a period of {period:?}, which must be 1 s to 31 days")]
    BadUniquePeriod { job: &'static str, period: Duration },
    /// Its signal would fire at once, or never.
    #[error(
        "`{job}` has a SOFT_TIMEOUT of {soft:?}, which must be above zero and below its TIMEOUT of {timeout:?}"
    )]
    BadSoftTimeout { job: &'static str, soft: Duration, timeout: Duration },
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
        self.entries.insert(J::KIND, Entry { policy, run, check, queue: J::QUEUE, type_name: job });
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

#[cfg(test)]
mod tests {
    use serde::{Deserialize, Serialize};

    use super::*;
    use crate::{JobError, Unique, engine::EngineError, envelope::EnqueueOptions};

    #[derive(Serialize, Deserialize)]
    struct Move {
        metres: u32,
    }

    impl Job for Move {
        type Env = ();
        const KIND: &'static str = "move";
        const VERSION: u16 = 2;
        const QUEUE: &'static str = "floor";

        async fn run(&self, _ctx: &JobContext<()>) -> Result<(), JobError> {
            Ok(())
        }
    }

    #[derive(Serialize, Deserialize)]
    struct Other;

    impl Job for Other {
        type Env = ();
        const KIND: &'static str = "move";
        async fn run(&self, _ctx: &JobContext<()>) -> Result<(), JobError> {
            Ok(())
        }
    }

    #[derive(Serialize, Deserialize)]
    struct Shouting;

    impl Job for Shouting {
        type Env = ();
        const KIND: &'static str = "Shout!";
        async fn run(&self, _ctx: &JobContext<()>) -> Result<(), JobError> {
            Ok(())
        }
    }

    #[test]
    fn a_duplicate_kind_names_both_types() {
        let error = Registry::new().register::<Move>().unwrap().register::<Other>().unwrap_err();
        let text = error.to_string();
        assert!(
            text.contains("`move`") && text.contains("tests::Move") && text.contains("tests::Other"),
            "{text}"
        );
    }

    #[test]
    fn names_no_engine_could_carry_are_refused() {
        let error = Registry::new().register::<Shouting>().unwrap_err();
        assert!(matches!(error, RegisterError::BadKind { kind: "Shout!", .. }));
        for (name, good) in [("a_1", true), ("", false), ("a-b", false), (&"x".repeat(61), false)] {
            assert_eq!(is_name(name), good, "{name}");
        }
    }

    /// A job whose signal fires after this many seconds, of ten.
    #[derive(Serialize, Deserialize)]
    struct Soft<const SECONDS: u64>;

    impl<const SECONDS: u64> Job for Soft<SECONDS> {
        type Env = ();
        const KIND: &'static str = "soft";
        const TIMEOUT: Duration = Duration::from_secs(10);
        const SOFT_TIMEOUT: Option<Duration> = Some(Duration::from_secs(SECONDS));
        async fn run(&self, _ctx: &JobContext<()>) -> Result<(), JobError> {
            Ok(())
        }
    }

    #[test]
    fn a_soft_timeout_lies_within_the_timeout() {
        assert!(Registry::new().register::<Soft<9>>().is_ok());
        let refused = [Registry::new().register::<Soft<10>>(), Registry::new().register::<Soft<0>>()];
        for (refused, soft) in refused.into_iter().zip(["10s", "0ns"]) {
            let error = refused.unwrap_err().to_string();
            let soft = format!("SOFT_TIMEOUT of {soft}");
            let told = [soft.as_str(), "TIMEOUT of 10s", "Soft<"];
            assert!(told.into_iter().all(|text| error.contains(text)), "{error}");
        }
    }

    /// A job whose unique key is held for this many seconds at least.
    #[derive(Serialize, Deserialize)]
    struct Keyed<const SECONDS: u64>;

    impl<const SECONDS: u64> Job for Keyed<SECONDS> {
        type Env = ();
        const KIND: &'static str = "keyed";
        const UNIQUE: Unique = Unique::WHILE_ACTIVE.within(Duration::from_secs(SECONDS));
        async fn run(&self, _ctx: &JobContext<()>) -> Result<(), JobError> {
            Ok(())
        }
    }

    #[test]
    fn the_period_of_a_unique_key_has_bounds() {
        assert!(Registry::new().register::<Keyed<1>>().is_ok());
        let error = Registry::new().register::<Keyed<0>>().unwrap_err();
        assert!(matches!(error, RegisterError::BadUniquePeriod { period: Duration::ZERO, .. }), "{error}");
        let ambient = base::Ambient::system();
        let refused = Envelope::new(&Keyed::<0>, EnqueueOptions::default(), &ambient).unwrap_err();
        assert!(matches!(&refused, EngineError::Refused(why) if why.contains("0ns")), "{refused}");
        let options = EnqueueOptions { unique: Some(Unique::WHILE_KEPT), ..EnqueueOptions::default() };
        let envelope = Envelope::new(&Keyed::<0>, options, &ambient).unwrap();
        assert_eq!(envelope.unique, Unique::WHILE_KEPT, "for one call");
    }

    #[test]
    fn a_job_is_readable_by_kind_version_and_payload() {
        let registry = Registry::new().register::<Move>().unwrap();
        let ambient = base::Ambient::system();
        let good = Envelope::new(&Move { metres: 1 }, EnqueueOptions::default(), &ambient).unwrap();
        assert_eq!(registry.check(&good), Ok(()));
        let of_kind = |kind: &str| Envelope { kind: kind.to_owned(), ..good.clone() };
        assert_eq!(registry.check(&of_kind("shove")), Err(Unreadable::UnknownKind));
        assert_eq!(registry.check(&of_kind("")), Err(Unreadable::NoJob));
        let newer = Envelope { version: 3, ..good.clone() };
        assert_eq!(registry.check(&newer), Err(Unreadable::NewerVersion { known: 2 }));
        let broken = registry.check_payload("move", 2, "{}");
        assert_eq!(broken, Err(Unreadable::Payload("does not decode: missing field `metres`".to_owned())));
    }

    #[test]
    fn queues_and_kinds_are_listed_once() {
        let registry = Registry::new().register::<Move>().unwrap();
        assert_eq!((registry.kinds(), registry.queues()), (vec!["move"], vec!["floor"]));
    }
}
