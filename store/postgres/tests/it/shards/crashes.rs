//! Merchant migrations interrupted at any step, and resumed or aborted.

use std::panic::{AssertUnwindSafe, resume_unwind};

use futures::FutureExt;
use store::error::StoreError;
use store_postgres::merchant_migration::{MoveError, MoveOptions, Step};
use tokio::{runtime::Handle, sync::Notify, task::block_in_place};

use super::{Scene, needs_postgres, worth};

/// Interrupts a migration at the beginning of a step; no statement of the step was sent.
async fn crash_before(scene: &Scene, to: &str, step: &Step) {
    let mover = scene.mover(to);
    let progress = |now: Step| {
        if now == *step {
            // `resume_unwind` prints no panic message, since this unwinding is intended.
            resume_unwind(Box::new("crashed"));
        }
    };
    let ended = AssertUnwindSafe(mover.run(&progress)).catch_unwind().await;
    assert!(ended.is_err(), "it ended before {step:?}: {ended:?}");
}

/// Interrupts a migration during a step, or later: statements sent by then take effect, and on a busy machine a
/// migration sends many statements before another task runs.
async fn crash_after(scene: &Scene, to: &str, step: &Step) {
    let (reached, mover) = (Notify::new(), scene.mover(to));
    let progress = |now: Step| {
        if now == *step {
            reached.notify_one();
        }
    };
    tokio::select! {
        biased;
        () = reached.notified() => {}
        ended = mover.run(&progress) => {
            assert!(reached.notified().now_or_never().is_some(), "it ended before {step:?}: {ended:?}");
        }
    }
}

/// All steps, in order.
fn steps() -> Vec<Step> {
    vec![
        Step::Preparing,
        Step::Copying("merchants"),
        Step::Copying("orders"),
        Step::Copying("events"),
        Step::Fencing,
        Step::Draining(0),
        Step::Comparing("products"),
        Step::Comparing("webhook_attempts"),
        Step::Leaving,
        Step::Arriving,
        Step::Settling,
        Step::Clearing("webhook_attempts"),
        Step::Clearing("events"),
        Step::Clearing("merchants"),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_move_is_taken_up_after_a_crash_at_any_step() {
    needs_postgres!();
    let scene = Scene::open().await;
    worth::settle(&scene.shop).await;
    let told = worth::told(&scene.shop).await;
    let whole = scene.rows("a").await;
    assert!(whole > 100, "{whole}");
    let (mut from, mut to) = ("a", "b");
    for step in steps() {
        crash_after(&scene, to, &step).await;
        let report = scene.moved(to).await.unwrap_or_else(|error| panic!("after {step:?}: {error}"));
        assert_eq!((scene.rows(from).await, scene.rows(to).await), (0, whole), "after {step:?}: {report:?}");
        assert_eq!(worth::told(&scene.shop).await, told, "after {step:?}");
        (from, to) = (to, from);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crash_at_every_step_in_a_row_ends_well() {
    needs_postgres!();
    let scene = Scene::open().await;
    worth::settle(&scene.shop).await;
    let (told, whole) = (worth::told(&scene.shop).await, scene.rows("a").await);
    for step in steps() {
        crash_before(&scene, "b", &step).await;
    }
    scene.moved("b").await.expect("moves");
    assert_eq!((scene.rows("a").await, scene.rows("b").await), (0, whole));
    assert_eq!(worth::told(&scene.shop).await, told);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_move_can_be_undone_until_it_has_handed_over() {
    needs_postgres!();
    let scene = Scene::open().await;
    worth::settle(&scene.shop).await;
    let (told, whole) = (worth::told(&scene.shop).await, scene.rows("a").await);
    let step_before = [Step::Copying("orders"), Step::Comparing("orders"), Step::Leaving];
    for (n, step) in step_before.into_iter().enumerate() {
        crash_before(&scene, "b", &step).await;
        let fenced = scene.shop.try_place("fenced", &["nothing"]).await;
        assert_eq!(fenced.is_err(), n > 0, "{step:?}: {fenced:?}");
        if let Err(error) = fenced {
            assert!(matches!(error, StoreError::Unavailable { .. }), "{error}");
        }
        let home = scene.mover("b").abort(&|_| {}).await.expect("aborts");
        assert_eq!(home, "a");
        assert_eq!((scene.rows("a").await, scene.rows("b").await), (whole, 0), "after {step:?}");
        assert_eq!(worth::told(&scene.shop).await, told, "after {step:?}");
    }
    crash_before(&scene, "b", &Step::Settling).await;
    let late = scene.mover("b").abort(&|_| {}).await;
    assert!(matches!(late, Err(MoveError::Arrived(_))), "{late:?}");
    scene.moved("b").await.expect("goes on");
    let done = scene.moved("b").await.expect("answers");
    assert_eq!(done.from, None, "there is nothing left to do");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_move_that_has_lost_its_lock_changes_nothing() {
    needs_postgres!();
    let scene = Scene::open().await;
    worth::settle(&scene.shop).await;
    let (target, whole) = (scene.pool("b").await, scene.rows("a").await);
    let sql = "SELECT count(*) FILTER (WHERE pg_terminate_backend(pid, 10000)) FROM pg_locks
        WHERE locktype = 'advisory' AND database = (SELECT oid FROM pg_database WHERE datname = current_database())";
    let progress = |now: Step| {
        if now == Step::Copying("orders") {
            let ended = sqlx::query_scalar(sql).fetch_one(&target);
            let ended: i64 = block_in_place(|| Handle::current().block_on(ended)).expect("ends the session");
            assert_eq!(ended, 1);
        }
    };
    let lost = scene.mover("b").run(&progress).await;
    assert!(matches!(lost, Err(MoveError::Store(StoreError::Unavailable { .. }))), "{lost:?}");
    let copied: i64 =
        sqlx::query_scalar("SELECT count(*) FROM orders").fetch_one(&target).await.expect("counts");
    assert_eq!(copied, 0);
    scene.moved("b").await.expect("moves");
    assert_eq!((scene.rows("a").await, scene.rows("b").await), (0, whole));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_source_that_was_kept_is_out_of_use_and_can_be_moved_back_to() {
    needs_postgres!();
    let scene = Scene::open().await;
    worth::settle(&scene.shop).await;
    let whole = scene.rows("a").await;
    let keeping = scene.mover_with("b", |options| MoveOptions { keep_source: true, ..options });
    let report = keeping.run(&|_| {}).await.expect("moves");
    assert_eq!((report.deleted, scene.rows("a").await), (0, whole));
    scene.shop.place("after", &["mug"]).await;
    worth::drain(&scene.shop).await;
    assert_eq!(scene.rows("a").await, whole, "it is written in its new home only");
    let told = worth::told(&scene.shop).await;
    let preview = scene.mover("a").preview().await.expect("looks");
    assert_eq!((preview.from.as_deref(), preview.next, preview.unsent), (Some("b"), "copy", 0));
    assert_eq!(preview.rows["orders"], 14);
    scene.moved("a").await.expect("moves back");
    assert_eq!(scene.rows("b").await, 0);
    assert_eq!(worth::told(&scene.shop).await, told);
}
