//! Conformance suites of [`Cache`], [`Sessions`] and [`RateLimits`].
//!
//! `open` returns a store and a guard as in the other suites. A cache is opened as [`Caches`]: two of them over one
//! shared level, where the engine has one.

pub mod limits;
pub mod reads;
pub mod sessions;

use std::{sync::Arc, time::Duration};

use cache::{Cache, CacheKind, Namespace, RateLimits, Sessions};

/// A cache, and the cache of a second process over the same shared level, if the engine has one.
#[derive(Clone)]
pub struct Caches {
    /// The cache of this process.
    pub here: Arc<dyn Cache>,
    /// The cache of the second process.
    pub there: Option<Arc<dyn Cache>>,
}

/// Expands to the tests of a cache; see [`crate`].
#[macro_export]
macro_rules! cache_suite {
    ($open:path) => {
        $crate::conformance_cases! { $open, cache,
            reads: [
                one_loads_and_the_others_wait,
                a_load_that_was_dropped_is_taken_over,
                nothing_is_remembered_too,
                failures_are_told_to_all_and_not_remembered,
                a_read_after_an_invalidation_sees_no_older_load,
                an_invalidation_is_seen_by_other_processes,
                what_another_process_read_is_shared,
                one_process_loads_for_all,
                a_load_that_fails_or_is_dropped_is_taken_over_by_another_process,
                reads_are_counted_by_their_kind,
                versions_and_ids_are_apart,
                values_run_out,
                a_value_that_cannot_be_read_is_loaded_afresh,
            ],
        }
    };
}

/// Expands to the tests of a session store.
#[macro_export]
macro_rules! session_suite {
    ($open:path) => {
        $crate::conformance_cases! { $open, cache,
            sessions: [
                a_session_reads_back_until_it_is_deleted,
                the_last_writer_wins_and_a_replacement_knows,
                a_cart_filled_by_many_at_once_loses_nothing,
                an_ended_session_is_as_good_as_none,
                kinds_and_ids_are_apart,
                too_much_is_refused,
            ],
        }
    };
}

/// Expands to the tests of rate limits.
#[macro_export]
macro_rules! rate_limit_suite {
    ($open:path) => {
        $crate::conformance_cases! { $open, cache,
            limits: [
                a_burst_passes_and_then_the_rate_holds,
                the_time_to_come_again_is_told,
                a_call_turned_away_costs_nothing,
                keys_are_counted_apart,
                many_at_once_pass_no_more_than_allowed,
                several_calls_are_granted_as_far_as_they_go,
                a_call_by_several_keys_is_counted_by_all_or_none,
                one_key_may_have_two_bursts,
                calls_are_given_back_and_forgotten,
                leases_taken_at_once_stay_within_the_burst,
            ],
        }
    };
}

const PRODUCTS: Namespace = Namespace {
    name: "products",
    version: 1,
    kind: CacheKind::Data,
    ttl: Duration::from_mins(1),
    negative_ttl: Duration::from_mins(1),
};

type SharedSessions = Arc<dyn Sessions>;
type SharedLimits = Arc<dyn RateLimits>;
