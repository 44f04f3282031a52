//! The engine with its job store in PostgreSQL: the cases of the suite that use the job store.
//!
//! The store has a suite of its own, so the other cases would add nothing.

use std::sync::Arc;

use async_trait::async_trait;
use base::{
    Ambient,
    testing::scratch::{self, Scratch},
};
use orderworks_jobs::{
    Engine,
    conformance::Harness,
    job_store::PostgresJobStore,
    rabbitmq::{RabbitEngine, RabbitServer},
};

use crate::util::broker::{self, Vhost};

struct OverPostgres {
    engine: RabbitEngine,
    ambient: Ambient,
    // Dropped before the database, whose deletion ends the connections that are left.
    vhost: Vhost,
    scratch: Scratch,
}

async fn open(vhost: &Vhost, scratch: &Scratch) -> RabbitEngine {
    let store = PostgresJobStore::open(&scratch.config(), Ambient::system()).await.expect("opens");
    RabbitEngine::new(RabbitServer::at(&vhost.url()), "test", Arc::new(store), Ambient::system())
        .expect("a good address")
}

#[async_trait]
impl Harness for OverPostgres {
    fn skipped() -> Option<String> {
        broker::skipped().or_else(scratch::skipped)
    }

    async fn start() -> Self {
        let (vhost, scratch) = (Vhost::create().await, Scratch::create().await);
        orderworks_jobs::postgres::migrate(&scratch.config()).await.expect("migrates");
        Self { engine: open(&vhost, &scratch).await, ambient: Ambient::system(), vhost, scratch }
    }

    fn ambient(&self) -> &Ambient {
        &self.ambient
    }

    fn engine(&self) -> Arc<dyn Engine> {
        Arc::new(self.engine.clone())
    }

    async fn second(&self) -> Arc<dyn Engine> {
        Arc::new(open(&self.vhost, &self.scratch).await)
    }

    async fn break_storage(&self) {
        self.vhost.forbid_writing().await;
    }

    async fn inject_undecodable(&self, queue: &str, body: &str) {
        super::inject(&self.vhost, queue, body.as_bytes(), lapin::BasicProperties::default()).await;
    }
}

orderworks_jobs::conformance_tests! { @cases OverPostgres;
    control: cancelled_before_its_time_never_runs, cancelling_a_running_job_fires_its_signal,
        a_pause_holds_in_every_handle, purging_drops_what_waits, depth_counts_every_state,
        a_delayed_job_can_be_started_now, listing_pages_and_filters;
    inspect: running_jobs_are_seen_by_every_handle, consumers_are_seen_by_every_handle,
        the_oldest_ready_job_has_an_age_without_consumers, what_is_held_nowhere_is_not_found;
    delivery: a_unique_key_holds_until_the_job_ends;
    worker: cancelled_before_its_start_never_runs;
}
