//! Reports of one run: its last progress, its last log lines, its result.
//!
//! Guarantees: bounded, whatever a run reports; reports of one run have an order, also from clones of its context in
//! other tasks; after the end of the run they are ignored.

use std::{
    fmt::Display,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use base::{Ambient, Timestamp};
use parking_lot::Mutex;
use serde::Serialize;
use serde_json::value::{RawValue, to_raw_value};
use tokio::sync::mpsc;

use crate::{
    envelope::JobId,
    job_store::{LogLine, Progress, RunReport},
};

/// Longest message of a progress, in characters; the rest is cut off.
pub const MESSAGE_CHARS_MAX: usize = 200;
/// Log lines kept of a run, the last ones; those before are counted.
pub const LOG_LINES_MAX: usize = 100;
/// Longest log line, in bytes; the rest is cut off.
pub const LOG_LINE_BYTES_MAX: usize = 500;
/// Largest result as JSON, in bytes; a larger one is an error.
pub const RESULT_BYTES_MAX: usize = 16 * 1024;

/// Reason why a result was not taken.
#[expect(missing_docs, reason = "the message of each says what it means")]
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ResultError {
    #[error("result of {bytes} bytes, at most {max}; keep it elsewhere and report its id", max = RESULT_BYTES_MAX)]
    TooLarge { bytes: usize },
    #[error("result does not serialise")]
    Json(#[from] serde_json::Error),
}

/// The reports of a run; clones share them. Without a [`Reporter`](super::Reporter) it drops them, at no cost.
#[derive(Clone, Default)]
pub struct RunReporter(Option<Arc<ReportedRun>>);

impl RunReporter {
    pub(super) fn new(queue: &Arc<RunQueue>, job: JobId, attempt: u32, started_at: Timestamp) -> Self {
        let (queue, state) = (Arc::clone(queue), Mutex::default());
        Self(Some(Arc::new(ReportedRun { queue, job, attempt, started_at, state })))
    }

    pub(crate) fn progress(&self, percent: u8, message: impl Display) {
        if let Some(run) = &self.0 {
            let message = message.to_string().chars().take(MESSAGE_CHARS_MAX).collect();
            let progress = Progress { percent: percent.min(100), message };
            run.change(|report| report.progress = Some(progress));
        }
    }

    pub(crate) fn log(&self, line: impl Display) {
        if let Some(run) = &self.0 {
            let mut text = line.to_string();
            text.truncate(text.floor_char_boundary(LOG_LINE_BYTES_MAX));
            run.change(|report| {
                if report.log.len() >= LOG_LINES_MAX {
                    report.log.remove(0);
                    report.lines_dropped += 1;
                }
                report.log.push(LogLine { at: report.reported_at, text });
            });
        }
    }

    pub(crate) fn set_result<T: Serialize + ?Sized>(&self, value: &T) -> Result<(), ResultError> {
        // Checked without a reporter, too: what a job may do does not depend on its worker.
        let result: Box<RawValue> = to_raw_value(value)?;
        let bytes = result.get().len();
        if bytes > RESULT_BYTES_MAX {
            return Err(ResultError::TooLarge { bytes });
        }
        if let Some(run) = &self.0 {
            run.change(|report| report.result = Some(result));
        }
        Ok(())
    }
}

/// Ends the reports of a run when it is dropped, which is when the run has ended in any way.
pub(crate) struct ReportsEnd(pub(crate) RunReporter);

impl Drop for ReportsEnd {
    fn drop(&mut self) {
        if let Some(run) = &self.0.0 {
            run.end();
        }
    }
}

/// The runs of a process with changes that the writer has to take.
pub(super) struct RunQueue {
    pub(super) sender: mpsc::Sender<Arc<ReportedRun>>,
    /// Name of the process in reports.
    pub(super) worker: String,
    pub(super) ambient: Ambient,
    /// Ended runs whose last reports were dropped.
    pub(super) dropped: Arc<AtomicU64>,
}

/// A run that may report; shared by its contexts and the writer.
pub(super) struct ReportedRun {
    queue: Arc<RunQueue>,
    job: JobId,
    attempt: u32,
    started_at: Timestamp,
    state: Mutex<ReportState>,
}

#[derive(Default)]
struct ReportState {
    /// `None` until the run reports something.
    report: Option<Box<RunReport>>,
    has_ended: bool,
    /// Whether the writer has the run and will take its report.
    is_queued: bool,
}

impl ReportedRun {
    fn change(self: &Arc<Self>, change: impl FnOnce(&mut RunReport)) {
        let now = self.queue.ambient.now();
        let mut state = self.state.lock();
        if state.has_ended {
            return;
        }
        let report = state.report.get_or_insert_with(|| Box::new(self.empty(now)));
        report.reported_at = now;
        change(report);
        if !state.is_queued {
            // When too many wait, the next change tries again, and at last the end.
            state.is_queued = self.try_send();
        }
    }

    fn end(self: &Arc<Self>) {
        let mut state = self.state.lock();
        state.has_ended = true;
        let Some(report) = &mut state.report else { return };
        let now = self.queue.ambient.now();
        report.reported_at = now;
        report.ended_at = Some(now);
        if !state.is_queued {
            state.is_queued = self.try_send();
            if !state.is_queued {
                self.queue.dropped.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    /// Hands the run to the writer; false when too many wait.
    fn try_send(self: &Arc<Self>) -> bool {
        self.queue.sender.try_send(Arc::clone(self)).is_ok()
    }

    /// The report as it is now, for the writer.
    pub(super) fn take_report(&self) -> Option<RunReport> {
        let mut state = self.state.lock();
        state.is_queued = false;
        state.report.as_deref().cloned()
    }

    /// Marks a report that was taken and not stored as queued; returns false when a change has queued it meanwhile.
    pub(super) fn queue_again(&self) -> bool {
        !std::mem::replace(&mut self.state.lock().is_queued, true)
    }

    fn empty(&self, now: Timestamp) -> RunReport {
        RunReport {
            job: self.job,
            attempt: self.attempt,
            worker: self.queue.worker.clone(),
            started_at: self.started_at,
            reported_at: now,
            ended_at: None,
            progress: None,
            log: Vec::new(),
            lines_dropped: 0,
            result: None,
        }
    }
}
