//! Workers on a real broker whose connection is lost.

use std::sync::Arc;

use base::testing::Proxy;
use orderworks_jobs::{Admin, Engine, conformance::Harness};
use tokio::sync::watch;

use super::{PATIENCE, RECOVERY, RabbitHarness, until};
use crate::{
    util::broker::{self, needs_broker},
    worker::{
        gate::Process,
        rig::{Act, Event},
    },
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_outlives_its_consumer_and_its_late_outcome_is_refused() {
    needs_broker!();
    let harness = RabbitHarness::start().await;
    let proxy = Proxy::start(broker::address()).await;
    let engine = harness.by(proxy.port).await;
    let shared: Arc<dyn Engine> = Arc::new(engine.clone());
    let mut here = Process::start(shared, "here", watch::channel(true).1).await;
    let id = here.enqueue("slow", Act::Gate).await;
    let started = Event::Started { name: "slow".to_owned(), attempt: 1 };
    let finished = Event::Finished { name: "slow".to_owned() };
    assert_eq!(here.event().await, started);
    proxy.set_accepting(false);
    proxy.cut();
    let health = || here.health.queues().remove(0);
    until("trouble shows", PATIENCE, || async { health().trouble.is_some() }).await;
    assert_eq!((health().running, health().consumer.is_none()), (1, true), "the run continues");
    proxy.set_accepting(true);
    // Delivered again to the next consumer while the first run continues in the other slot.
    assert_eq!(here.event().await, started);
    assert!(here.health.is_ready());
    here.probe.gate.add_permits(1);
    assert_eq!(here.event().await, finished);
    until("the first run has ended", RECOVERY, || async { here.health.queues()[0].running == 1 }).await;
    assert!(
        engine.find(id).await.expect("finds").is_some(),
        "the outcome of the lost delivery had no effect"
    );
    here.probe.gate.add_permits(1);
    assert_eq!(here.event().await, finished);
    until("it is done", RECOVERY, || async { engine.find(id).await.expect("finds").is_none() }).await;
    assert!(here.health.queues()[0].restarts >= 1);
    here.stop().await;
}
