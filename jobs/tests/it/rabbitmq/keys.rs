//! Unique keys of jobs that could not be published, or of which that is unknown.

use base::testing::Proxy;
use orderworks_jobs::{Admin, Envelope, ErrorClass, JobId, Publish, conformance::Harness, engine::Published};

use super::{PATIENCE, QUEUE, RabbitHarness, envelope, publish, until};
use crate::util::broker::{self, needs_broker};

fn keyed() -> Envelope {
    Envelope { unique_key: Some("stock-take".to_owned()), ..envelope() }
}

async fn answer(harness: &RabbitHarness, job: Envelope) -> Published {
    harness.engine.publish(vec![job]).await.expect("publishes")[0]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_is_free_at_once_when_its_job_was_certainly_not_published() {
    needs_broker!();
    let harness = RabbitHarness::start().await;
    publish(&harness.engine, 0).await;
    let proxy = Proxy::start(broker::address()).await;
    proxy.set_accepting(false);
    let away = harness.by(proxy.port).await;
    let error = away.publish(vec![keyed()]).await.expect_err("the broker is away");
    assert_eq!(error.class(), Some(ErrorClass::Unavailable));
    let (first, second) = (keyed(), keyed());
    let holder = first.id;
    assert_eq!(answer(&harness, first).await, Published::Accepted);
    // The first one's key is not withdrawn by a later call that fails.
    assert!(
        away.publish(vec![second.clone()])
            .await
            .is_ok_and(|answers| answers == [Published::NotUnique(holder)])
    );
    let again = Envelope { id: holder, ..keyed() };
    away.publish(vec![again]).await.expect_err("the broker is away");
    assert_eq!(answer(&harness, second).await, Published::NotUnique(holder));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_is_kept_while_it_is_unknown_whether_its_job_was_published() {
    needs_broker!();
    let harness = RabbitHarness::start().await;
    publish(&harness.engine, 0).await;
    let proxy = Proxy::start(broker::address()).await;
    let engine = harness.by(proxy.port).await;
    engine.publish(vec![envelope()]).await.expect("publishes");
    proxy.set_deaf(true);
    let job = keyed();
    let id: JobId = job.id;
    let publishing = tokio::spawn({
        let (engine, job) = (engine.clone(), job.clone());
        async move { engine.publish(vec![job]).await }
    });
    let stored = || async { harness.engine.depth(QUEUE).await.expect("depth").ready == 2 };
    until("it is stored", PATIENCE, stored).await;
    proxy.set_accepting(false);
    proxy.cut();
    publishing.await.expect("joins").expect_err("no confirm");
    assert_eq!(answer(&harness, keyed()).await, Published::NotUnique(id));
    assert_eq!(answer(&harness, job).await, Published::Accepted, "published again under the same id");
}
