//! Faults of the whole server; each test has the server to itself.

use std::time::Duration;

use orderworks_jobs::{
    Admin, ErrorClass, Publish,
    conformance::Harness,
    engine::{Interrupt, Settlement},
    error::describe,
};
use tokio::time::{Instant, timeout};

use super::{
    PATIENCE, QUEUE, RECOVERY, RabbitHarness, consume, envelope, publish, take, until, until_empty, work_off,
};
use crate::util::broker::{Afterwards, Vhost, ctl, needs_broker};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_restarted_with_a_backlog_loses_nothing() {
    needs_broker!();
    let harness = RabbitHarness::at(Vhost::alone().await).await;
    let engine = &harness.engine;
    let mut ids = publish(engine, 2000).await;
    let mut consumer = consume(engine, 50).await;
    for _ in 0..100 {
        let delivery = take(&mut consumer).await;
        ids.remove(&delivery.envelope.id);
        consumer.settler.settle(delivery.receipt, Settlement::Done);
    }
    let running = take(&mut consumer).await;
    let up_again = Afterwards(&["start_app"]);
    ctl("stop_app").await;
    let why = timeout(PATIENCE, running.signal.fired()).await.expect("fires");
    assert_eq!(why, Interrupt::LeaseLost);
    let asked = Instant::now();
    let error = engine.publish(vec![envelope()]).await.expect_err("the broker is down");
    assert!(error.class() == Some(ErrorClass::Unavailable), "{error}");
    assert!(asked.elapsed() < PATIENCE, "fails fast: {:?}", asked.elapsed());
    assert!(consumer.settler.health().trouble.is_some());
    drop(up_again);
    let resumed = Instant::now();
    let delivery = take(&mut consumer).await;
    assert!(resumed.elapsed() < RECOVERY);
    ids.remove(&delivery.envelope.id);
    consumer.settler.settle(delivery.receipt, Settlement::Done);
    work_off(&mut consumer, ids).await;
    // The publisher has a connection of its own, which reconnects by itself.
    let one = envelope();
    let publishes = || async { engine.publish(vec![one.clone()]).await.is_ok() };
    until("it publishes again", RECOVERY, publishes).await;
    let mut more = publish(engine, 10).await;
    more.insert(one.id);
    work_off(&mut consumer, more).await;
    until_empty(engine).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_delivery_held_past_the_brokers_timeout_goes_to_the_next_run() {
    needs_broker!();
    let harness = RabbitHarness::at(Vhost::alone().await).await;
    let engine = &harness.engine;
    let _restored = Afterwards(&[
        "eval 'application:set_env(rabbit, consumer_timeout, 1800000).'",
        "eval 'application:set_env(rabbit, channel_tick_interval, 60000).'",
    ]);
    // Applies to channels opened from now on.
    ctl("eval 'application:set_env(rabbit, consumer_timeout, 1500).'").await;
    ctl("eval 'application:set_env(rabbit, channel_tick_interval, 500).'").await;
    let id = publish(engine, 1).await.into_iter().next().expect("one");
    let mut consumer = consume(engine, 5).await;
    let hung = take(&mut consumer).await;
    let why = timeout(RECOVERY, hung.signal.fired()).await.expect("fires");
    assert_eq!(why, Interrupt::LeaseLost);
    let again = take(&mut consumer).await;
    assert_eq!((again.envelope.id, again.crashes), (id, 1));
    consumer.settler.settle(hung.receipt, Settlement::Done);
    consumer.settler.settle(again.receipt, Settlement::Done);
    until_empty(engine).await;
    until("the trouble is over", RECOVERY, || async { consumer.settler.health().trouble.is_none() }).await;
    assert_eq!(consumer.settler.health().stale_settlements, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_out_of_memory_refuses_publishers_at_once_and_lets_consumers_work() {
    needs_broker!();
    let harness = RabbitHarness::at(Vhost::alone().await).await;
    let engine = &harness.engine;
    let mut ids = publish(engine, 50).await;
    let mut consumer = consume(engine, 5).await;
    let restored = Afterwards(&["set_vm_memory_high_watermark absolute 1GB"]);
    ctl("set_vm_memory_high_watermark 0.00001").await;
    // The alarm is raised at the next check of the memory, at most a second later; until then jobs are accepted.
    let deadline = Instant::now() + PATIENCE;
    loop {
        let (job, asked) = (envelope(), Instant::now());
        let id = job.id;
        match engine.publish(vec![job]).await {
            Ok(_) => assert!(ids.insert(id)),
            Err(error) if describe(&error).contains("memory") => break,
            Err(error) => panic!("{error}"),
        }
        assert!(asked.elapsed() < PATIENCE, "never hangs: {:?}", asked.elapsed());
        assert!(Instant::now() < deadline, "the alarm shows");
    }
    assert!(engine.publish_trouble().is_some_and(|trouble| trouble.contains("memory")));
    let asked = Instant::now();
    assert!(engine.publish(vec![envelope()]).await.is_err());
    assert!(asked.elapsed() < Duration::from_secs(1), "known to be blocked: {:?}", asked.elapsed());
    // Waiting jobs run meanwhile, and a retry waits for the broker without being lost.
    let failed = take(&mut consumer).await;
    let retry = Settlement::Retry { at: harness.ambient().now(), error: "again".to_owned() };
    consumer.settler.settle(failed.receipt, retry);
    let mut others = ids;
    others.remove(&failed.envelope.id);
    work_off(&mut consumer, others).await;
    drop(restored);
    let again = take(&mut consumer).await;
    assert!(again.envelope.id == failed.envelope.id || again.envelope.attempt == 0);
    consumer.settler.settle(again.receipt, Settlement::Done);
    until("publishing works again", RECOVERY, || async { engine.publish(vec![envelope()]).await.is_ok() })
        .await;
    let depth = engine.depth(QUEUE).await.expect("depth");
    assert_eq!((depth.delayed, depth.dead), (0, 0));
}
