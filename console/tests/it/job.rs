//! The page of a job: its state now is a part of its timeline.

use std::time::Duration;

use base::time::earlier;
use console::access::Role;
use jobs::{
    engine::ConsumeOptions,
    job_store::{NotedRun, WorkerNote},
};

use crate::{
    pages::note,
    util::{Deployment, QUEUE},
};

#[tokio::test]
async fn a_job_is_told_to_be_ready_and_then_to_run_in_a_worker_since_a_time() {
    let shop = Deployment::open().await;
    let path = format!("/jobs/{}", shop.ready);
    let page = shop.get(Role::Viewer, &path).await.body;
    assert!(page.contains("now ready: waits for a worker"), "{page}");

    let name = "w-2/email".to_owned();
    let options = ConsumeOptions { name, prefetch: 1, lease: Duration::from_secs(30) };
    let mut consumer = shop.parts.engine.consume(QUEUE, options).await.expect("consumes");
    let delivery = consumer.deliveries.recv().await.expect("a delivery");
    assert_eq!(delivery.envelope.id, shop.ready);
    let now = shop.parts.ambient.now();
    let runs = vec![NotedRun { job: shop.ready, since: earlier(now, Duration::from_mins(5)) }];
    shop.parts.store.note_workers(vec![WorkerNote { runs, ..note("w-2", now) }]).await.expect("notes");
    let page = shop.get(Role::Viewer, &path).await.body;
    for part in ["running: attempt 1", "in w-2", "5 min ago"] {
        assert!(page.contains(part), "{part}: {page}");
    }
    assert!(!page.contains("now ready"), "{page}");
    consumer.settler.stop();
    consumer.settler.close().await.expect("closes");
}
