//! Export of spans: a bounded queue, filled without waiting, and one task that sends it in batches.
//!
//! Guarantees: ending a span takes no lock that a send holds and waits for nothing; at most [`QUEUE_MAX`] spans are
//! queued and [`BATCH_MAX`] on their way; one attempt to send a batch, with its repetitions, takes [`EXPORT_MAX`] at
//! most; each span is counted once, by what became of it. The batch processor of the SDK is not used: it does
//! not tell how many spans it drops, and its thread cannot drive the HTTP client that the other parts of the program
//! use.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use opentelemetry::Context;
use opentelemetry_otlp::{Protocol, SpanExporter as OtlpExporter, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::{
    Resource,
    error::OTelSdkResult,
    trace::{Span, SpanData, SpanExporter, SpanProcessor},
};
use parking_lot::RwLock;
use tokio::{sync::mpsc, time::timeout};
use url::Url;
use webhooks::http_client::install_tls_provider;

/// Spans queued at most, some MiB of them; later ones are dropped.
pub(super) const QUEUE_MAX: usize = 4096;
/// Spans sent in one request at most.
const BATCH_MAX: usize = 512;
/// Longest wait of a span for others of its batch.
const LINGER: Duration = Duration::from_secs(1);
/// Longest time for sending a batch, with the repetitions that the protocol asks for.
const EXPORT_MAX: Duration = Duration::from_secs(5);
const CONNECT_MAX: Duration = Duration::from_secs(2);
/// Longest time for sending what is queued at the end of the process.
pub(super) const FLUSH_MAX: Duration = Duration::from_secs(3);
/// Path of the OTLP protocol for traces, appended to an endpoint without a path.
const TRACES_PATH: &str = "/v1/traces";

/// Spans by what became of them.
#[derive(Debug, Default)]
pub(crate) struct SpanCounts {
    exported: AtomicU64,
    queue_full: AtomicU64,
    failed: AtomicU64,
}

impl SpanCounts {
    /// Numbers of spans by result: `exported`, or dropped as the `queue_full` was, or as sending has `failed`.
    pub(crate) fn all(&self) -> [(&'static str, u64); 3] {
        [("exported", &self.exported), ("queue_full", &self.queue_full), ("failed", &self.failed)]
            .map(|(result, count)| (result, count.load(Ordering::Relaxed)))
    }
}

/// Sets up the exporter to this collector; connects only when spans are sent. Headers, such as those of a collector
/// that asks for a token, come from the variable `OTEL_EXPORTER_OTLP_HEADERS`.
pub(super) fn connect(endpoint: &Url, resource: &Resource) -> anyhow::Result<OtlpExporter> {
    install_tls_provider();
    let client = reqwest::Client::builder()
        .connect_timeout(CONNECT_MAX)
        .timeout(EXPORT_MAX)
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
        .build()?;
    let mut endpoint = endpoint.clone();
    if endpoint.path() == "/" {
        endpoint.set_path(TRACES_PATH);
    }
    let mut exporter = OtlpExporter::builder()
        .with_http()
        .with_protocol(Protocol::HttpBinary)
        .with_endpoint(endpoint)
        .with_timeout(EXPORT_MAX)
        .with_http_client(client)
        .build()?;
    exporter.set_resource(resource);
    Ok(exporter)
}

/// Puts ended spans into the queue.
#[derive(Debug)]
pub(super) struct QueueProcessor {
    /// `None` after the end of recording.
    queue: RwLock<Option<mpsc::Sender<SpanData>>>,
    counts: Arc<SpanCounts>,
}

/// Sends what is in the queue, until it is closed and empty.
pub(super) struct ExportTask<E> {
    queue: mpsc::Receiver<SpanData>,
    exporter: E,
    counts: Arc<SpanCounts>,
    is_failing: bool,
}

impl QueueProcessor {
    pub(super) fn new<E: SpanExporter>(exporter: E, counts: Arc<SpanCounts>) -> (Self, ExportTask<E>) {
        let (sender, queue) = mpsc::channel(QUEUE_MAX);
        let processor = Self { queue: RwLock::new(Some(sender)), counts: Arc::clone(&counts) };
        (processor, ExportTask { queue, exporter, counts, is_failing: false })
    }
}

impl SpanProcessor for QueueProcessor {
    fn on_start(&self, _span: &mut Span, _context: &Context) {}

    fn on_end(&self, span: SpanData) {
        if let Some(queue) = &*self.queue.read()
            && queue.try_send(span).is_err()
        {
            self.counts.queue_full.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Does nothing: the queue is sent within [`LINGER`].
    fn force_flush(&self) -> OTelSdkResult {
        Ok(())
    }

    /// Closes the queue; its task sends the rest.
    fn shutdown_with_timeout(&self, _timeout: Duration) -> OTelSdkResult {
        *self.queue.write() = None;
        Ok(())
    }
}

impl<E: SpanExporter> ExportTask<E> {
    pub(super) async fn run(mut self) {
        while let Some(first) = self.queue.recv().await {
            let batch = self.batch_of(first).await;
            self.export(batch).await;
        }
    }

    /// The span with those that end soon after it.
    async fn batch_of(&mut self, first: SpanData) -> Vec<SpanData> {
        let mut batch = vec![first];
        let others = async {
            while batch.len() < BATCH_MAX
                && let Some(span) = self.queue.recv().await
            {
                batch.push(span);
            }
        };
        // Whether it is full or the time is up.
        let _ = timeout(LINGER, others).await;
        batch
    }

    async fn export(&mut self, batch: Vec<SpanData>) {
        let count = batch.len() as u64;
        let sent = timeout(EXPORT_MAX, self.exporter.export(batch)).await;
        let error = match sent {
            Ok(Ok(())) => None,
            Ok(Err(error)) => Some(error.to_string()),
            Err(_) => Some("timeout".to_owned()),
        };
        let counter = if error.is_none() { &self.counts.exported } else { &self.counts.failed };
        counter.fetch_add(count, Ordering::Relaxed);
        match error {
            Some(error) if !self.is_failing => {
                tracing::warn!(error, "spans not exported, dropped until the collector answers");
                self.is_failing = true;
            }
            None if self.is_failing => {
                tracing::info!("spans exported again");
                self.is_failing = false;
            }
            _ => {}
        }
    }
}
