//! Simulated processes: workers and relays, each started, killed at an await point, and started again.
//!
//! A crash drops the futures of a process where they stand; requests already sent may still arrive.

use std::{future::Future, sync::Arc, time::Duration};

use jobs::{engine::Settlement, testing::run_delivery};
use tokio_util::sync::CancellationToken;
use workers::relay::Relay;

use crate::{chance::pause, deployment::Deployment};

/// Jobs per worker at a time.
const SLOTS: usize = 3;
/// Longest downtime of a process.
const DOWN_MAX: Duration = Duration::from_secs(5);
/// Longest life of a relay of an earlier release.
const EARLIER_MAX: Duration = Duration::from_mins(2);
/// Poll interval of a relay; longer than in production, to spare rounds that find nothing.
const POLL: Duration = Duration::from_secs(20);

/// A worker, started again after each crash.
pub(crate) async fn worker(world: Arc<Deployment>, index: u64) {
    for life in 1_u64.. {
        let (name, consumer) = (format!("worker-{index}.{life}"), (index << 32) + life);
        let env = world.env(&name);
        let slots = (0..SLOTS).map(|_| slot(&world, &name, consumer, env.clone()));
        until_killed(&world, &name, futures::future::join_all(slots)).await;
        world.queue.lost(consumer);
        pause(world.chance.some_time(DOWN_MAX)).await;
    }
}

/// A relay, started again after each crash, under one name or under a new one each time, as containers have.
pub(crate) async fn relay(world: Arc<Deployment>, index: u64) {
    let keeps_name = world.chance.one_in(2);
    for life in 1_u64.. {
        let name = if keeps_name { format!("relay-{index}") } else { format!("relay-{index}.{life}") };
        // Of an earlier release, as during an upgrade or after a roll-back; for a bounded time.
        let is_earlier = !world.chance.is_calm() && world.chance.one_in(4);
        let orders = if is_earlier { world.orders_of_earlier(&name) } else { world.orders_of(&name) };
        let queue = Arc::new(world.queue.clone());
        let mut relay = Relay::new(orders, queue, world.process_ambient(), name.clone());
        relay.poll_interval = POLL;
        let life = until_killed(&world, &name, relay.run(CancellationToken::new()));
        if is_earlier {
            let _replaced = tokio::time::timeout(world.chance.some_time(EARLIER_MAX), life).await;
        } else {
            life.await;
        }
        pause(world.chance.some_time(DOWN_MAX)).await;
    }
}

async fn slot(world: &Deployment, name: &str, consumer: u64, env: workers::Env) {
    let ambient = env.ambient.clone();
    loop {
        let delivery = world.queue.claim(consumer).await;
        world.trace.note("run", || {
            let envelope = &delivery.envelope;
            let (subject, attempt) = (envelope.subject.as_deref().unwrap_or("-"), envelope.attempt + 1);
            format!("{name} {} {} of {subject}, attempt {attempt}", envelope.id, envelope.kind)
        });
        let receipt = delivery.receipt;
        let mut settlement = run_delivery(&world.registry, delivery, env.clone(), &ambient).await;
        if world.ends_unfound
            && let Settlement::Retry { error, .. } = &settlement
            && error.ends_with("_not_found")
        {
            settlement = Settlement::Cancelled { error: error.clone() };
        }
        world.queue.settle(receipt, settlement);
    }
}

/// Runs a process for its drawn lifetime, or for ever once the faults have ended.
async fn until_killed<T>(world: &Deployment, name: &str, process: impl Future<Output = T>) {
    let killed = async {
        if let Some(life) = world.chance.life() {
            pause(life).await;
            if !world.chance.is_calm() {
                return;
            }
        }
        std::future::pending::<()>().await;
    };
    tokio::select! {
        biased;
        () = killed => {}
        _ = process => {}
    }
    world.trace.note("killed", || name.to_owned());
}
