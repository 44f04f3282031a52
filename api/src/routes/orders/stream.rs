//! Event stream: `GET /v1/orders/{id}/events` sends an order's events as server-sent events, past events first.
//!
//! Guarantees: no event is left out or repeated within a stream, but customers are told of some kinds only. `id:` is
//! the event's sequence, so a client that reconnects with `Last-Event-ID` continues where it was. Streams are bounded
//! in time and in number: per address of customers, per merchant, and in all. A stream ends within ten seconds of the
//! end of the key, session or order token that opened it.

use std::{collections::VecDeque, convert::Infallible, net::IpAddr, sync::Arc, time::Duration};

use axum::{
    extract::State,
    response::{
        Sse,
        sse::{Event as SseEvent, KeepAlive},
    },
};
use futures::{Stream, stream};
use http::HeaderMap;
use store::{
    domain::{Event, MerchantId, OrderId},
    merchants::KeyScope,
};
use tokio::{
    sync::{OwnedSemaphorePermit, watch},
    time::Instant,
};

use crate::{
    input::PathText,
    order_access::OrderCaller,
    problem::{Kind, Problem},
    slots::KeyedSlot,
    state::ApiState,
    view::EventView,
};

/// Interval of polling without a hint: events written by other processes may give none.
const POLL_INTERVAL: Duration = Duration::from_secs(2);
/// Least time between two polls: hints come with every order of every merchant.
const LOOK_GAP: Duration = Duration::from_millis(50);
/// Interval of keep-alive comments on a silent stream, so that proxies keep it open.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// Longest time of a stream; clients reconnect by themselves. Bounds the resources held by a forgotten client.
const STREAM_TIME_MAX: Duration = Duration::from_mins(15);
/// Seconds a client should wait that was rejected for too many streams.
const RETRY_SECONDS: u64 = 10;

/// Follow an order's events
///
/// With a publishable key it takes the order's token or its customer's session.
#[utoipa::path(
    get, path = "/v1/orders/{id}/events", tag = "orders",
    params(
        ("id" = String, Path, description = "`ord_…`"),
        ("Orderworks-Order-Token" = Option<String>, Header, description = "`owt_…`, shown when it was placed"),
        ("Orderworks-Session" = Option<String>, Header, description = "`ows_…`"),
        ("Last-Event-ID" = Option<String>, Header,
            description = "A sequence: only later events are sent. Any other text counts as none"),
    ),
    responses(
        (status = 200, description = "Server-sent events: `id` is the sequence, `event` the kind, `data` an Event",
            content_type = "text/event-stream", body = String),
    ),
)]
pub(super) async fn stream_events(
    State(state): State<ApiState>,
    caller: OrderCaller,
    PathText(id): PathText,
) -> Result<Sse<impl Stream<Item = Result<SseEvent, Infallible>>>, Problem> {
    let order = caller.order(&state, &id).await?;
    let slot = slot(&state, &caller).ok_or_else(|| {
        tracing::warn!(merchant.id = %caller.key.merchant, "event stream rejected: too many open");
        Problem::new(Kind::STREAM_LIMIT, "poll the order instead, or come back").retry_after(RETRY_SECONDS)
    })?;
    let follower = Follower {
        arrivals: state.orders.arrivals(),
        order: order.id,
        after: last_seen(&caller.headers),
        caller,
        waiting: VecDeque::new(),
        looked_at: None,
        checked_at: Instant::now(),
        ends_at: Instant::now() + STREAM_TIME_MAX,
        state,
        _slot: slot,
    };
    let events = stream::unfold(follower, |mut follower| async move {
        let event = follower.next().await?;
        Some((Ok(render(event)), follower))
    });
    Ok(Sse::new(events).keep_alive(KeepAlive::new().interval(KEEP_ALIVE)))
}

/// A slot of all, and of smaller numbers, so that no merchant takes all slots, customers leave those of the merchant's
/// servers, and no customer takes those of the others.
fn slot(state: &ApiState, caller: &OrderCaller) -> Option<Slot> {
    let of_address =
        if caller.is_customer() { Some(state.streams_by_address.take(caller.address)?) } else { None };
    let of_merchant = state.streams_by_merchant.take((caller.key.merchant, caller.key.scope))?;
    let of_all = Arc::clone(&state.streams).try_acquire_owned().ok()?;
    Some((of_address, of_merchant, of_all))
}

type Slot = (Option<KeyedSlot<IpAddr>>, KeyedSlot<(MerchantId, KeyScope)>, OwnedSemaphorePermit);

/// The last sequence the client has seen. A malformed id counts as none: rejecting it would keep the client from ever
/// reconnecting.
fn last_seen(headers: &HeaderMap) -> u64 {
    let value = headers.get("last-event-id").and_then(|value| value.to_str().ok());
    value.and_then(|text| text.parse().ok()).unwrap_or(0)
}

fn render(event: Event) -> SseEvent {
    let view = EventView::from(event);
    let frame = SseEvent::default().id(view.sequence.to_string()).event(view.kind);
    // Strings, numbers and JSON that was parsed before: this cannot fail.
    frame.data(serde_json::to_string(&view).unwrap_or_default())
}

struct Follower {
    state: ApiState,
    caller: OrderCaller,
    arrivals: watch::Receiver<u64>,
    order: OrderId,
    after: u64,
    waiting: VecDeque<Event>,
    looked_at: Option<Instant>,
    /// Last check of the caller's access.
    checked_at: Instant,
    ends_at: Instant,
    _slot: Slot,
}

impl Follower {
    /// The next event. `None` ends the stream: the server drains, the time is up, the caller's access has ended, or the
    /// store is unavailable; the client reconnects and continues where it was.
    async fn next(&mut self) -> Option<Event> {
        loop {
            if Instant::now() >= self.check_due() {
                self.check_access().await?;
            }
            while let Some(event) = self.waiting.pop_front() {
                self.after = event.sequence;
                if self.caller.is_told(event.kind) {
                    return Some(event);
                }
            }
            self.wait().await?;
            // Reset before polling: a hint that comes meanwhile wakes the next wait.
            self.arrivals.mark_unchanged();
            match self.state.orders.order_events(self.order, self.after).await {
                Ok(events) => self.waiting.extend(events),
                Err(error) => {
                    tracing::warn!(error = %error, order.id = %self.order, "event stream ended: events cannot be read");
                    return None;
                }
            }
            self.looked_at = Some(Instant::now());
        }
    }

    fn check_due(&self) -> Instant {
        self.checked_at + self.state.config.streams_check
    }

    /// Checks the caller's access by the cached key; a customer's session and order token are read.
    async fn check_access(&mut self) -> Option<()> {
        self.checked_at = Instant::now();
        let checked = self.caller.check_again(&self.state, self.order).await;
        let ended = |problem: &Problem| {
            let code = problem.kind().code;
            tracing::debug!(code, order.id = %self.order, "event stream ended: access not confirmed");
        };
        checked.inspect_err(ended).ok()
    }

    /// Waits until the next poll or check is due; not at all for the first poll.
    async fn wait(&mut self) -> Option<()> {
        let Some(looked_at) = self.looked_at else { return Some(()) };
        let shutdown = self.state.shutdown.clone();
        let due = self.check_due().min(looked_at + POLL_INTERVAL);
        let arrivals = &mut self.arrivals;
        let look = async {
            tokio::time::sleep_until(looked_at + LOOK_GAP).await;
            // Without a sender there are no more hints, and polling goes on.
            let hint = async {
                if arrivals.changed().await.is_err() {
                    std::future::pending::<()>().await;
                }
            };
            drop(tokio::time::timeout_at(due, hint).await);
        };
        tokio::select! {
            () = look => Some(()),
            () = shutdown.cancelled() => None,
            () = tokio::time::sleep_until(self.ends_at) => None,
        }
    }
}
