//! The engine with its job store in PostgreSQL: the cases of the suite that use the job store.
//!
//! The store has a suite of its own, so the other cases would add nothing.

use std::{collections::HashSet, sync::Arc, time::Duration};

use async_trait::async_trait;
use base::{
    Ambient,
    postgres::PostgresConfig,
    testing::scratch::{self, Scratch},
};
use orderworks_jobs::{
    Admin, Engine, Envelope, JobId, Publish,
    conformance::Harness,
    engine::{Published, Settlement},
    job_store::PostgresJobStore,
    rabbitmq::{RabbitEngine, RabbitServer},
};
use tokio::time::Instant;

use super::{PATIENCE, RECOVERY, consume, envelope, publish, take, until};
use crate::util::broker::{self, Afterwards, Vhost, ctl};

struct OverPostgres {
    engine: RabbitEngine,
    ambient: Ambient,
    // Dropped before the database, whose deletion ends the connections that are left.
    vhost: Vhost,
    scratch: Scratch,
}

async fn open(vhost: &Vhost, config: &PostgresConfig) -> RabbitEngine {
    let store = PostgresJobStore::open(config, Ambient::system()).await.expect("opens");
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
        Self { engine: open(&vhost, &scratch.config()).await, ambient: Ambient::system(), vhost, scratch }
    }

    fn ambient(&self) -> &Ambient {
        &self.ambient
    }

    fn engine(&self) -> Arc<dyn Engine> {
        Arc::new(self.engine.clone())
    }

    async fn second(&self) -> Arc<dyn Engine> {
        Arc::new(open(&self.vhost, &self.scratch.config()).await)
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
        a_pause_holds_in_every_handle, purging_drops_what_waits, a_purge_frees_the_keys_of_what_it_deletes,
        depth_counts_every_state,
        a_delayed_job_can_be_started_now, listing_pages_and_filters;
    dead: a_dead_job_keeps_its_story, redriving_filters_and_starts_afresh, retrying_a_dead_job_starts_afresh,
        an_undecodable_job_becomes_a_dead_letter, dead_jobs_are_listed_in_pages,
        dead_jobs_are_dropped_by_filter, a_dead_job_frees_its_unique_key;
    fair: starts_follow_the_weights, a_flood_of_one_key_delays_no_other, retries_and_snoozes_take_turns,
        a_key_keeps_its_order, what_waits_for_its_turn_is_in_sight, the_longest_backlogs_are_told_by_key;
    inspect: running_jobs_are_seen_by_every_handle, consumers_are_seen_by_every_handle,
        the_oldest_ready_job_has_an_age_without_consumers, what_is_held_nowhere_is_not_found;
    delivery: a_unique_key_holds_until_the_job_ends;
    ordered: a_key_keeps_its_sequence, a_retry_and_a_snooze_hold_the_key, a_dead_job_lets_the_next_go_on,
        a_crash_keeps_the_key, a_cancelled_job_lets_the_next_go_on, a_start_time_holds_the_key,
        what_waits_behind_a_job_is_in_sight, a_job_moves_to_the_line_of_another_queue;
    ordered_random: no_outcome_breaks_a_sequence;
    unique: a_key_of_a_waiting_job_is_free_once_it_is_fetched, a_kept_key_stays_with_a_dead_job,
        a_period_outlasts_its_job, a_period_ends_at_its_time, a_dead_job_waits_for_the_period_of_another;
    worker: cancelled_before_its_start_never_runs;
}

/// The broker's delivery timeout, and how long the job store is away at least.
const DELIVERY_TIMEOUT: Duration = Duration::from_secs(4);
const AWAY: Duration = DELIVERY_TIMEOUT.saturating_mul(3);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn outcomes_do_not_wait_for_a_job_store_that_is_away() {
    if let Some(why) = OverPostgres::skipped() {
        orderworks_jobs::conformance::skip(&why);
        return;
    }
    let (vhost, scratch) = (Vhost::alone().await, Scratch::create().await);
    orderworks_jobs::postgres::migrate(&scratch.config()).await.expect("migrates");
    let (proxy, config) = scratch.behind_proxy().await;
    let (direct, engine) = (open(&vhost, &scratch.config()).await, open(&vhost, &config).await);
    let _restored = Afterwards(&[
        "eval 'application:set_env(rabbit, consumer_timeout, 1800000).'",
        "eval 'application:set_env(rabbit, channel_tick_interval, 60000).'",
    ]);
    ctl(&format!("eval 'application:set_env(rabbit, consumer_timeout, {}).'", DELIVERY_TIMEOUT.as_millis()))
        .await;
    ctl("eval 'application:set_env(rabbit, channel_tick_interval, 500).'").await;
    publish(&direct, 0).await;
    let mut consumer = consume(&engine, 4).await;
    let unique = |n: u32| Envelope { unique_key: Some(format!("parcel-{n}")), ..envelope() };
    let unique: Vec<Envelope> = (0..8).map(unique).collect();
    direct.publish(unique.clone()).await.expect("publishes");
    publish(&direct, 8).await;
    proxy.sever();
    let back = Instant::now() + AWAY;
    let mut ran: HashSet<JobId> = HashSet::new();
    // More of each kind than the consumer may hold.
    for n in 0..16 {
        let delivery = take(&mut consumer).await;
        assert!(ran.insert(delivery.envelope.id), "nothing runs twice");
        let settlement = if delivery.envelope.unique_key.is_some() {
            Settlement::Done
        } else {
            let at = Ambient::system().now() + Duration::from_hours(1);
            Settlement::Retry { at, error: format!("no paper in printer {n}") }
        };
        consumer.settler.settle(delivery.receipt, settlement);
    }
    let in_broker = || async { direct.short_delays().await.expect("counts") == 8 };
    until("the retries wait in the broker", PATIENCE, in_broker).await;
    while Instant::now() < back {
        publish(&direct, 1).await;
        let plain = take(&mut consumer).await;
        assert!(ran.insert(plain.envelope.id), "nothing runs twice");
        consumer.settler.settle(plain.receipt, Settlement::Done);
    }
    assert_eq!(consumer.settler.health().trouble, None);
    proxy.restore();
    let next = Envelope { id: JobId::fresh(&Ambient::system()), ..unique[0].clone() };
    let accepted =
        || async { direct.publish(vec![next.clone()]).await.expect("answers") == [Published::Accepted] };
    until("the keys are free", RECOVERY, accepted).await;
}
