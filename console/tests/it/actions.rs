//! Actions: preview, confirmation, effect, record.

use console::access::Role;
use http::StatusCode;
use jobs::engine::JobState;

use crate::util::{Deployment, HOSTILE_ERROR, QUEUE, SCHEDULE};

impl Deployment {
    /// Previews an action, checks that its page says so, and confirms it; returns the page that follows.
    async fn done(&self, role: Role, form: &[(&str, &str)]) -> String {
        let operation = self.previewed(role, form).await;
        let page = self.get(role, &operation).await;
        assert!(page.body.contains("Nothing is changed yet"), "{}", page.body);
        let confirmed = self.post(role, &format!("{operation}/confirm"), &[]).await;
        assert_eq!(confirmed.status, StatusCode::SEE_OTHER, "{}", confirmed.body);
        self.get(role, &confirmed.location()).await.body
    }
}

#[tokio::test]
async fn a_queue_is_paused_resumed_and_purged() {
    let shop = Deployment::open().await;
    let form = |verb| [("items", "queues"), ("verb", verb), ("id", QUEUE), ("why", "the mail server moves")];
    let depth = async || shop.parts.engine.depth(QUEUE).await.expect("depth");
    let page = shop.done(Role::Operator, &form("pause")).await;
    assert!(page.contains("1 done, 0 skipped, 0 failed"), "{page}");
    assert!(depth().await.paused);
    let again = shop.post(Role::Operator, "/operations", &form("pause")).await;
    assert_eq!(again.status, StatusCode::CONFLICT, "it is paused: {}", again.body);
    shop.done(Role::Operator, &form("resume")).await;
    let page = shop.done(Role::Admin, &form("purge")).await;
    assert!(page.contains("1 ready, 1 delayed"), "{page}");
    let depth = depth().await;
    assert_eq!((depth.paused, depth.ready, depth.delayed, depth.dead), (false, 0, 0, 1));
    let audit = shop.get(Role::Viewer, "/audit?who=admin").await.body;
    assert!(audit.contains("purge") && audit.contains("the mail server moves"), "{audit}");
    assert!(!audit.contains("resume"), "that was the operator: {audit}");
}

#[tokio::test]
async fn one_job_is_cancelled_and_a_dead_one_redriven_from_their_pages() {
    let shop = Deployment::open().await;
    let (delayed, dead) = (shop.delayed.to_string(), shop.dead.to_string());
    let page = shop.get(Role::Operator, &format!("/jobs/{dead}")).await.body;
    assert!(page.contains("Redrive this job") && !page.contains("Delete this job"), "{page}");
    shop.done(Role::Operator, &[("items", "job"), ("verb", "cancel"), ("id", &delayed), ("why", "wrong")])
        .await;
    assert!(shop.parts.engine.find(shop.delayed).await.expect("asks").is_none());
    let page = shop.get(Role::Viewer, &format!("/jobs/{delayed}")).await;
    assert_eq!(page.status, StatusCode::OK, "it was never run, and is known by its end: {}", page.body);
    assert!(page.body.contains("cancel by operator: done") && page.body.contains("wrong"), "{}", page.body);
    shop.done(Role::Operator, &[("items", "job"), ("verb", "redrive"), ("id", &dead), ("why", "fixed")])
        .await;
    let found = shop.parts.engine.find(shop.dead).await.expect("asks").expect("is held");
    assert_eq!(found.state, JobState::Ready);
    let page = shop.get(Role::Viewer, &format!("/jobs/{dead}")).await.body;
    for part in ["attempt 1 dead", "redrive by operator: done", "now ready: waits for a worker"] {
        assert!(page.contains(part), "{part}: {page}");
    }
}

#[tokio::test]
async fn dead_letters_are_redriven_by_reason() {
    let shop = Deployment::open().await;
    let page = shop.get(Role::Viewer, "/dead").await.body;
    assert!(page.contains("exhausted") && page.contains(QUEUE), "{page}");
    let other = [("items", "jobs"), ("verb", "redrive"), ("reason", "crashed"), ("why", "a test")];
    assert_eq!(shop.post(Role::Operator, "/operations", &other).await.status, StatusCode::CONFLICT);
    let form = [("items", "jobs"), ("verb", "redrive"), ("reason", "exhausted"), ("why", "a test")];
    let page = shop.done(Role::Operator, &form).await;
    assert!(page.contains("1 done") && !page.contains(HOSTILE_ERROR), "{page}");
    assert_eq!(shop.parts.engine.depth(QUEUE).await.expect("depth").dead, 0);
}

#[tokio::test]
async fn a_schedule_runs_now_and_is_paused() {
    let shop = Deployment::open().await;
    let form = |verb| [("items", "schedules"), ("verb", verb), ("id", SCHEDULE), ("why", "a test")];
    let ready = shop.parts.engine.depth(QUEUE).await.expect("depth").ready;
    shop.done(Role::Operator, &form("run")).await;
    assert_eq!(shop.parts.engine.depth(QUEUE).await.expect("depth").ready, ready + 1);
    shop.done(Role::Operator, &form("pause")).await;
    let page = shop.get(Role::Operator, &format!("/schedules?name={SCHEDULE}")).await.body;
    assert!(page.contains("paused") && page.contains("Resume: tidy"), "{page}");
}

#[tokio::test]
async fn a_discarded_preview_changes_nothing_and_stays_in_the_record() {
    let shop = Deployment::open().await;
    let form = [("items", "jobs"), ("verb", "delete"), ("queue", QUEUE), ("why", "a slip")];
    let operation = shop.previewed(Role::Admin, &form).await;
    let discarded = shop.post(Role::Admin, &format!("{operation}/cancel"), &[]).await;
    assert_eq!(discarded.status, StatusCode::SEE_OTHER);
    let late = shop.post(Role::Admin, &format!("{operation}/confirm"), &[]).await;
    assert_eq!(late.status, StatusCode::CONFLICT, "{}", late.body);
    assert_eq!(shop.parts.engine.depth(QUEUE).await.expect("depth").dead, 1);
    assert!(shop.get(Role::Viewer, "/audit").await.body.contains("a slip"));
}

#[tokio::test]
async fn an_action_needs_a_reason_and_a_verb_that_fits() {
    let shop = Deployment::open().await;
    let pause = [("items", "queues"), ("verb", "pause"), ("id", QUEUE)];
    for (form, said) in [
        (pause.to_vec(), "`why` is missing"),
        (vec![("items", "queues"), ("verb", "explode"), ("why", "x")], "no verb `explode`"),
        (vec![("items", "queues"), ("verb", "pause"), ("why", "x")], "choose one by its id"),
        (vec![("items", "nothing"), ("verb", "pause"), ("why", "x")], "no items `nothing`"),
        (vec![("items", "jobs"), ("verb", "retry"), ("state", "lost"), ("why", "x")], "use one of"),
    ] {
        let reply = shop.post(Role::Admin, "/operations", &form).await;
        assert_eq!(reply.status, StatusCode::BAD_REQUEST, "{form:?}");
        let body = reply.body.replace("&#96;", "`");
        assert!(body.contains(said), "{said}: {body}");
    }
}
