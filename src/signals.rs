//! Signals TERM and INT: the first requests an orderly stop, the second an immediate one.

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// The two stages of a stop.
#[derive(Debug, Clone, Default)]
pub(crate) struct Stop {
    /// Complete running work, accept no more.
    pub(crate) orderly: CancellationToken,
    /// Give running work back.
    pub(crate) now: CancellationToken,
}

impl Stop {
    /// Installs the signal handlers. Called early, so that a signal during start-up is not lost.
    pub(crate) fn listen() -> std::io::Result<Self> {
        let stop = Self::default();
        let mut signals = [signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?];
        let listener = stop.clone();
        tokio::spawn(async move {
            next(&mut signals).await;
            tracing::info!("orderly stop requested; a second signal stops immediately");
            listener.orderly.cancel();
            next(&mut signals).await;
            tracing::warn!("immediate stop requested");
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
