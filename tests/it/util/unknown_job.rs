//! A job of a kind that no worker knows.

use jobs::{Job, JobContext, JobError};
use serde::{Deserialize, Serialize};

/// A job of no kind that workers know: it dies at its last attempt.
#[derive(Serialize, Deserialize)]
pub(crate) struct Unknown;

impl Job for Unknown {
    type Env = ();
    const KIND: &'static str = "no_such_kind";
    const QUEUE: &'static str = "email";

    async fn run(&self, _: &JobContext<()>) -> Result<(), JobError> {
        Ok(())
    }
}
