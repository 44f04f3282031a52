//! Drawn runs of a check on stable: inputs from a description of their format, the same ones in each run. One that
//! fails is made as small as it can be, and told.
//!
//! `PROPTEST_RNG_SEED` in the environment draws others, `PROPTEST_CASES` is their number, 256 without it. Keeps no
//! files; what is worth keeping becomes an entry of the corpus.

use proptest::{
    strategy::Strategy,
    test_runner::{Config, RngSeed, TestRunner},
};

const SEED: u64 = 20_261_130;

/// Calls the check with inputs of this description.
pub(crate) fn each<S: Strategy>(inputs: &S, check: impl Fn(S::Value)) {
    let mut config = Config { failure_persistence: None, ..Config::default() };
    if config.rng_seed == RngSeed::Random {
        config.rng_seed = RngSeed::Fixed(SEED);
    }
    let ended = TestRunner::new(config).run(inputs, |input| {
        check(input);
        Ok(())
    });
    assert_eq!(ended.err().map(|failure| failure.to_string()), None);
}
