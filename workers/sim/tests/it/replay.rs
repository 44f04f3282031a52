//! Replay: a run is a function of its seed.

use sim::{Mutation, Options, run};

#[test]
fn a_seed_replays_to_the_byte() {
    let mut steps = 0;
    let seeds = (0..40).chain([9_999, u64::MAX]);
    let expected = 100 * u64::try_from(seeds.clone().count()).expect("few");
    for seed in seeds {
        let options = Options { seed, mutation: None, in_words: true };
        let (first, second) = (run(options).expect("runs"), run(options).expect("runs"));
        steps += first.steps;
        assert_eq!(first.trace, second.trace, "seed {seed}");
        // Without the text the run is the same.
        let in_silence = run(Options { in_words: false, ..options }).expect("runs");
        assert_eq!(
            (first.fingerprint, first.steps),
            (in_silence.fingerprint, in_silence.steps),
            "seed {seed}"
        );
    }
    assert!(steps > expected, "seeds do next to nothing: {steps} steps");
}

#[test]
fn seeds_differ() {
    let fingerprint =
        |seed| run(Options { seed, mutation: None, in_words: false }).expect("runs").fingerprint;
    let distinct: std::collections::BTreeSet<u64> = (0..100).map(fingerprint).collect();
    assert_eq!(distinct.len(), 100);
}

#[test]
fn a_violation_replays_with_its_trace() {
    let found = sim::sweep(0..10_000, Some(Mutation::FreshKeys), 1, |_| {}).expect("runs");
    let failure = found.failure.expect("is found");
    let again = Options { seed: failure.seed, mutation: failure.mutation, in_words: true };
    let again = run(again).expect("runs");
    assert_eq!((again.violation, again.trace), (failure.violation, failure.trace));
}
