//! The conformance suite of job stores, as cases to run against a [`JobStore`].
//!
//! Guarantees: a case uses a store only through [`JobStore`]; each gets a harness of its own, with an empty store.
//!
//! A new engine implements [`StoreHarness`] and calls [`crate::job_store_conformance_tests`] in its integration tests.

pub mod claims;
pub mod control;
pub mod dead;
pub mod defects;
pub mod fair;
pub mod keys;
pub mod limits;
pub mod notes;
pub mod operations;
pub mod order;
pub mod reports;
pub mod schedule;
pub mod schedules;
pub mod workers;

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use base::{Ambient, Timestamp};

use super::kit::plain_job;
use crate::{
    engine::JobFilter,
    envelope::JobId,
    job_store::{JobStore, KeyRequest, Reservation, ScheduledJob},
};

/// The means by which the cases test a job store.
#[async_trait]
pub trait StoreHarness: Sized + Send + Sync + 'static {
    /// Reason why the cases cannot run here, for a store whose server is absent; printed instead of running them.
    fn skipped() -> Option<String> {
        None
    }

    /// Creates an empty store and a first handle to it.
    async fn start() -> Self;

    /// The first handle.
    fn store(&self) -> Arc<dyn JobStore>;

    /// A second handle to the same store, as another process would have.
    async fn second(&self) -> Arc<dyn JobStore>;

    /// Renames a column that every write needs.
    async fn break_schema(&self);

    /// Replaces the stored envelopes of all scheduled jobs by text that is none.
    async fn spoil_scheduled(&self);

    /// Adds cancel requests of unknown jobs, one less than [`crate::job_store::CANCELS_MAX`].
    async fn fill_cancels(&self);
}

/// Runs all cases as tests of the calling crate, which needs `tokio` with `macros` and `rt-multi-thread`.
///
/// ```text
/// orderworks_jobs::job_store_conformance_tests!(MyHarness);
/// ```
#[macro_export]
macro_rules! job_store_conformance_tests {
    ($harness:ty) => {
        $crate::job_store_conformance_tests! { @cases $harness;
            claims: due_jobs_come_oldest_first, a_claim_holds_until_its_time, publishing_deletes_under_its_claim_alone,
                one_job_can_be_claimed_before_its_time, processes_never_share_a_claim,
                a_job_is_cancelled_or_claimed_but_never_both, an_unreadable_job_is_set_aside;
            control: queues_are_remembered, a_pause_is_seen_by_its_version, a_scheduled_job_is_cancelled_at_once,
                a_job_elsewhere_gets_a_request, a_request_too_many_is_refused, requests_expire;
            dead: a_dead_job_reads_back_whole, dead_jobs_are_listed_in_pages, large_jobs_make_short_pages,
                dead_ids_follow_their_filter, a_job_that_dies_again_ends_the_claim, a_claim_on_a_dead_job_ends,
                a_dead_job_frees_its_unique_key, a_kept_key_stays_with_a_dead_job,
                those_that_died_first_are_dropped_first;
            defects: a_renamed_column_is_a_defect;
            fair: shares_keep_within_a_job_of_their_weights, a_newcomer_begins_with_the_next_turn,
                a_key_keeps_its_order, a_claim_on_a_turn_ends, priorities_wait_apart,
                a_turn_is_waited_for_like_a_time, each_priority_is_counted_up_to_the_limit,
                a_job_changes_how_it_waits, a_batch_may_hold_a_job_twice,
                processes_never_share_a_turn, the_longest_backlogs_are_told_by_key,
                an_unreadable_turn_is_set_aside;
            keys: a_key_has_one_holder, a_batch_may_name_a_key_twice, racing_reservations_have_one_winner,
                processes_that_reserve_and_release_never_fail, a_reservation_without_a_job_ends,
                a_confirmed_reservation_lasts, reserving_again_renews,
                only_a_reservation_of_the_same_call_is_withdrawn, a_released_key_lasts_for_its_period,
                a_reservation_without_a_job_has_no_period, a_purge_leaves_periods;
            limits: slots_are_shared_by_holders, racing_holders_never_exceed_the_limit,
                a_lease_ends_unless_it_is_renewed, no_window_has_more_starts_than_the_limit,
                returned_starts_are_granted_again, parked_jobs_leave_in_order, ended_rows_of_limits_expire,
                limits_in_use_are_listed, parked_jobs_are_counted_up_to_a_limit;
            notes: the_last_note_of_a_consumer_counts, a_note_names_its_jobs,
                what_a_queue_has_reached_never_falls, notes_expire;
            operations: an_operation_reads_back_whole, operations_are_listed_newest_first,
                a_write_counts_from_the_version_it_has_read, open_operations_are_bounded, ended_operations_expire;
            order: a_key_passes_on_in_the_order_of_publishing, keys_wait_apart, a_job_is_lined_up_once,
                what_waits_behind_a_job_is_in_sight, a_dead_job_keeps_its_position, a_cancelled_job_makes_way,
                a_purge_frees_keys, a_job_changes_its_queue, racing_processes_lose_no_key;
            reports: a_report_reads_back_whole, an_earlier_run_never_replaces_a_later_one,
                a_batch_may_name_a_job_twice, reports_of_many_jobs_are_read_at_once, old_reports_expire_in_slices;
            schedule: a_job_reads_back_whole, no_part_of_a_millisecond_is_cut_off, scheduling_again_replaces,
                attempts_never_go_back, a_batch_may_name_a_job_twice, no_text_is_refused, listing_pages_and_filters,
                a_purge_takes_jobs_and_keys_of_its_queue, nothing_is_a_batch_too;
            schedules: a_term_begins_after_the_one_that_was_seen, racing_candidates_have_one_winner,
                synchronising_is_additive, due_schedules_come_oldest_first, a_step_is_made_once_and_by_the_leader,
                a_pause_ends_with_a_new_time;
            workers: the_last_note_of_a_worker_counts, worker_notes_expire_with_their_sizes, sizes_are_set_and_ended;
        }
    };
    (@cases $harness:ty; $($module:ident: $($case:ident),+;)+) => {
        $(mod $module {
            use super::*;
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $case() {
                    if let Some(why) = <$harness as $crate::conformance::job_store::StoreHarness>::skipped() {
                        $crate::conformance::skip(&why);
                        return;
                    }
                    let harness = <$harness as $crate::conformance::job_store::StoreHarness>::start().await;
                    $crate::conformance::job_store::$module::$case(&harness).await;
                }
            )+
        })+
    };
}

const QUEUE: &str = "parcels";

/// The time of the cases; stores take the time as a parameter.
fn noon() -> Timestamp {
    Timestamp::from_second(1_780_000_000).expect("a time")
}

fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

/// A plain job, due at noon.
fn job() -> ScheduledJob {
    job_in(QUEUE)
}

fn job_in(queue: &str) -> ScheduledJob {
    let envelope = plain_job(queue, &Ambient::system());
    let due_at = noon();
    ScheduledJob {
        envelope,
        due_at,
        fair: false,
        behind: false,
        crashes: 0,
        last_error: None,
        first_failed_at: None,
        claim: 0,
    }
}

/// A request for a key that is held while its job waits or runs.
fn asks_for(key: &str, queue: &str, job: JobId) -> KeyRequest {
    KeyRequest { key: key.to_owned(), queue: queue.to_owned(), job, kept: false, period_end: None }
}

/// Reserves keys for jobs that exist; returns the ids of other jobs that hold them.
async fn reserve(store: &dyn JobStore, keys: Vec<KeyRequest>, now: Timestamp) -> Vec<Option<JobId>> {
    let count = keys.len();
    let answers = store.reserve(keys, now).await.expect("reserves");
    assert_eq!(answers.len(), count, "one answer per key");
    holders(&answers)
}

fn holders(answers: &[Reservation]) -> Vec<Option<JobId>> {
    assert!(!answers.contains(&Reservation::Ended), "{answers:?}");
    answers.iter().map(|answer| answer.holder().map(|holder| holder.id)).collect()
}

async fn schedule(store: &dyn JobStore, jobs: &[ScheduledJob]) -> Vec<JobId> {
    store.schedule(jobs.to_vec()).await.expect("schedules");
    ids(jobs)
}

fn ids(jobs: &[ScheduledJob]) -> Vec<JobId> {
    jobs.iter().map(|job| job.envelope.id).collect()
}

async fn everything(store: &dyn JobStore) -> Vec<JobId> {
    ids(&store.scheduled(&JobFilter { limit: 1000, ..JobFilter::default() }).await.expect("lists"))
}
