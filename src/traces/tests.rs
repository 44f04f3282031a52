//! Tests of the queue of spans. Whole traces are tested with the program, against a collector.

use opentelemetry::trace::{Span as _, Tracer as _};

use super::{
    exporter::{QUEUE_MAX, connect},
    *,
};

/// A provider whose spans go to an address where no server listens.
fn unheard() -> (SdkTracerProvider, JoinHandle<()>, Arc<SpanCounts>) {
    let counts = Arc::<SpanCounts>::default();
    // Port 1 of this machine: no collector listens there.
    let endpoint = "http://127.0.0.1:1".parse().expect("an address");
    let exporter = connect(&endpoint, &Resource::builder_empty().build()).expect("an exporter");
    let (processor, task) = QueueProcessor::new(exporter, Arc::clone(&counts));
    let provider = SdkTracerProvider::builder().with_span_processor(processor).build();
    // On the same thread: it runs only when the test waits.
    (provider, tokio::spawn(task.run()), counts)
}

#[tokio::test]
async fn spans_that_find_no_room_are_dropped_and_counted() {
    let (provider, _task, counts) = unheard();
    let tracer = provider.tracer("test");
    for _ in 0..QUEUE_MAX + 10 {
        tracer.start("a span").end();
    }
    assert_eq!(counts.all(), [("exported", 0), ("queue_full", 10), ("failed", 0)]);
}

#[tokio::test]
async fn spans_that_no_collector_takes_are_dropped_and_counted() {
    let (provider, task, counts) = unheard();
    let tracer = provider.tracer("test");
    for _ in 0..3 {
        tracer.start("a span").end();
    }
    provider.shutdown_with_timeout(FLUSH_MAX).expect("closes the queue");
    task.await.expect("ends");
    assert_eq!(counts.all(), [("exported", 0), ("queue_full", 0), ("failed", 3)]);
    tracer.start("after the end").end();
    assert_eq!(counts.all(), [("exported", 0), ("queue_full", 0), ("failed", 3)]);
}
