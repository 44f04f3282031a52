//! Ten thousand seeds of the unmodified product.

use sim::{summary, sweep};

#[test]
fn ten_thousand_seeds_are_clean() {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let found = sweep(0..10_000, None, threads, |_| {}).expect("runs");
    if let Some(failure) = found.failure {
        let shown = failure.trace.len().saturating_sub(400);
        panic!("{}\n{}", failure.trace[shown..].join("\n"), summary(&failure));
    }
    assert_eq!(found.clean, 10_000);
    assert!(found.deliveries > 100_000, "only {} deliveries", found.deliveries);
}
