//! A task per job: jobs that compute without awaiting, and their neighbours.

use std::{sync::Arc, time::Duration};

use orderworks_jobs::engine::{Admin, JobState};
use tokio::{sync::watch, time::timeout};

use super::{
    gate::Process,
    rig::{Act, Event, Rig},
};

const NEIGHBOURS: usize = 20;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_that_computes_does_not_hold_up_its_neighbours() {
    let engine = orderworks_jobs::testing::MemoryEngine::new(base::Ambient::system());
    let mut here = Process::start(Arc::new(engine), "here", watch::channel(true).1).await;
    here.enqueue("computes", Act::Compute).await;
    assert!(matches!(here.event().await, Event::Started { .. }));
    for n in 0..NEIGHBOURS {
        here.enqueue(&format!("neighbour {n}"), Act::Yield).await;
    }
    for n in 0..NEIGHBOURS {
        let name = format!("neighbour {n}");
        assert_eq!(here.event().await, Event::Started { name: name.clone(), attempt: 1 });
        assert_eq!(here.event().await, Event::Finished { name });
    }
    here.probe.gate.add_permits(1);
    assert_eq!(here.event().await, Event::Finished { name: "computes".to_owned() });
    here.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_abort_waits_for_a_job_that_computes_and_hands_it_back_uncharged() {
    let mut rig = Rig::start(1).await;
    let id = rig.enqueue("computes", Act::Compute).await;
    rig.started("computes").await;
    rig.abort.cancel();
    let waited = timeout(Duration::from_millis(200), &mut rig.running).await;
    assert!(waited.is_err(), "the job still runs");
    assert_eq!(rig.engine.find(id).await.unwrap().unwrap().state, JobState::Running);
    rig.gate.add_permits(1);
    rig.running.await.unwrap().unwrap();
    let held = rig.engine.find(id).await.unwrap().unwrap();
    assert_eq!((held.state, held.envelope.attempt, held.crashes), (JobState::Ready, 0, 0));
}
