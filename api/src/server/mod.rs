//! HTTP server over a listener, with the bounds that `axum::serve` lacks.
//!
//! Guarantees: a connection is closed that completes no request head in time (slowloris), is idle for too long, whose
//! client takes no bytes of the response, or whose exchange takes too long. Connections are bounded, in all and per
//! address. A request without exactly one valid `Host` is rejected. A stop closes the listener, lets open requests
//! finish, and cuts the rest at the deadline. No TLS: a proxy does that.

mod activity;
mod host;

use std::{
    convert::Infallible,
    net::{IpAddr, SocketAddr},
    pin::pin,
    sync::Arc,
    time::Duration,
};

use axum::{
    Router,
    body::Body,
    extract::ConnectInfo,
    response::{IntoResponse, Response},
};
use http::{StatusCode, header};
use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tower::ServiceExt;

use self::activity::{Activity, WatchedStream};
use crate::{
    client_ip,
    config::ServerLimits,
    slots::{KeyedSlot, KeyedSlots},
};

/// Header fields of a request at most; hyper answers 431 for more.
const HEADERS_MAX: usize = 64;
/// Bytes of an incomplete request head at most; hyper answers 431 for more. A head that one further read completes may
/// be longer.
const HEAD_BYTES_MAX: usize = 32 * 1024;
/// Pause after a failed `accept`, for instance when no file descriptor is left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ApiError {
    /// The listener's address cannot be read, so the listener is not usable.
    #[error("the listener cannot be used")]
    Listener(#[source] std::io::Error),
    /// Requests were still open at the deadline of the stop and were cut.
    #[error("{connections} connections were cut at the end of the drain time")]
    Cut { connections: usize },
}

/// Serves until `shutdown` is cancelled and the stop is complete.
pub async fn run(
    listener: TcpListener,
    app: Router,
    shutdown: CancellationToken,
    limits: ServerLimits,
) -> Result<(), ApiError> {
    let address = listener.local_addr().map_err(ApiError::Listener)?;
    tracing::info!(address = %address, "server listening");
    let (closing, cut) = (CancellationToken::new(), CancellationToken::new());
    let connections = TaskTracker::new();
    let slots = Slots::new(&limits);
    let limits = Arc::new(limits);
    loop {
        let accepted = tokio::select! {
            () = shutdown.cancelled() => break,
            accepted = slots.accept(&listener, &limits) => accepted,
        };
        let Some((stream, peer, slot)) = accepted else { continue };
        let served = serve(stream, peer, app.clone(), closing.clone(), Arc::clone(&limits));
        let cut = cut.clone();
        connections.spawn(async move {
            let _slot = slot;
            tokio::select! {
                () = cut.cancelled() => {}
                () = served => {}
            }
        });
    }
    drop(listener);
    closing.cancel();
    connections.close();
    let drained = tokio::time::timeout(limits.drain_timeout, connections.wait()).await;
    if drained.is_ok() {
        tracing::info!("server stopped");
        return Ok(());
    }
    let left = connections.len();
    cut.cancel();
    connections.wait().await;
    Err(ApiError::Cut { connections: left })
}

/// Slots for connections, in all and per address.
struct Slots {
    all: Arc<Semaphore>,
    by_address: Arc<KeyedSlots<IpAddr>>,
}

/// Fields are dropped in this order: a connection that waits for a slot of all finds the slot of its address free, too.
struct Slot {
    _of_address: Option<KeyedSlot<IpAddr>>,
    _of_all: OwnedSemaphorePermit,
}

impl Slots {
    fn new(limits: &ServerLimits) -> Self {
        let per_address = limits.connections_per_address_max.min(limits.connections_max.div_ceil(2));
        Self {
            all: Arc::new(Semaphore::new(limits.connections_max)),
            by_address: KeyedSlots::new(per_address),
        }
    }

    /// Waits for a slot first: a connection is taken from the backlog only when it can be served. A connection of an
    /// address that has used up its slots is closed at once.
    async fn accept(
        &self,
        listener: &TcpListener,
        limits: &ServerLimits,
    ) -> Option<(TcpStream, SocketAddr, Slot)> {
        // The semaphore is never closed.
        let of_all = Arc::clone(&self.all).acquire_owned().await.ok()?;
        let (stream, peer) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(error = %error, "connection accept failed");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                return None;
            }
        };
        let address = peer.ip().to_canonical();
        let is_trusted = limits.trusted_proxies.iter().any(|net| net.contains(&address));
        let of_address =
            if is_trusted { None } else { self.by_address.take(client_ip::by_subscriber(address)) };
        if of_address.is_none() && !is_trusted {
            tracing::debug!("connection rejected: too many from its address");
            return None;
        }
        Some((stream, peer, Slot { _of_address: of_address, _of_all: of_all }))
    }
}

/// Serves a connection until it ends, exceeds a time bound, or is idle while the server closes.
async fn serve(
    stream: TcpStream,
    peer: SocketAddr,
    app: Router,
    closing: CancellationToken,
    limits: Arc<ServerLimits>,
) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(error = %error, "TCP_NODELAY not set");
    }
    let activity = Arc::new(Activity::new());
    let stream = WatchedStream { stream, activity: Arc::clone(&activity) };
    let exchanges = Arc::clone(&activity);
    let service = hyper::service::service_fn(move |request: hyper::Request<hyper::body::Incoming>| {
        let answering = exchanges.begin();
        let answer = answer(app.clone(), peer, request);
        async move {
            answering.yield_if_pipelined().await;
            Ok::<_, Infallible>(answering.watch(answer.await))
        }
    });
    // hyper's own timeout does not tell an idle connection from one whose head is on the way; `activity` does.
    let connection = http1::Builder::new()
        .header_read_timeout(None::<Duration>)
        .max_headers(HEADERS_MAX)
        .max_buf_size(HEAD_BYTES_MAX)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = pin!(connection);
    let served = async {
        tokio::select! {
            ended = connection.as_mut() => ended,
            () = closing.cancelled() => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        }
    };
    // Clients may disconnect at any time; that is no fault of the server.
    tokio::select! {
        ended = served => match ended {
            Ok(()) => {}
            Err(error) => tracing::debug!(error = %error, "connection ended"),
        },
        bound = activity.overdue(&limits) => {
            tracing::debug!(?bound, "connection cut: time bound exceeded");
        }
    }
}

async fn answer(app: Router, peer: SocketAddr, request: hyper::Request<hyper::body::Incoming>) -> Response {
    if !host::is_valid(request.version(), request.headers()) {
        // Below the API, like the malformed heads that hyper answers.
        return (StatusCode::BAD_REQUEST, [(header::CONNECTION, "close")]).into_response();
    }
    let mut request = request.map(Body::new);
    request.extensions_mut().insert(ConnectInfo(peer));
    let Ok(response) = app.oneshot(request).await;
    response
}
