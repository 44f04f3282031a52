//! Leases of a file's consumers when the clock jumps.

use std::time::Duration;

use base::{Ambient, Timestamp};
use orderworks_jobs::{Admin, engine::Settlement};

use super::{QUEUE, consume, killed_process, open_with, publish, take};

#[test]
fn a_step_of_the_clock_takes_leases_of_dead_consumers_only() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (path, lease) = (folder.path(), Duration::from_millis(600));
    let (ambient, clock) = Ambient::steered(1, Timestamp::UNIX_EPOCH);
    let (ids, orphan) = killed_process(async {
        let engine = open_with(path, ambient.clone()).await;
        let ids = publish(&engine, 3).await;
        let mut consumer = consume(&engine, 1, lease).await;
        let delivery = take(&mut consumer).await;
        (ids, (engine, consumer, delivery))
    });
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(async {
        let engine = open_with(path, ambient.clone()).await;
        let mut consumers = [consume(&engine, 1, lease).await, consume(&engine, 1, lease).await];
        let mut held = Vec::new();
        for consumer in &mut consumers {
            held.push(take(consumer).await);
        }
        let mut idle = consume(&engine, 1, lease).await;
        // All are overdue now, and the first heartbeat of any sees it.
        clock.advance(Duration::from_mins(1));
        let rescued = take(&mut idle).await;
        assert_eq!((rescued.envelope.id, rescued.crashes), (ids[0], 1), "its consumer is dead");
        for (consumer, delivery) in consumers.iter().zip(held) {
            assert_eq!(delivery.signal.interrupt(), None);
            consumer.settler.settle(delivery.receipt, Settlement::Done);
            consumer.settler.close().await.expect("closes");
            assert_eq!(consumer.settler.health().stale_settlements, 0);
        }
        idle.settler.settle(rescued.receipt, Settlement::Done);
        idle.settler.close().await.expect("closes");
        assert_eq!(engine.depth(QUEUE).await.expect("depth").running, 0);
    });
    drop(orphan);
}
