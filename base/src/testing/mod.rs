//! Test tools shared by several crates.

mod proxy;
#[cfg(feature = "postgres")]
pub mod scratch;

use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};

pub use proxy::Proxy;

/// Longest wait for a condition to become true.
const PATIENCE: Duration = Duration::from_secs(15);

/// Prints why a case is skipped.
#[expect(clippy::print_stderr, reason = "for the reader of the test run")]
pub fn skip(why: &str) {
    eprintln!("skipped: {why}");
}

/// Longest clean-up of a test.
const CLEAN_UP_MAX: Duration = Duration::from_mins(1);

/// Cleans up after a test, on a thread with a runtime of its own: the test's runtime may be shutting down. What fails
/// or does not end within a minute is printed and left to the sweep of a later run; it does not fail a test that
/// passed.
#[expect(clippy::print_stderr, reason = "for the reader of the test run")]
pub fn clean_up(what: &str, work: impl Future<Output = ()> + Send + 'static) {
    let thread = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.is_ok_and(|runtime| runtime.block_on(async { timeout(CLEAN_UP_MAX, work).await.is_ok() }))
    });
    if !thread.join().unwrap_or(false) {
        eprintln!("left to a later run: {what}");
    }
}

/// Polls until the condition holds, where no event tells it: a server that is back, an engine that expires values by
/// its own clock.
///
/// # Panics
/// When it does not hold within 15 seconds.
pub async fn until<F: Future<Output = bool>>(what: &str, mut holds: impl FnMut() -> F) {
    let deadline = Instant::now() + PATIENCE;
    while !holds().await {
        assert!(Instant::now() < deadline, "never came true: {what}");
        sleep(Duration::from_millis(10)).await;
    }
}
