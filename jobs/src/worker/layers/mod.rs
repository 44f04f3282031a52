//! The layers around every run, outermost first: span, deadline, panic guard.
//!
//! All three are plain structs around an `Unpin` future, so a run needs no box here, and a timer only if it waits.
//! Around them is the concurrency limit, and around that acknowledgement and records.

mod catch_panic;
mod deadline;
mod span;

use tower::Layer;

pub(crate) use self::{catch_panic::CatchPanic, deadline::Deadline, span::Spanned};

/// Puts all layers around a service; workers and test kit use the same ones.
#[derive(Debug, Clone, Copy)]
pub(crate) struct JobLayers;

impl<S> Layer<S> for JobLayers {
    type Service = Spanned<Deadline<CatchPanic<S>>>;

    fn layer(&self, inner: S) -> Self::Service {
        Spanned(Deadline(CatchPanic(inner)))
    }
}
