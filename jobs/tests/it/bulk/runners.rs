//! Runners that die, several runners, and operations that end before their last item.

use std::{collections::HashSet, sync::Arc, time::Duration};

use orderworks_jobs::bulk::{LEASE, OperationId, OperationState, Plan, Verb};

use super::{
    Rig,
    boxes::{BOXES, Boxes},
};

/// An operation on so many boxes, twenty a second.
async fn opening(number: usize) -> (Rig, Arc<Boxes>, OperationId) {
    let (mut rig, boxes) = (Rig::new().await, Arc::new(Boxes::new(number)));
    rig.items.push(Arc::<Boxes>::clone(&boxes));
    let id = rig.begun(Plan { rate: 20, ..Plan::new(BOXES, Verb::Cancel, "ada", "a test") }).await;
    (rig, boxes, id)
}

#[tokio::test]
async fn a_crash_in_the_middle_counts_each_item_once() {
    let (rig, boxes, id) = opening(50).await;
    boxes.turns.add_permits(7);
    let mut killed = rig.runner("one");
    tokio::select! {
        _ = killed.pass() => panic!("more turns than there are"),
        () = boxes.reached(7) => {}
    }
    drop(killed);
    boxes.turns.add_permits(1000);
    let mut other = rig.runner("two");
    other.pass().await.expect("passes");
    assert_eq!(rig.counts(id).await, [0, 0, 0], "the first one may live");
    rig.clock.advance(LEASE);
    other.pass().await.expect("passes");
    assert_eq!(rig.counts(id).await, [20, 0, 0]);
    for done in [40, 50] {
        rig.clock.advance(Duration::from_secs(1));
        other.pass().await.expect("passes");
        assert_eq!(rig.counts(id).await, [done, 0, 0]);
    }
    assert_eq!(rig.found(id).await.state, OperationState::Done);
    let opened = boxes.opened.lock().clone();
    assert_eq!(opened.len(), 57, "those done before the crash were done again");
    assert_eq!(opened.into_iter().collect::<HashSet<_>>().len(), 50);
}

#[tokio::test]
async fn a_cancelled_operation_ends_with_the_items_in_hand() {
    let (rig, boxes, id) = opening(50).await;
    boxes.turns.add_permits(1);
    let mut runner = rig.runner("one");
    let run = tokio::spawn(async move { runner.pass().await.map(|()| runner) });
    boxes.reached(1).await;
    let asked = rig.admin().cancel(id).await.expect("cancels");
    assert_eq!((asked.state, asked.is_cancelling), (OperationState::Running, true));
    boxes.turns.add_permits(1000);
    let mut runner = run.await.expect("ends").expect("passes");
    let ended = rig.found(id).await;
    assert_eq!((ended.state, ended.counts.done, ended.counts.matched), (OperationState::Cancelled, 20, 50));
    rig.clock.advance(Duration::from_secs(1));
    runner.pass().await.expect("passes");
    assert_eq!(boxes.opened.lock().len(), 20);
}

#[tokio::test]
async fn an_operation_without_items_in_hand_is_cancelled_at_once() {
    let (rig, boxes, id) = opening(50).await;
    assert_eq!(rig.admin().cancel(id).await.expect("cancels").state, OperationState::Cancelled);
    rig.runner("one").pass().await.expect("passes");
    assert!(boxes.opened.lock().is_empty());
}

#[tokio::test]
async fn a_runner_that_was_replaced_counts_nothing() {
    let (rig, boxes, id) = opening(20).await;
    let mut slow = rig.runner("one");
    let run = tokio::spawn(async move { slow.pass().await });
    boxes.turns.add_permits(1);
    boxes.reached(1).await;
    let mut other = rig.runner("two");
    other.pass().await.expect("passes");
    rig.clock.advance(LEASE);
    boxes.turns.add_permits(1000);
    other.pass().await.expect("passes");
    run.await.expect("ends").expect("passes");
    let ended = rig.found(id).await;
    assert_eq!((ended.state, ended.counts.done, ended.counts.failed), (OperationState::Done, 20, 0));
}

#[tokio::test]
async fn a_confirmation_can_name_the_process_that_carries_out() {
    let (rig, boxes, _) = opening(20).await;
    boxes.turns.add_permits(1000);
    let plan = Plan::new(BOXES, Verb::Cancel, "ada", "a test");
    let id = rig.admin().preview(plan).await.expect("previews").id;
    rig.admin().confirm(id, Some("command")).await.expect("confirms");
    let mut other = rig.runner("two");
    other.pass().await.expect("passes");
    assert_eq!(rig.counts(id).await, [0, 0, 0]);
    let operation = rig.found(id).await;
    let step = rig.runner("command").step(operation).await.expect("steps");
    assert_eq!((step.operation.state, step.done.len()), (OperationState::Done, 20));
}
