//! Traces of this process, sent to a collector over OTLP; off unless `traces.endpoint` is set.
//!
//! The only place that knows OpenTelemetry: all other crates make spans of `tracing` and pass trace contexts on, see
//! [`base::spans`]. Guarantees: spans are recorded in memory only, and handed to a bounded queue without waiting, so a
//! collector that is slow or away delays no request and no job; spans that find no room or no collector are dropped and
//! counted. A trace that has begun elsewhere is recorded if its caller records it; of the others, the share
//! `traces.ratio`. Log lines are not sent, and no span holds more than its declared fields.
//!
//! Next: [`exporter`] sends, [`recorder`] joins spans to the traces of requests and jobs.

mod exporter;
mod recorder;

use std::sync::{Arc, LazyLock};

use anyhow::Context;
use base::spans;
use opentelemetry::{KeyValue, trace::TracerProvider};
use opentelemetry_sdk::{
    Resource,
    trace::{Sampler, SdkTracer, SdkTracerProvider, SpanLimits},
};
use tokio::task::JoinHandle;
use tracing::{Subscriber, level_filters::LevelFilter};
use tracing_subscriber::{Layer, filter::Targets, registry::LookupSpan};

pub(crate) use self::exporter::SpanCounts;
use self::{
    exporter::{FLUSH_MAX, QueueProcessor},
    recorder::OtelRecorder,
};
use crate::config::Traces;

/// Most attributes of a span, above what any span here has.
const ATTRIBUTES_MAX: u32 = 32;
/// Most links of a span: a run links to one trace.
const LINKS_MAX: u32 = 8;

/// Counters of the process, for its metrics; zero while traces are off.
static COUNTS: LazyLock<Arc<SpanCounts>> = LazyLock::new(Arc::default);

/// Recording that has begun.
pub(crate) struct Recording {
    provider: SdkTracerProvider,
    exporting: JoinHandle<()>,
}

impl Recording {
    /// Begins to record, within a runtime. `service` names the program and its role.
    pub(crate) fn start(traces: &Traces, service: &'static str) -> anyhow::Result<Self> {
        let resource = Resource::builder()
            .with_service_name(service)
            .with_attribute(KeyValue::new("service.namespace", "orderworks"))
            .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
            .build();
        let exporter = exporter::connect(&traces.endpoint, &resource).context("traces")?;
        let (processor, task) = QueueProcessor::new(exporter, counts());
        let limits = SpanLimits {
            max_attributes_per_span: ATTRIBUTES_MAX,
            max_links_per_span: LINKS_MAX,
            ..SpanLimits::default()
        };
        let root = Sampler::TraceIdRatioBased(traces.ratio);
        let provider = SdkTracerProvider::builder()
            .with_sampler(Sampler::ParentBased(Box::new(root)))
            .with_span_limits(limits)
            .with_resource(resource)
            .with_span_processor(processor)
            .build();
        spans::install(Box::new(OtelRecorder));
        Ok(Self { provider, exporting: tokio::spawn(task.run()) })
    }

    /// The layer that turns spans of `tracing` into recorded ones: those of the target [`spans::TARGET`], and nothing
    /// of any library.
    pub(crate) fn layer<S>(&self) -> impl Layer<S> + Send + Sync + use<S>
    where
        S: Subscriber + for<'span> LookupSpan<'span> + Send + Sync,
    {
        let tracer: SdkTracer = self.provider.tracer("orderworks");
        tracing_opentelemetry::layer()
            .with_tracer(tracer)
            .with_location(false)
            .with_threads(false)
            .with_target(false)
            .with_tracked_inactivity(false)
            .with_context_activation(false)
            .with_filter(Targets::new().with_target(spans::TARGET, LevelFilter::INFO))
    }

    /// Sends what is queued, for at most [`FLUSH_MAX`], and ends. Later spans are not recorded.
    pub(crate) async fn flush(self) {
        if let Err(error) = self.provider.shutdown_with_timeout(FLUSH_MAX) {
            tracing::debug!(%error, "recording of traces not ended");
        }
        if tokio::time::timeout(FLUSH_MAX, self.exporting).await.is_err() {
            tracing::warn!("last spans not exported in time, dropped");
        }
    }
}

/// Counters of the spans of this process.
pub(crate) fn counts() -> Arc<SpanCounts> {
    Arc::clone(&COUNTS)
}

#[cfg(test)]
mod tests;
