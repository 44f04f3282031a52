//! A change to a job that waits.

use base::Timestamp;
use serde::{Deserialize, Serialize};

use crate::job::Priority;

/// What [`Admin::alter`](super::Admin::alter) changes of a waiting job; everything else of it stays.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Alteration {
    /// Earliest start; a time that has passed makes the job ready.
    RunAt(Timestamp),
    /// The queue it waits in, which must be declared.
    Queue(String),
    /// Its priority within the queue.
    Priority(Priority),
}
