//! Limits per key over all worker processes: how many jobs with one key run at a time, and how many start in a period.
//!
//! Guarantees, with every engine whose workers share a job store:
//! - No more jobs with one key run than the limit says, in all processes together, and no more start in any period. A
//!   process leases slots and blocks of starts from the store, see [`SharedLimits`], and a run is dropped at its next
//!   await point once the lease of its slot is over: a process that was held up does not go on beside the one that got
//!   its slots. Like every lease it cannot stop code that does not await, nor calls that are under way.
//! - A job whose limit is full is parked: noted in the store and snoozed, without an attempt, a record, a slot of the
//!   queue or a place among the jobs fetched ahead. Jobs with other keys go on.
//! - When slots or starts become free, the jobs parked first are made ready. One whose wake-up is lost comes when its
//!   snooze ends, after [`PARKED_FOR`] and half as long again at most.
//! - While the store is away, slots are used until their leases end, further jobs with a limit wait outside, and all
//!   other jobs are untouched. The slots of a process that died are free once its lease has ended.
//!
//! A store call is made for all keys of a process together, when jobs wait and when leases are renewed, not for each
//! job. A slot that is free while jobs are parked goes through the store to the process that gets the job. No order is
//! promised among jobs with one key. A kind has one limit at most; [`crate::Job::concurrency_key`] is a limit of one
//! that needs no store.
//!
//! [`Registry::limit`] gives a kind its limit, [`Workers::limiter`] the store to the workers. In here, `key_state`
//! keeps the slots and starts of a key, `limiter` hands them to the feeds of the queues, `keeper` calls the store,
//! `unparker` makes parked jobs ready, `term` and `leased_run` end runs.

mod keeper;
mod key_state;
mod leased_run;
mod limit;
mod limiter;
mod term;
mod unparker;

use std::time::Duration;

pub(crate) use self::{
    keeper::Keeper,
    leased_run::while_leased,
    limit::KindLimit,
    limiter::{LimitKey, LimitSlot, Limiter, Parking, Take},
};
pub use self::{
    limit::{CONCURRENT_MAX, Limit, LimitError, PERIOD_MAX, Rate, STARTS_MAX},
    limiter::KEY_BYTES_MAX,
};
#[cfg(doc)]
use crate::{Registry, Workers, job_store::SharedLimits};

/// Lease of slots, see [`Workers::limit_lease`].
pub const LEASE: Duration = Duration::from_secs(15);
/// Least snooze of a parked job. Over [`SHORT_DELAY_MAX`](crate::engine::SHORT_DELAY_MAX), so that with every engine
/// the job can be made ready before.
pub const PARKED_FOR: Duration = Duration::from_mins(2);
