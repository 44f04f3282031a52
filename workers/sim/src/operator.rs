//! Operator: bulk operations on waiting jobs, carried out by processes that die in between.
//!
//! An operation lists the jobs that wait and then retries them before their time, moves them to a later one, or
//! redrives them, one after the other. A process that dies between the two steps of a redrive leaves both copies, and
//! the next one begins with that job again: the job is there twice or three times, and takes effect once. Cancels and
//! deletes are no part of it: what an operator takes away does not complete.

use std::{sync::Arc, time::Duration};

use crate::{chance::pause, deployment::Deployment};

/// Most operations of a run. Few, as a retry uses an attempt of each job, and operators do not retry by the second.
const OPERATIONS_MAX: u64 = 2;
/// Longest time before an operation begins.
const BEGINS_MAX: Duration = Duration::from_mins(1);
/// Longest time to which jobs are moved.
const MOVED_MAX: Duration = Duration::from_mins(1);
/// Longest time until another process carries on for one that died.
const RESUMED_MAX: Duration = Duration::from_secs(20);

/// Verb of an operation.
#[derive(Debug, Clone, Copy)]
enum BulkVerb {
    Retry,
    Move,
    Redrive,
}

/// Carries out some operations while there are faults.
pub(crate) async fn operator(world: Arc<Deployment>) {
    for _ in 0..world.chance.below(OPERATIONS_MAX + 1) {
        pause(world.chance.up_to(BEGINS_MAX)).await;
        let verb = *world.chance.pick(&[BulkVerb::Retry, BulkVerb::Move, BulkVerb::Redrive]);
        for number in world.queue.waiting() {
            if world.chance.is_calm() {
                return;
            }
            world.trace.note("bulk", || format!("{verb:?} of copy {number}"));
            change(&world, verb, number).await;
        }
    }
}

async fn change(world: &Deployment, verb: BulkVerb, number: u64) {
    pause(world.chance.travel()).await;
    match verb {
        BulkVerb::Retry => world.queue.reschedule(number, Duration::ZERO),
        BulkVerb::Move => world.queue.reschedule(number, world.chance.some_time(MOVED_MAX)),
        BulkVerb::Redrive => {
            world.queue.publish_again(number);
            // Only processes with a bounded life die.
            if world.chance.life().is_some() && world.chance.one_in(4) {
                world.trace.note("killed", || "in the middle of a bulk operation".to_owned());
                pause(world.chance.some_time(RESUMED_MAX)).await;
                world.queue.publish_again(number);
            }
            world.queue.delete(number);
        }
    }
}
