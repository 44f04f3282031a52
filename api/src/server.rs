//! Serves a router on a listener, with the bounds `axum::serve` does not have.
//!
//! Guarantees: a connection without a complete request head is closed after a time (slowloris, idle keep-alive);
//! connections are bounded; a stop first turns readiness to no, then closes the listener, lets open requests
//! finish, and cuts what is left at the deadline. Does no TLS: a proxy does.

use std::{net::SocketAddr, pin::pin, sync::Arc, time::Duration};

use axum::{Router, body::Body, extract::ConnectInfo};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tower::ServiceExt;

use crate::config::ServerLimits;

/// Header fields of a request at most; hyper answers 431 beyond.
const HEADERS_MAX: usize = 64;
/// Bytes of a request head at most.
const HEAD_BYTES_MAX: usize = 32 * 1024;
/// Pause after `accept` failed, for instance for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Why the API stopped otherwise than asked to.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ApiError {
    /// The listener's address cannot be told: it is not usable.
    #[error("the listener cannot be used")]
    Listener(#[source] std::io::Error),
    /// Requests that were open when the deadline of the stop came; they were cut.
    #[error("{connections} connections were cut at the end of the drain time")]
    Cut {
        /// How many connections.
        connections: usize,
    },
}

/// Serves until `shutdown` fires and the stop is complete.
pub async fn run(
    listener: TcpListener,
    app: Router,
    shutdown: CancellationToken,
    limits: ServerLimits,
) -> Result<(), ApiError> {
    let address = listener.local_addr().map_err(ApiError::Listener)?;
    tracing::info!(address = %address, "listening");
    let (closing, cut) = (CancellationToken::new(), CancellationToken::new());
    let connections = TaskTracker::new();
    let slots = Arc::new(Semaphore::new(limits.connections_max));
    let stop = async {
        shutdown.cancelled().await;
        tokio::time::sleep(limits.readiness_lead).await;
    };
    let mut stop = pin!(stop);
    loop {
        let accepted = tokio::select! {
            () = &mut stop => break,
            accepted = accept(&listener, &slots) => accepted,
        };
        let Some((stream, peer, slot)) = accepted else { continue };
        let connection = Connection {
            app: app.clone(),
            peer,
            closing: closing.clone(),
            head_timeout: limits.head_timeout,
        };
        let cut = cut.clone();
        connections.spawn(async move {
            let _slot = slot;
            tokio::select! {
                () = cut.cancelled() => {}
                () = connection.serve(stream) => {}
            }
        });
    }
    drop(listener);
    closing.cancel();
    connections.close();
    let drained = tokio::time::timeout(limits.drain_timeout, connections.wait()).await;
    if drained.is_ok() {
        tracing::info!("stopped");
        return Ok(());
    }
    let left = connections.len();
    cut.cancel();
    connections.wait().await;
    Err(ApiError::Cut { connections: left })
}

/// Waits for a slot first: a connection is taken out of the backlog only when it can be served.
async fn accept(
    listener: &TcpListener,
    slots: &Arc<Semaphore>,
) -> Option<(TcpStream, SocketAddr, OwnedSemaphorePermit)> {
    // The semaphore is never closed.
    let slot = Arc::clone(slots).acquire_owned().await.ok()?;
    match listener.accept().await {
        Ok((stream, peer)) => Some((stream, peer, slot)),
        Err(error) => {
            tracing::warn!(error = %error, "accept failed");
            tokio::time::sleep(ACCEPT_PAUSE).await;
            None
        }
    }
}

struct Connection {
    app: Router,
    peer: SocketAddr,
    closing: CancellationToken,
    head_timeout: Duration,
}

impl Connection {
    async fn serve(self, stream: TcpStream) {
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(error = %error, "no TCP_NODELAY");
        }
        let (app, peer) = (self.app, self.peer);
        let service = hyper::service::service_fn(move |request: hyper::Request<hyper::body::Incoming>| {
            let mut request = request.map(Body::new);
            request.extensions_mut().insert(ConnectInfo(peer));
            app.clone().oneshot(request)
        });
        // hyper counts this time from the end of the answer before, so it bounds idle connections as well.
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(self.head_timeout)
            .max_headers(HEADERS_MAX)
            .max_buf_size(HEAD_BYTES_MAX)
            .serve_connection(TokioIo::new(stream), service);
        let mut connection = pin!(connection);
        let ended = tokio::select! {
            ended = connection.as_mut() => ended,
            () = self.closing.cancelled() => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        };
        if let Err(error) = ended {
            // Clients leave as they like; nothing is wrong with the server.
            tracing::debug!(error = %error, "connection ended");
        }
    }
}
