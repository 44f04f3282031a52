//! Figures that a server has to be asked for, with their last answers.
//!
//! Guarantees: reading a figure never waits; asking takes at most [`ASK_MAX`], happens at most once in
//! [`ANSWER_VALID_FOR`] however often metrics are read, and only while they are read. A question without an answer
//! leaves no figure behind, and is counted.

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use parking_lot::Mutex;
use tokio::time::{Instant, timeout};

/// Longest wait for an answer.
pub(super) const ASK_MAX: Duration = Duration::from_secs(1);
/// Age of an answer that is shown again.
pub(super) const ANSWER_VALID_FOR: Duration = Duration::from_secs(3);

type Asking<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// The last answer to a question.
pub(super) struct Asked<T> {
    source: &'static str,
    ask: Box<dyn Fn() -> Asking<Result<T, String>> + Send + Sync>,
    /// When it was asked. Held meanwhile, so that concurrent readers share one.
    last: tokio::sync::Mutex<Option<Instant>>,
    answer: Mutex<Option<T>>,
    errors: AtomicU64,
}

/// A question, whatever its answer is.
pub(super) trait Question: Send + Sync {
    /// The part of the system that answers.
    fn source(&self) -> &'static str;

    /// Questions without an answer since the start.
    fn errors(&self) -> u64;

    /// Asks, unless the last answer is still valid.
    fn refresh(self: Arc<Self>) -> Asking<()>;
}

impl<T: Send + 'static> Asked<T> {
    /// `ask` fails with the reason.
    pub(super) fn new<F: Future<Output = Result<T, String>> + Send + 'static>(
        source: &'static str,
        ask: impl Fn() -> F + Send + Sync + 'static,
    ) -> Self {
        let ask = Box::new(move || -> Asking<Result<T, String>> { Box::pin(ask()) });
        let (last, errors) = (tokio::sync::Mutex::default(), AtomicU64::new(0));
        Self { source, ask, last, answer: Mutex::new(None), errors }
    }

    /// What `show` makes of the last answer; its default without one.
    pub(super) fn shown<S: Default>(&self, show: impl FnOnce(&T) -> S) -> S {
        self.answer.lock().as_ref().map(show).unwrap_or_default()
    }
}

impl<T: Send + 'static> Question for Asked<T> {
    fn source(&self) -> &'static str {
        self.source
    }

    fn errors(&self) -> u64 {
        self.errors.load(Ordering::Relaxed)
    }

    fn refresh(self: Arc<Self>) -> Asking<()> {
        Box::pin(async move {
            let mut last = self.last.lock().await;
            if last.is_some_and(|asked_at| asked_at.elapsed() < ANSWER_VALID_FOR) {
                return;
            }
            let answer = timeout(ASK_MAX, (self.ask)()).await;
            let answer = answer.unwrap_or_else(|_| Err("no answer in time".to_owned()));
            if let Err(error) = &answer {
                self.errors.fetch_add(1, Ordering::Relaxed);
                tracing::debug!(source = self.source, error, "figure of a metric not available");
            }
            *self.answer.lock() = answer.ok();
            *last = Some(Instant::now());
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_answer_is_shared_and_a_missing_one_leaves_no_figure() {
        let questions = Arc::new(AtomicU64::new(0));
        let counted = Arc::clone(&questions);
        let asked = Arc::new(Asked::new("broker", move || {
            let number = counted.fetch_add(1, Ordering::Relaxed);
            async move { Ok::<_, String>(number) }
        }));
        assert_eq!(asked.shown(|number| Some(*number)), None);
        for _ in 0..3 {
            Arc::clone(&asked).refresh().await;
        }
        assert_eq!(asked.shown(|number| Some(*number)), Some(0));
        assert_eq!((questions.load(Ordering::Relaxed), asked.errors()), (1, 0));

        let away = Arc::new(Asked::<u64>::new("broker", || async { Err("away".to_owned()) }));
        Arc::clone(&away).refresh().await;
        assert_eq!((away.shown(|number| Some(*number)), away.errors()), (None, 1));
    }

    #[tokio::test]
    async fn a_question_that_is_never_answered_ends() {
        let silent = Arc::new(Asked::<u64>::new("broker", std::future::pending));
        Arc::clone(&silent).refresh().await;
        assert_eq!((silent.shown(|number| Some(*number)), silent.errors()), (None, 1));
    }
}
