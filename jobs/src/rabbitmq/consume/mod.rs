//! Consuming: one session and one connection per consumer, and settlements back to the broker.
//!
//! A consumer ends with its session; who consumes starts the next one.

pub(super) mod consumer;
pub(super) mod keys;
mod outcome;
mod priority_channel;
mod session;
mod window;

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::{mpsc, oneshot},
    time::timeout,
};

use self::{
    consumer::{ConsumerShared, RabbitSettler},
    session::{ConsumerSession, Plan},
};
use super::{RabbitClient, wire::fault::unavailable};
use crate::engine::{ConsumeOptions, Consumer, EngineError};

/// Most unsettled deliveries a consumer may ask for.
const PREFETCH_MAX: usize = 4096;
/// Longest wait for the subscription.
const START_MAX: Duration = Duration::from_secs(10);

/// Starts a consumer.
pub(super) async fn start(
    inner: Arc<RabbitClient>,
    queue: &str,
    options: ConsumeOptions,
) -> Result<Consumer, EngineError> {
    let prefetch = options.prefetch.clamp(1, PREFETCH_MAX);
    let (to_session, commands) = mpsc::unbounded_channel();
    let (deliveries, to_worker) = mpsc::channel(prefetch);
    let (lost, ended) = oneshot::channel();
    let shared = Arc::new(ConsumerShared::new(queue, inner.ambient.now(), to_session.downgrade()));
    let plan = Plan {
        inner: inner.clone(),
        shared: shared.clone(),
        name: options.name,
        prefetch: u16::try_from(prefetch).unwrap_or(u16::MAX),
        deliveries,
    };
    let Ok(opened) = timeout(START_MAX, ConsumerSession::open(plan)).await else {
        return Err(unavailable("subscription timed out"));
    };
    let session = opened?;
    inner.add_consumer(&shared);
    tokio::spawn(session.run(commands, lost));
    Ok(Consumer {
        deliveries: to_worker,
        settler: Arc::new(RabbitSettler { shared, commands: to_session }),
        ended,
    })
}
