//! What stands around every run, outermost first: span, deadline, panic guard.
//!
//! All three are plain structs around an `Unpin` future, so a job costs no box and no timer here unless it waits.
//! The limit of concurrency stands outside of them; acknowledgement and records stand outside of that.

mod catch_panic;
mod deadline;
mod span;

use tower::Layer;

pub(crate) use self::{catch_panic::CatchPanic, deadline::Deadline, span::Spanned};

/// Puts all of them around a service; the test kit uses the very same.
#[derive(Debug, Clone, Copy)]
pub(crate) struct JobLayers;

impl<S> Layer<S> for JobLayers {
    type Service = Spanned<Deadline<CatchPanic<S>>>;

    fn layer(&self, inner: S) -> Self::Service {
        Spanned(Deadline(CatchPanic(inner)))
    }
}
