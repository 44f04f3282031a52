//! Test tools shared by several crates.

mod proxy;
#[cfg(feature = "postgres")]
pub mod scratch;

use std::time::Duration;

use tokio::time::{Instant, sleep};

pub use proxy::Proxy;

/// Longest wait for a condition to become true.
const PATIENCE: Duration = Duration::from_secs(15);

/// Prints why a case is skipped.
#[expect(clippy::print_stderr, reason = "for the reader of the test run")]
pub fn skip(why: &str) {
    eprintln!("skipped: {why}");
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
