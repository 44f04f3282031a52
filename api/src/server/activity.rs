//! Time bounds of a connection: a deadline per exchange, and one for writes that the client does not take.
//!
//! The service records the beginning of an exchange, the body its end, and the stream the bytes that were refused,
//! taken and flushed. [`Activity::overdue`] reads these records when the earliest deadline can have passed, so a
//! connection costs one timer.

use std::{
    io,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll},
    time::Duration,
};

use axum::body::{Body, Bytes, HttpBody};
use http::{Response, header};
use http_body_util::BodyExt;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    time::Instant,
};

#[derive(Default)]
pub(super) struct Activity(Mutex<Notes>);

#[derive(Default)]
struct Notes {
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
    Write,
}

impl Activity {
    fn notes(&self) -> MutexGuard<'_, Notes> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Records that a request was read; its response is complete when the result is dropped.
    pub(super) fn begin(self: &Arc<Self>) -> Answering {
        let mut notes = self.notes();
        notes.exchange_began.get_or_insert_with(Instant::now);
        notes.is_answering = true;
        let is_pipelined = !std::mem::take(&mut notes.has_read);
        Answering { activity: Arc::clone(self), is_pipelined }
    }

    /// Completes when a bound is exceeded.
    pub(super) async fn overdue(&self, exchange: Duration, write: Duration) -> Overdue {
        loop {
            let now = Instant::now();
            // An exchange or write that begins now cannot be overdue before its full time has passed.
            let (exchange_ends, write_ends) = {
                let notes = self.notes();
                (notes.exchange_began.unwrap_or(now) + exchange, notes.write_blocked.unwrap_or(now) + write)
            };
            if write_ends <= now {
                return Overdue::Write;
            }
            if exchange_ends <= now {
                return Overdue::Exchange;
            }
            tokio::time::sleep_until(exchange_ends.min(write_ends)).await;
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
        self.activity.notes().is_answering = false;
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
        let read = Pin::new(&mut self.stream).poll_read(cx, buffer);
        if read.is_ready() {
            self.activity.notes().has_read = true;
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
        if !notes.is_answering {
            notes.exchange_began = None;
        }
        drop(notes);
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
