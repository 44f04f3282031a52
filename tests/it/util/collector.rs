//! Collector of traces: accepts OTLP over real HTTP, decodes it with the types of the protocol, and stores the spans.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use axum::{
    Router,
    body::Bytes,
    extract::State,
    http::{HeaderMap, StatusCode},
    routing::post,
};
use opentelemetry_proto::tonic::{
    collector::trace::v1::ExportTraceServiceRequest,
    common::v1::{AnyValue, any_value::Value},
    trace::v1::{Span, span::SpanKind, status::StatusCode as SpanStatus},
};
use prost::Message;
use tokio::sync::Notify;

/// A running listener; ends with the test's runtime.
#[derive(Clone)]
pub(crate) struct Collector {
    pub(crate) url: String,
    spans: Arc<Mutex<Vec<CollectedSpan>>>,
    arrived: Arc<Notify>,
}

/// A span as it was sent. Ids are hexadecimal.
#[derive(Debug, Clone)]
pub(crate) struct CollectedSpan {
    pub(crate) service: String,
    pub(crate) name: String,
    pub(crate) kind: SpanKind,
    pub(crate) trace: String,
    pub(crate) id: String,
    /// Empty for the first span of a trace.
    pub(crate) parent: String,
    /// Trace and span.
    pub(crate) links: Vec<(String, String)>,
    pub(crate) attributes: BTreeMap<String, String>,
    pub(crate) has_failed: bool,
}

impl Collector {
    pub(crate) async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("binds");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let collector = Self { url, spans: Arc::default(), arrived: Arc::default() };
        let app = Router::new().route("/v1/traces", post(take)).with_state(collector.clone());
        tokio::spawn(async move { axum::serve(listener, app).await });
        collector
    }

    /// All spans so far.
    pub(crate) fn spans(&self) -> Vec<CollectedSpan> {
        self.spans.lock().expect("not poisoned").clone()
    }

    /// Waits until the spans satisfy `enough`; returns them.
    pub(crate) async fn until(&self, enough: impl Fn(&[CollectedSpan]) -> bool) -> Vec<CollectedSpan> {
        let wait = async {
            loop {
                // Created before the check, so that an arrival in between is not missed.
                let arrival = self.arrived.notified();
                if enough(&self.spans.lock().expect("not poisoned")) {
                    return;
                }
                arrival.await;
            }
        };
        let in_time = tokio::time::timeout(super::PATIENCE, wait).await.is_ok();
        assert!(in_time, "spans arrive in time: {:#?}", self.spans());
        self.spans()
    }
}

async fn take(State(collector): State<Collector>, headers: HeaderMap, body: Bytes) -> StatusCode {
    assert_eq!(headers["content-type"], "application/x-protobuf");
    let request = ExportTraceServiceRequest::decode(body).expect("is OTLP");
    for of_service in request.resource_spans {
        let resource = of_service.resource.expect("a resource");
        let mut service = resource.attributes.iter().filter(|attribute| attribute.key == "service.name");
        let service = text(service.next().and_then(|name| name.value.as_ref()));
        let spans = of_service.scope_spans.into_iter().flat_map(|scope| scope.spans);
        let spans: Vec<_> = spans.map(|span| collected(&service, span)).collect();
        collector.spans.lock().expect("not poisoned").extend(spans);
    }
    collector.arrived.notify_waiters();
    StatusCode::OK
}

fn collected(service: &str, span: Span) -> CollectedSpan {
    assert!(span.events.is_empty(), "no log line is part of a span: {span:?}");
    assert_eq!((span.dropped_attributes_count, span.dropped_links_count), (0, 0), "{span:?}");
    let attributes = span.attributes.iter();
    CollectedSpan {
        service: service.to_owned(),
        kind: span.kind(),
        trace: hex::encode(&span.trace_id),
        id: hex::encode(&span.span_id),
        parent: hex::encode(&span.parent_span_id),
        links: span.links.iter().map(|to| (hex::encode(&to.trace_id), hex::encode(&to.span_id))).collect(),
        attributes: attributes.map(|its| (its.key.clone(), text(its.value.as_ref()))).collect(),
        has_failed: span.status.as_ref().is_some_and(|status| status.code() == SpanStatus::Error),
        name: span.name,
    }
}

fn text(value: Option<&AnyValue>) -> String {
    match value.and_then(|value| value.value.as_ref()) {
        Some(Value::StringValue(text)) => text.clone(),
        Some(Value::IntValue(number)) => number.to_string(),
        other => panic!("a text or a number: {other:?}"),
    }
}
