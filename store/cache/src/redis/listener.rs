//! The subscription to invalidations of other processes.
//!
//! A new subscription may have missed invalidations, so memory is emptied then. A half-open connection is detected by
//! regular pings.

use std::{sync::Weak, time::Duration};

use futures::StreamExt;
use redis::{
    RedisError,
    aio::{PubSubSink, PubSubStream},
};
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};

use super::levels::CacheLevels;
use crate::CacheKey;

/// Interval of retried invalidations, see [`CacheLevels::catch_up`].
const TICK: Duration = Duration::from_millis(500);
/// Ticks between pings.
const PING_TICKS: u32 = 10;
/// Longest pause before subscribing again; jittered.
const PAUSE_MAX: Duration = Duration::from_secs(1);

/// Runs until the cache is dropped.
pub(super) async fn run(cache: Weak<CacheLevels>) {
    loop {
        let Some(inner) = cache.upgrade() else { return };
        let pause = inner.ambient.jitter(PAUSE_MAX);
        let subscribed = subscribe(&inner).await;
        if subscribed.is_ok() {
            inner.hears();
        }
        drop(inner);
        let ended = match subscribed {
            Ok((sink, stream)) => listen(&cache, sink, stream).await,
            Err(detail) => Some(detail),
        };
        let (Some(inner), Some(detail)) = (cache.upgrade(), ended) else { return };
        inner.is_deaf();
        inner.server.link.fail(detail);
        drop(inner);
        sleep(pause).await;
    }
}

async fn subscribe(inner: &CacheLevels) -> Result<(PubSubSink, PubSubStream), String> {
    let subscribing = async {
        let (mut sink, stream) = inner.server.link.client.get_async_pubsub().await?.split();
        sink.subscribe(inner.channel()).await?;
        Ok::<_, RedisError>((sink, stream))
    };
    match timeout(inner.server.link.connect_timeout * 2, subscribing).await {
        Ok(subscribed) => subscribed.map_err(|error| error.to_string()),
        Err(_) => Err("response timeout".to_owned()),
    }
}

/// Receives invalidations; returns the reason why the subscription ended, or `None` when the cache is dropped.
async fn listen(cache: &Weak<CacheLevels>, mut sink: PubSubSink, mut stream: PubSubStream) -> Option<String> {
    let mut tick = interval(TICK);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut ticks = 0;
    loop {
        tokio::select! {
            message = stream.next() => {
                let Some(message) = message else { return Some("the subscription to invalidations ended".to_owned()) };
                let inner = cache.upgrade()?;
                if let Ok(key) = message.get_payload::<String>() {
                    inner.near.forget(&CacheKey(key.into())).await;
                }
            }
            _ = tick.tick() => {
                let inner = cache.upgrade()?;
                inner.catch_up().await;
                ticks += 1;
                if ticks % PING_TICKS == 0 {
                    let answer = timeout(inner.server.link.connect_timeout, sink.ping::<redis::Value>()).await;
                    if !matches!(answer, Ok(Ok(_))) {
                        return Some("the subscription to invalidations does not answer".to_owned());
                    }
                }
            }
        }
    }
}
