//! Deliberate defects, each of which must be caught.

use sim::{Mutation, summary, sweep};

fn is_caught(mutation: Mutation, by: &[&str]) {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let found = sweep(0..10_000, Some(mutation), threads, |_| {}).expect("runs");
    let Some(failure) = found.failure else { panic!("{mutation:?} survives 10,000 seeds") };
    println!("{mutation:?} is caught: {}", summary(&failure));
    let violation = failure.violation.expect("it was one");
    assert!(by.contains(&violation.invariant), "{violation}");
}

#[test]
fn acknowledging_before_writing_is_caught() {
    is_caught(Mutation::AckBeforeWrite, &["I1", "I2", "I4", "I5"]);
}

#[test]
fn a_missing_epoch_check_is_caught() {
    is_caught(Mutation::NoEpochCheck, &["fencing"]);
}

#[test]
fn skipping_what_an_earlier_release_cannot_read_is_caught() {
    is_caught(Mutation::SkipUnreadable, &["I1", "I2", "I4", "I5"]);
}

#[test]
fn a_retry_without_the_key_is_caught() {
    is_caught(Mutation::FreshKeys, &["I2"]);
}

#[test]
fn a_capture_of_a_charge_that_is_not_recorded_is_caught() {
    is_caught(Mutation::UnrecordedCharge, &["I2"]);
}

#[test]
fn a_job_that_ends_where_it_does_not_find_its_subject_is_caught() {
    is_caught(Mutation::EndUnfound, &["I1", "I4", "I5"]);
}

#[test]
fn failed_refunds_that_count_are_caught() {
    is_caught(Mutation::CountFailedRefunds, &["I1", "I2", "rest"]);
}
