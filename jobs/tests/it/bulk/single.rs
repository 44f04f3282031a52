//! One job, one queue: items that are chosen by their id alone.

use std::sync::Arc;

use orderworks_jobs::{
    Admin,
    bulk::{BulkFilter, JOB, JOBS, OneJob, OperationError, Plan, QUEUES, QueueItems, Verb},
};

use super::{QUEUE, Rig};

fn single(items: &str, verb: Verb, id: &str) -> Plan {
    let filter = BulkFilter { id: Some(id.to_owned()), ..BulkFilter::default() };
    Plan { filter, ..Plan::new(items, verb, "ada", "a test") }
}

async fn rig() -> Rig {
    let mut rig = Rig::new().await;
    rig.items.push(Arc::new(OneJob::new(Arc::new(rig.engine.clone()))));
    rig.items.push(Arc::new(QueueItems::new(Arc::new(rig.engine.clone()))));
    rig
}

#[tokio::test]
async fn one_job_is_cancelled_and_its_neighbours_stay() {
    let rig = rig().await;
    let jobs = rig.delayed("mail", 3).await;
    let id = rig.begun(single(JOB, Verb::Cancel, &jobs[1].to_string())).await;
    rig.runner("one").pass().await.expect("passes");
    assert_eq!(rig.counts(id).await, [1, 0, 0]);
    assert_eq!(rig.found(id).await.sample.len(), 1);
    assert!(rig.engine.find(jobs[1]).await.expect("asks").is_none());
    assert_eq!(rig.engine.depth(QUEUE).await.expect("depth").delayed, 2);
}

#[tokio::test]
async fn a_queue_is_paused_resumed_and_purged_with_a_record_of_each() {
    let rig = rig().await;
    rig.delayed("mail", 2).await;
    let mut runner = rig.runner("one");
    let pause = rig.begun(single(QUEUES, Verb::Pause, QUEUE)).await;
    runner.pass().await.expect("passes");
    assert_eq!(rig.counts(pause).await, [1, 0, 0]);
    assert!(rig.engine.depth(QUEUE).await.expect("depth").paused);
    let again = rig.admin().preview(single(QUEUES, Verb::Pause, QUEUE)).await;
    assert!(matches!(again, Err(OperationError::NothingMatches(_))), "{again:?}");
    rig.begun(single(QUEUES, Verb::Resume, QUEUE)).await;
    let purge = rig.begun(single(QUEUES, Verb::Purge, QUEUE)).await;
    runner.pass().await.expect("passes");
    let depth = rig.engine.depth(QUEUE).await.expect("depth");
    assert_eq!((depth.paused, depth.delayed), (false, 0));
    let purged = rig.found(purge).await;
    assert_eq!((purged.plan.who.as_str(), purged.plan.why.as_str()), ("ada", "a test"));
    assert!(purged.sample[0].text.contains("2 delayed"), "{:?}", purged.sample);
}

#[tokio::test]
async fn a_plan_for_one_item_names_it_and_has_no_other_condition() {
    let rig = rig().await;
    let id = rig.delayed("mail", 1).await[0].to_string();
    let mut with_kind = single(JOB, Verb::Cancel, &id);
    with_kind.filter.kind = Some("mail".to_owned());
    for plan in [
        with_kind,
        single(JOB, Verb::Pause, &id),
        single(JOB, Verb::Cancel, "no id"),
        single(JOBS, Verb::Cancel, &id),
        single(QUEUES, Verb::Cancel, QUEUE),
        Plan::new(QUEUES, Verb::Pause, "ada", "a test"),
    ] {
        let refused = rig.admin().preview(plan).await;
        assert!(matches!(refused, Err(OperationError::Plan(_))), "{refused:?}");
    }
    let other = rig.admin().preview(single(QUEUES, Verb::Pause, "no_such_queue")).await;
    assert!(matches!(other, Err(OperationError::NothingMatches(_))), "{other:?}");
}
