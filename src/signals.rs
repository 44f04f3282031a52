//! TERM and Ctrl-C: the first asks for an orderly stop, the second for an immediate one.

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// The two stages of stopping.
#[derive(Debug, Clone, Default)]
pub(crate) struct Stop {
    /// Finish what runs, take nothing new.
    pub(crate) orderly: CancellationToken,
    /// Give back what runs.
    pub(crate) now: CancellationToken,
}

impl Stop {
    /// Listens from now on. Installed early, so that a signal during start-up is not lost.
    pub(crate) fn listen() -> std::io::Result<Self> {
        let stop = Self::default();
        let mut signals = [signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?];
        let listener = stop.clone();
        tokio::spawn(async move {
            next(&mut signals).await;
            tracing::info!("stopping; a second signal stops at once");
            listener.orderly.cancel();
            next(&mut signals).await;
            tracing::warn!("stopping at once");
            listener.now.cancel();
        });
        Ok(stop)
    }
}

async fn next([terminate, interrupt]: &mut [Signal; 2]) {
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
}
