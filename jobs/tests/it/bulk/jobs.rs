//! Operations on jobs: previews, verbs, filters, rates.

use std::time::Duration;

use orderworks_jobs::{
    Admin, Consume, Priority,
    bulk::{BulkFilter, OperationError, OperationState, Plan, Verb},
    engine::{Alteration, ConsumeOptions, Consumer, DeadReason, JobState, Settlement},
    job_store::Operations,
};

use super::{QUEUE, Rig, plan};

fn of_kind(kind: &str) -> BulkFilter {
    BulkFilter { kind: Some(kind.to_owned()), ..BulkFilter::default() }
}

async fn consumer(rig: &Rig) -> Consumer {
    let options = ConsumeOptions { name: "one".to_owned(), prefetch: 1, lease: Duration::from_secs(30) };
    rig.engine.consume(QUEUE, options).await.expect("consumes")
}

/// Has the next job die.
async fn die(consumer: &mut Consumer, error: &str) {
    let delivery = consumer.deliveries.recv().await.expect("a delivery");
    let dead = Settlement::Dead { reason: DeadReason::Exhausted, error: error.to_owned() };
    consumer.settler.settle(delivery.receipt, dead);
}

#[tokio::test]
async fn a_preview_changes_nothing_and_its_confirmation_is_carried_out() {
    let rig = Rig::new().await;
    let (mut mails, calls) = (rig.delayed("mail", 25).await, rig.delayed("call", 2).await);
    mails.sort_unstable();
    rig.clock.advance(Duration::from_millis(1));
    let cancel = Plan { filter: of_kind("mail"), ..plan(Verb::Cancel) };
    let previewed = rig.admin().preview(cancel.clone()).await.expect("previews");
    assert_eq!((previewed.counts.matched, previewed.counts.is_exact), (25, true));
    assert_eq!((previewed.sample.len(), previewed.sample[0].id.clone()), (20, mails[0].to_string()));
    assert_eq!(previewed.sample[0].text, "mail parcels delayed");
    assert!(previewed.limits.is_empty());
    let mut runner = rig.runner("one");
    runner.pass().await.expect("passes");
    assert_eq!(rig.engine.depth(QUEUE).await.expect("depth").delayed, 27, "it is not confirmed");

    rig.admin().confirm(previewed.id, None).await.expect("confirms");
    let again = rig.admin().confirm(previewed.id, None).await.expect_err("it runs").to_string();
    assert!(again.contains("is running: only a previewed one can be confirmed"), "{again}");
    runner.pass().await.expect("passes");
    let ended = rig.found(previewed.id).await;
    assert_eq!((ended.state, ended.plan), (OperationState::Done, cancel));
    assert_eq!(rig.counts(previewed.id).await, [25, 0, 0]);
    assert!(ended.began_at.is_some() && ended.ended_at.is_some() && ended.last_error.is_none());
    assert_eq!(rig.engine.depth(QUEUE).await.expect("depth").delayed, 2);
    assert!(rig.engine.find(calls[1]).await.expect("finds").is_some());
    let late = rig.admin().cancel(previewed.id).await.expect_err("it is over").to_string();
    assert!(late.contains("is done"), "{late}");
}

#[tokio::test]
async fn the_rate_holds() {
    let rig = Rig::new().await;
    rig.delayed("mail", 10).await;
    let id = rig.begun(Plan { rate: 4, ..plan(Verb::Retry) }).await;
    let mut runner = rig.runner("one");
    for (millis, done) in [(0, 4), (0, 4), (500, 6), (10, 6), (10_000, 10), (1000, 10)] {
        rig.clock.advance(Duration::from_millis(millis));
        runner.pass().await.expect("passes");
        assert_eq!(rig.counts(id).await, [done, 0, 0], "{millis}");
    }
    assert_eq!(rig.found(id).await.state, OperationState::Done);
    assert_eq!(rig.engine.depth(QUEUE).await.expect("depth").ready, 10);
}

#[tokio::test]
async fn what_leaves_the_filter_is_skipped_and_what_comes_later_is_left_alone() {
    let rig = Rig::new().await;
    let jobs = rig.delayed("mail", 5).await;
    let id = rig.begun(Plan { filter: of_kind("mail"), ..plan(Verb::Retry) }).await;
    rig.engine.cancel(jobs[0], "gone").await.expect("cancels");
    rig.engine.retry_now(jobs[3]).await.expect("starts");
    rig.delayed("mail", 3).await;
    rig.runner("one").pass().await.expect("passes");
    assert_eq!(rig.counts(id).await, [3, 2, 0]);
    assert_eq!(rig.engine.depth(QUEUE).await.expect("depth").delayed, 3);
}

#[tokio::test]
async fn waiting_jobs_get_another_time_queue_and_priority() {
    let rig = Rig::new().await;
    let other = orderworks_jobs::engine::QueueSpec::new("letters");
    rig.engine.declare(&[other]).await.expect("declares");
    let job = rig.delayed("mail", 1).await[0];
    let tomorrow = rig.ambient.now() + Duration::from_hours(24);
    let of_queue = BulkFilter { queue: Some(QUEUE.to_owned()), ..BulkFilter::default() };
    let mut runner = rig.runner("one");
    for alteration in [
        Alteration::RunAt(tomorrow),
        Alteration::Priority(Priority::Bulk),
        Alteration::Queue("letters".to_owned()),
    ] {
        let id = rig.begun(Plan { filter: of_queue.clone(), ..plan(Verb::Alter(alteration)) }).await;
        runner.pass().await.expect("passes");
        assert_eq!(rig.counts(id).await, [1, 0, 0]);
    }
    let altered = rig.engine.find(job).await.expect("finds").expect("waits").envelope;
    assert_eq!(
        (altered.run_at, altered.priority, altered.queue.as_str()),
        (Some(tomorrow), Priority::Bulk, "letters")
    );
}

#[tokio::test]
async fn dead_jobs_are_taken_once_though_they_die_again() {
    let rig = Rig::new().await;
    let jobs = rig.delayed("mail", 3).await;
    let mut consumer = consumer(&rig).await;
    for (job, error) in jobs.iter().zip(["card gone", "no route", "card gone"]) {
        assert!(rig.engine.retry_now(*job).await.expect("starts"));
        die(&mut consumer, error).await;
    }
    let filter = BulkFilter {
        error_contains: Some("card".to_owned()),
        reason: Some(DeadReason::Exhausted),
        ..BulkFilter::default()
    };
    let id = rig.begun(Plan { filter, rate: 1, ..plan(Verb::Redrive) }).await;
    let mut runner = rig.runner("one");
    for _ in 0..2 {
        runner.pass().await.expect("passes");
        die(&mut consumer, "card gone").await;
        rig.clock.advance(Duration::from_secs(1));
    }
    runner.pass().await.expect("passes");
    assert_eq!((rig.counts(id).await, rig.found(id).await.state), ([2, 0, 0], OperationState::Done));
    assert_eq!(rig.engine.depth(QUEUE).await.expect("depth").dead, 3);
    let id = rig.begun(plan(Verb::Delete)).await;
    runner.pass().await.expect("passes");
    assert_eq!(rig.counts(id).await, [3, 0, 0]);
    assert_eq!(rig.engine.depth(QUEUE).await.expect("depth").dead, 0);
}

#[tokio::test]
async fn a_plan_that_cannot_be_is_refused_and_stores_nothing() {
    let rig = Rig::new().await;
    rig.delayed("mail", 1).await;
    rig.clock.advance(Duration::from_millis(1));
    let with = |filter: BulkFilter, verb: Verb| Plan { filter, ..plan(verb) };
    let all = BulkFilter::default;
    let to = |queue: &str| Verb::Alter(Alteration::Queue(queue.to_owned()));
    let of = |queue: &str| BulkFilter { queue: Some(queue.to_owned()), ..BulkFilter::default() };
    let cases = [
        (Plan { rate: 0, ..plan(Verb::Cancel) }, "use 1 to 10000"),
        (Plan { why: " ".to_owned(), ..plan(Verb::Cancel) }, "`why` is for the record"),
        (Plan { items: "boxes".to_owned(), ..plan(Verb::Cancel) }, "there are: jobs"),
        (
            with(BulkFilter { state: Some(JobState::Dead), ..all() }, Verb::Cancel),
            "ready or delayed or running",
        ),
        (with(BulkFilter { reason: Some(DeadReason::Crashed), ..all() }, Verb::Cancel), "only dead jobs"),
        (with(all(), to("letters")), "name the queue"),
        (with(of(QUEUE), to(QUEUE)), "name another queue"),
        (with(of(QUEUE), to("nowhere")), "no queue `nowhere`"),
        (with(of_kind("sms"), Verb::Cancel), "nothing matches"),
        (plan(Verb::Delete), "nothing matches"),
    ];
    for (plan, wanted) in cases {
        let error = rig.admin().preview(plan).await.expect_err("is refused");
        assert!(error.to_string().contains(wanted), "{error}");
    }
    assert!(rig.store.operations(None).await.expect("lists").is_empty());
    let unknown = "op_00000000-0000-7000-8000-000000000000".parse().expect("an id");
    let confirmed = rig.admin().confirm(unknown, None).await;
    assert!(matches!(confirmed, Err(OperationError::Unknown(_))));
}
