//! The conformance suite of queue engines, as cases to run against an engine.
//!
//! Guarantees: a case uses an engine only through [`Engine`] and [`Harness`]; where engines may differ it checks
//! [`crate::engine::Capabilities`]. Each case gets a harness of its own, that is queues used by no other case. Does not
//! test features of a single engine; those tests are with that engine.
//!
//! A new engine implements [`Harness`] and calls [`crate::conformance_tests`] in its integration tests. The stores
//! beside an engine have suites of their own: [`job_store`] and [`records`].
#![expect(clippy::expect_used, clippy::missing_panics_doc, reason = "test code: a panic is how a case fails")]

pub mod alter;
pub mod bulk;
pub mod control;
pub mod crash;
pub mod dead;
pub mod defects;
pub mod delivery;
pub mod fair;
pub mod inspect;
pub mod job_store;
mod kit;
pub mod order;
pub mod ordered;
pub mod ordered_random;
pub mod records;
pub mod swarm;
pub mod time;
pub mod unique;
pub mod worker;

use std::sync::Arc;

use async_trait::async_trait;
use base::Ambient;

use crate::{
    engine::{Consumer, Engine},
    envelope::Envelope,
};

/// The means by which the cases test an engine.
#[async_trait]
pub trait Harness: Sized + Send + Sync + 'static {
    /// Reason why the cases cannot run here, for an engine whose server is absent; printed instead of running them.
    fn skipped() -> Option<String> {
        None
    }

    /// Creates empty storage (a file, a virtual host) and a first handle to it.
    async fn start() -> Self;

    /// The engine's clock: a real one, because leases expire by themselves here.
    fn ambient(&self) -> &Ambient;

    /// The first handle.
    fn engine(&self) -> Arc<dyn Engine>;

    /// A second handle to the same queues, as another process would have.
    async fn second(&self) -> Arc<dyn Engine>;

    /// Drops a consumer without closing it.
    async fn crash(&self, consumer: Consumer) {
        drop(consumer);
    }

    /// Publishes a job as if it had crashed alone [`crate::engine::CRASHES_MAX`] times. Returns false where the engine
    /// does not pause after crashes: then the case makes them, which would take minutes elsewhere.
    async fn publish_worn(&self, _envelope: Envelope) -> bool {
        false
    }

    /// Makes publishing impossible until an operator corrects it: renames a column, revokes a permission.
    async fn break_storage(&self);

    /// Adds a message to a queue whose body is not an envelope.
    async fn inject_undecodable(&self, queue: &str, body: &str);
}

#[doc(hidden)]
pub use kit::plain_job;

/// Prints that a case did not run.
#[doc(hidden)]
pub fn skip(why: &str) {
    use std::io::Write;
    let _ = writeln!(std::io::stderr(), "skipped: {why}");
}

/// Runs all cases as tests of the calling crate, which needs `tokio` with `macros` and `rt-multi-thread`.
///
/// ```text
/// orderworks_jobs::conformance_tests!(MyHarness);
/// ```
#[macro_export]
macro_rules! conformance_tests {
    ($harness:ty) => {
        $crate::conformance_tests! { @cases $harness;
            alter: a_delayed_job_gets_another_time, a_delayed_job_moves_to_another_queue,
                a_waiting_job_gets_another_priority, only_a_waiting_job_is_altered;
            bulk: an_operation_redrives_what_matches, an_operation_cancels_what_is_listed_and_tells_the_rest,
                an_operation_is_for_one_queue_or_one_job;
            control: cancelled_before_its_time_never_runs, cancelling_a_running_job_fires_its_signal,
                a_pause_holds_in_every_handle, a_job_under_way_at_a_pause_ends_and_its_retry_waits,
                purging_drops_what_waits, a_purge_frees_the_keys_of_what_it_deletes, depth_counts_every_state,
                a_delayed_job_can_be_started_now, listing_pages_and_filters;
            crash: a_crash_delivers_again_and_voids_the_old_receipt,
                a_job_that_keeps_crashing_alone_becomes_a_dead_letter,
                jobs_under_way_in_a_crash_loop_are_not_parked,
                a_suspect_whose_run_ends_runs_beside_others_again,
                a_job_longer_than_its_lease_runs_once, closing_gives_back_uncharged,
                outcomes_handed_over_before_closing_are_durable;
            dead: a_dead_job_keeps_its_story, redriving_filters_and_starts_afresh, retrying_a_dead_job_starts_afresh,
                an_undecodable_job_becomes_a_dead_letter, dead_jobs_are_listed_in_pages,
                dead_jobs_are_dropped_by_filter, a_dead_job_frees_its_unique_key;
            defects: broken_storage_is_a_defect;
            delivery: a_published_job_arrives_whole_and_is_done_once, a_known_id_is_a_duplicate,
                a_unique_key_holds_until_the_job_ends, what_can_never_be_accepted_is_refused,
                the_prefetch_bounds_what_is_unsettled, five_thousand_in_one_call,
                a_waiting_consumer_hears_of_another_handles_publish;
            fair: starts_follow_the_weights, a_flood_of_one_key_delays_no_other, jobs_without_a_key_share_one,
                a_higher_priority_goes_first, retries_and_snoozes_take_turns, a_key_keeps_its_order,
                no_turn_is_lost_with_a_consumer, what_waits_for_its_turn_is_in_sight,
                the_longest_backlogs_are_told_by_key, a_queue_becomes_fair_with_jobs_in_it,
                a_waiting_job_is_altered;
            inspect: running_jobs_are_seen_by_every_handle, consumers_are_seen_by_every_handle,
                a_clock_ahead_hides_no_backlog,
                the_oldest_ready_job_has_an_age_without_consumers, what_is_held_nowhere_is_not_found,
                a_sample_of_ready_jobs_counts_nothing, a_delayed_job_tells_when_it_is_due;
            order: higher_classes_start_first, lower_priorities_get_a_share_under_constant_load,
                a_class_starts_in_the_order_of_publishing, one_job_per_concurrency_key, a_freed_concurrency_key_wakes_other_queues;
            ordered: a_key_keeps_its_sequence, no_other_job_is_held_up, a_retry_and_a_snooze_hold_the_key,
                a_dead_job_lets_the_next_go_on, a_crash_keeps_the_key, a_pause_keeps_the_sequence,
                a_cancelled_job_lets_the_next_go_on, a_start_time_holds_the_key,
                what_waits_behind_a_job_is_in_sight, a_job_moves_to_the_line_of_another_queue,
                a_refused_duplicate_holds_no_key;
            ordered_random: no_outcome_breaks_a_sequence;
            swarm: two_consumers_never_share_a_job, nothing_is_lost_while_consumers_crash;
            time: no_delay_ends_early, a_retry_counts_one_attempt, a_snooze_counts_nothing, a_release_counts_nothing;
            unique: a_key_of_a_waiting_job_is_free_once_it_is_fetched, a_kept_key_stays_with_a_dead_job,
                a_period_outlasts_its_job, a_period_ends_at_its_time, a_dead_job_waits_for_the_period_of_another;
            worker: cancelled_before_its_start_never_runs, a_cancel_request_reaches_the_code,
                an_id_runs_once_at_a_time;
        }
    };
    (@cases $harness:ty; $($module:ident: $($case:ident),+;)+) => {
        $(mod $module {
            use super::*;
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $case() {
                    if let Some(why) = <$harness as $crate::conformance::Harness>::skipped() {
                        $crate::conformance::skip(&why);
                        return;
                    }
                    let harness = <$harness as $crate::conformance::Harness>::start().await;
                    $crate::conformance::$module::$case(&harness).await;
                }
            )+
        })+
    };
}
