//! Bulk operations: one change of many jobs, previewed, confirmed, carried out at a bounded rate and kept as a record.
//!
//! Guarantees: an operation takes the items that matched when it was previewed, each at least once and counted once,
//! also when the process that carries it out dies; what no longer matches when its turn comes is skipped and counted.
//! One process at a time carries out an operation. A cancelled one ends with the items in hand. Who asked, why, and
//! what came of it stay for [`KEEP`]. Does not undo, and does not reach what the engine cannot list: the preview says
//! so.
//!
//! Rows are in [`crate::job_store::Operations`]; [`OperationAdmin`] previews, confirms and cancels, an
//! [`OperationRunner`] carries out. Other kinds of items than jobs implement [`Items`]; queues and schedules are such,
//! so that what is done to one of them leaves the same record.

mod admin;
mod error;
mod items;
mod job_items;
mod operation;
mod plan;
mod queue_items;
mod runner;
mod schedule_items;
mod work;

pub use self::{
    admin::{COUNT_MAX, KEEP, OperationAdmin, PREVIEW_KEEP},
    error::OperationError,
    items::{Acted, ItemPage, Items},
    job_items::{JOB, JOBS, JobItems, OneJob},
    operation::{Counts, Item, Operation},
    plan::{BulkFilter, Plan, RATE_DEFAULT, RATE_MAX, Verb},
    queue_items::{QUEUES, QueueItems},
    runner::{LEASE, OperationRunner, Step},
    schedule_items::{SCHEDULES, ScheduleItems},
};
pub use crate::{id::OperationId, job_store::OperationState};
