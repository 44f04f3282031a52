//! Time bounds of a connection: deadlines of an exchange, of a request head, of writes that the client does not take,
//! and of idle time.
//!
//! The service records the beginning of an exchange, the body its end, and the stream the bytes that were read,
//! refused, taken and flushed. [`Activity::overdue`] reads these records when the earliest deadline can have passed, so
//! a connection costs one timer.

use std::{
    io,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll},
};

use axum::body::{Body, Bytes, HttpBody};
use http::{Response, header};
use http_body_util::BodyExt;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    time::Instant,
};

use crate::config::ServerLimits;

pub(super) struct Activity(Mutex<Notes>);

struct Notes {
    /// Since the connection was opened, or the last response was handed over or flushed.
    idle_since: Instant,
    /// First byte that was read after that.
    head_began: Option<Instant>,
    /// Begin of the first exchange whose response is not flushed yet.
    exchange_began: Option<Instant>,
    is_answering: bool,
    /// Time since which the client takes no byte.
    write_blocked: Option<Instant>,
    /// Whether bytes have arrived since the last request.
    has_read: bool,
}

/// The bound that a connection has exceeded.
#[derive(Debug)]
pub(super) enum Overdue {
    Exchange,
    Head,
    Idle,
    Write,
}

impl Notes {
    fn is_between_requests(&self) -> bool {
        self.exchange_began.is_none() && !self.is_answering
    }

    /// The bound that is exceeded next. What begins now cannot be overdue before its full time has passed.
    fn deadline(&self, now: Instant, limits: &ServerLimits) -> (Instant, Overdue) {
        let is_idle = self.is_between_requests() && self.head_began.is_none();
        let idle_since = if is_idle { self.idle_since } else { now };
        let (head, exchange, write) = (self.head_began, self.exchange_began, self.write_blocked);
        let bounds = [
            (write.unwrap_or(now) + limits.write_timeout, Overdue::Write),
            (exchange.unwrap_or(now) + limits.exchange_timeout, Overdue::Exchange),
            (head.unwrap_or(now) + limits.head_timeout, Overdue::Head),
        ];
        let idle = (idle_since + limits.idle_timeout, Overdue::Idle);
        bounds.into_iter().fold(idle, |first, bound| if bound.0 < first.0 { bound } else { first })
    }
}

impl Activity {
    pub(super) fn new() -> Self {
        Self(Mutex::new(Notes {
            idle_since: Instant::now(),
            head_began: None,
            exchange_began: None,
            is_answering: false,
            write_blocked: None,
            has_read: false,
        }))
    }

    fn notes(&self) -> MutexGuard<'_, Notes> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Records that a request was read; its response is complete when the result is dropped.
    pub(super) fn begin(self: &Arc<Self>) -> Answering {
        let mut notes = self.notes();
        notes.exchange_began.get_or_insert_with(Instant::now);
        notes.head_began = None;
        notes.is_answering = true;
        let is_pipelined = !std::mem::take(&mut notes.has_read);
        Answering { activity: Arc::clone(self), is_pipelined }
    }

    /// Completes when a bound is exceeded.
    pub(super) async fn overdue(&self, limits: &ServerLimits) -> Overdue {
        loop {
            let now = Instant::now();
            let (ends_at, bound) = self.notes().deadline(now, limits);
            if ends_at <= now {
                return bound;
            }
            tokio::time::sleep_until(ends_at).await;
        }
    }
}

/// An exchange whose response is not handed over completely yet.
pub(super) struct Answering {
    activity: Arc<Activity>,
    is_pipelined: bool,
}

impl Answering {
    /// Yields to other connections if the request was pipelined: hyper would answer many pipelined requests without
    /// yielding.
    pub(super) async fn yield_if_pipelined(&self) {
        if self.is_pipelined {
            tokio::task::yield_now().await;
        }
    }

    /// Ends with the response body, which owns it from here on. Event streams have only the deadline of writes; they
    /// bound their time themselves.
    pub(super) fn watch(
        self,
        response: Response<Body>,
    ) -> Response<impl HttpBody<Data = Bytes, Error = axum::Error>> {
        let media_type = response.headers().get(header::CONTENT_TYPE);
        if media_type.is_some_and(|value| value.as_bytes().starts_with(b"text/event-stream")) {
            self.activity.notes().exchange_began = None;
        }
        response.map(|body| {
            body.map_err(move |error| {
                let _held = &self;
                error
            })
        })
    }
}

impl Drop for Answering {
    fn drop(&mut self) {
        let mut notes = self.activity.notes();
        notes.is_answering = false;
        notes.idle_since = Instant::now();
    }
}

/// A stream that records its writes.
pub(super) struct WatchedStream {
    pub(super) stream: TcpStream,
    pub(super) activity: Arc<Activity>,
}

impl WatchedStream {
    fn note(&self, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        let mut notes = self.activity.notes();
        if written.is_pending() {
            notes.write_blocked.get_or_insert_with(Instant::now);
        } else {
            notes.write_blocked = None;
        }
        written
    }
}

impl AsyncRead for WatchedStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let filled = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, buffer);
        if read.is_ready() {
            let mut notes = self.activity.notes();
            notes.has_read = true;
            if notes.is_between_requests() && buffer.filled().len() > filled {
                notes.head_began.get_or_insert_with(Instant::now);
            }
        }
        read
    }
}

impl AsyncWrite for WatchedStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.note(written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, slices);
        self.note(written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    /// hyper flushes when everything it had was written.
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut notes = self.activity.notes();
        if !notes.is_answering && notes.exchange_began.take().is_some() {
            notes.idle_since = Instant::now();
        }
        drop(notes);
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
