#![doc = include_str!("../README.md")]
#![expect(
    clippy::expect_used,
    clippy::missing_panics_doc,
    clippy::panic,
    missing_docs,
    reason = "test code: a panic is how a case fails, and its name tells what it is"
)]

pub mod cache;
pub mod defects;
pub mod orders;
pub mod payments;

use std::{future::Future, time::Duration};

use base::{Ambient, Timestamp, ambient::ManualClock};
use tokio::task::JoinSet;

/// Start time of every case: 2024-03-10T12:00:00Z, a noon, so that a case stays within its UTC day.
pub const START_MILLIS: i64 = 1_710_072_000_000;

/// Clock and id source of one case.
#[derive(Clone)]
pub struct Clockwork {
    /// Source of ids and time.
    pub ambient: Ambient,
    clock: ManualClock,
}

impl Clockwork {
    /// The same seed gives the same ids.
    pub fn new(seed: u64) -> Self {
        let start = Timestamp::from_millisecond(START_MILLIS).expect("a time");
        let (ambient, clock) = Ambient::steered(seed, start);
        Self { ambient, clock }
    }

    /// Advances the clock by 1 ms, so that no two timestamps are equal.
    pub fn tick(&self) -> Timestamp {
        self.pass(Duration::from_millis(1))
    }

    /// Advances the clock.
    pub fn pass(&self, by: Duration) -> Timestamp {
        self.clock.advance(by);
        self.ambient.now()
    }
}

/// Runs `count` tasks concurrently and returns their answers.
pub async fn race<T, F>(count: u32, task: impl Fn(u32) -> F) -> Vec<T>
where
    T: Send + 'static,
    F: Future<Output = T> + Send + 'static,
{
    let tasks: JoinSet<T> = (0..count).map(task).collect();
    tasks.join_all().await
}

/// The return types accepted from an opener.
#[doc(hidden)]
pub trait Opened<S, G> {
    fn opened(self) -> Option<(S, G)>;
}

impl<S, G> Opened<S, G> for (S, G) {
    fn opened(self) -> Option<(S, G)> {
        Some(self)
    }
}

impl<S, G> Opened<S, G> for Option<(S, G)> {
    fn opened(self) -> Self {
        self
    }
}

/// Makes each named case a test over a fresh store; used by the macros of the suites.
#[doc(hidden)]
#[macro_export]
macro_rules! conformance_cases {
    ($open:path, $suite:ident, $($group:ident: [$($case:ident),* $(,)?]),* $(,)?) => {
        $(mod $group {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() {
                use $crate::Opened as _;
                let Some((store, _guard)) = $open().await.opened() else { return };
                $crate::$suite::$group::$case(store).await;
            })*
        })*
    };
}
