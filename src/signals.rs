//! Signals TERM and INT: the first requests an orderly stop, the second an immediate one. INT comes from a terminal, so
//! no balancer is waited for.

use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// The two stages of a stop.
#[derive(Debug, Clone, Default)]
pub(crate) struct Stop {
    /// Complete running work, accept no more.
    pub(crate) orderly: CancellationToken,
    /// Do not wait for balancers to notice.
    unannounced: CancellationToken,
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
            let signal = next(&mut signals).await;
            tracing::info!("orderly stop requested; a second signal stops immediately");
            if signal == SignalKind::interrupt() {
                listener.unannounced.cancel();
            }
            listener.orderly.cancel();
            next(&mut signals).await;
            tracing::warn!("immediate stop requested");
            listener.unannounced.cancel();
            listener.now.cancel();
        });
        Ok(stop)
    }

    /// Completes when a listener is to close: after an orderly stop was requested, and balancers had this time to
    /// notice.
    pub(crate) async fn announced(&self, lead: Duration) {
        self.orderly.cancelled().await;
        tokio::select! {
            () = tokio::time::sleep(lead) => {}
            () = self.unannounced.cancelled() => {}
        }
    }
}

/// Signals that end a command which only shows something: there is nothing to complete.
pub(crate) struct EndSignals([Signal; 3]);

impl EndSignals {
    /// Installs the signal handlers, that of a terminal which goes away among them.
    pub(crate) fn listen() -> std::io::Result<Self> {
        let kinds = [SignalKind::terminate(), SignalKind::interrupt(), SignalKind::hangup()];
        let [terminate, interrupt, hangup] = kinds.map(signal);
        Ok(Self([terminate?, interrupt?, hangup?]))
    }

    /// Completes with the next signal.
    pub(crate) async fn received(&mut self) {
        let [terminate, interrupt, hangup] = &mut self.0;
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
            _ = hangup.recv() => {}
        }
    }
}

async fn next([terminate, interrupt]: &mut [Signal; 2]) -> SignalKind {
    tokio::select! {
        _ = terminate.recv() => SignalKind::terminate(),
        _ = interrupt.recv() => SignalKind::interrupt(),
    }
}
