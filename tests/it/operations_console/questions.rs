//! The 25 questions of docs/COMPARISON.md ("Consoles"): each has its answer in the console, few steps from its start.
//!
//! Guarantees: every way begins at the overview and uses what the pages offer, no address. A step is a click, a field
//! that is filled, or Enter. Without a measure of time: that is for the machine of the comparison.

use std::{collections::BTreeSet, path::Path, time::Duration};

use ::base::Ambient;
use jobs::{
    Envelope, Job, JobContext, JobError, JobId, Publish, envelope::EnqueueOptions, sqlite::SqliteEngine,
};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{TOKEN, base, console_of_a_viewer};
use crate::util::{Browser, Dev, Role, alone, free_port, ready, until};

/// Steps to an answer, and steps of a change with its reason, preview and confirmation.
const STEPS_MAX: usize = 2;
const CHANGE_STEPS_MAX: usize = 5;
/// Questions of the comparison.
const QUESTIONS: usize = 25;
/// Time after which the sandbox's answer to a charge counts as missing: the charge runs as long.
const CHARGE_TIMEOUT_MS: &str = "30000";
/// Search field of each page.
const SEARCH: &str = "input[name=q]";

/// Whether a worker is listed as lost, with the time at which it was last seen.
const LOST: &str = "const lost = [...document.querySelectorAll('main table')]
        .find((table) => table.caption.textContent.startsWith('Lost within an hour'));
    const headings = lost ? [...lost.tHead.rows[0].cells].map((cell) => cell.textContent) : [];
    const rows = lost ? [...lost.tBodies[0].rows] : [];
    const row = rows.find((row) => row.cells[0].textContent.trim() === arguments[0]);
    return Boolean(row) && row.cells[headings.indexOf('Last seen')].textContent.trim().endsWith(' ago)');";

/// Part of the error of a job of an unknown kind.
const ERROR: &str = "is registered in this worker";

/// A mail of an old kind: no worker knows it.
#[derive(Serialize, Deserialize)]
struct OldMail {
    text: String,
}

impl Job for OldMail {
    type Env = ();
    const KIND: &'static str = "old_mail";
    const QUEUE: &'static str = "email";

    async fn run(&self, _: &JobContext<()>) -> Result<(), JobError> {
        Ok(())
    }
}

/// Publishes such a mail: one that dies at its first run, or one that is due later.
async fn publish(engine: &SqliteEngine, after: Option<Duration>) -> JobId {
    let ambient = Ambient::system();
    let options =
        EnqueueOptions { run_at: after.map(|after| ambient.now() + after), ..EnqueueOptions::default() };
    let mail = OldMail { text: "words of a payload".to_owned() };
    let envelope = Envelope::new(&mail, options, &ambient).expect("a job");
    let (id, attempt) = (envelope.id, OldMail::MAX_ATTEMPTS);
    engine.publish(vec![Envelope { attempt, ..envelope }]).await.expect("publishes");
    id
}

/// A way from the overview to an answer.
struct Way<'a> {
    browser: &'a Browser,
    steps: usize,
}

impl<'a> Way<'a> {
    async fn begin(browser: &'a Browser, base: &str) -> Self {
        browser.visit(&format!("{base}/")).await;
        Self { browser, steps: 0 }
    }

    async fn loaded(&self) {
        let next = "return !window.marked && document.readyState === 'complete'";
        self.browser.until("the next page", next, json!([])).await;
    }

    /// Clicks a link or a button that leads to another page.
    async fn click(mut self, selector: &str) -> Self {
        self.browser.mark().await;
        self.browser.click(selector).await;
        self.loaded().await;
        self.steps += 1;
        self
    }

    /// Clicks a link of the navigation.
    async fn open(self, page: &str) -> Self {
        self.click(&format!("nav a[href='/{page}']")).await
    }

    /// Fills the search field and presses Enter.
    async fn find(mut self, text: &str) -> Self {
        self.browser.fill(SEARCH, text).await;
        self.browser.submit().await;
        self.steps += 2;
        self
    }

    /// Gives a reason, asks for the preview by the button of the same form, and carries it out.
    async fn change(mut self, form: &str) -> Self {
        self.browser.fill(&format!("{form} input[name=why]"), "a question of the night").await;
        self.steps += 1;
        self = self.click(&format!("{form} button")).await;
        self.browser.until_shown("Nothing is changed yet").await;
        self.click("main form[action$='/confirm'] button").await
    }

    /// The page shows all of this, after so many steps at most.
    async fn shows(self, most: usize, answers: &[&str]) {
        for answer in answers {
            self.browser.until_shown(answer).await;
        }
        assert!(self.steps <= most, "{} steps to {answers:?}", self.steps);
    }
}

/// Selector of a form whose hidden field has this verb.
fn form_of(verb: &str) -> String {
    format!("main form:has(input[name=verb][value={verb}])")
}

/// Waits until a page that renews itself shows this.
async fn comes(browser: &Browser, base: &str, path: &str, text: &str) {
    browser.visit(&format!("{base}{path}?live=on")).await;
    browser.until_shown(text).await;
}

/// Kills a worker process that is listed, before the deployment begins, as it counts as lost 45 seconds later. Returns
/// its name.
async fn killed_worker(data: &Path) -> String {
    let health = format!("127.0.0.1:{}", free_port());
    // It runs no job, so it calls no provider.
    let settings = [("ORDERWORKS_PAYMENTS_PROVIDER_URL", "http://127.0.0.1:9/")];
    let worker = Role::start(data, &settings, &["worker", "--health", &health]);
    ready(&health, |_| true).await;
    let is_noted = |workers: &serde_json::Value| workers[0]["note"]["worker"].is_string();
    let listed = until(data, &["inspect", "workers"], is_noted).await;
    worker.kill().await;
    listed[0]["note"]["worker"].as_str().expect("a name").to_owned()
}

/// What is in the deployment of the night.
struct Night {
    order: String,
    slow: String,
    dead: [String; 2],
    delayed: String,
}

impl Night {
    async fn begin(dev: &Dev, engine: &SqliteEngine, data: &Path) -> Self {
        let order = dev.storefront().accepted("one", "pm_card_visa").await;
        dev.merchant().ended(&order).await;
        let dead = [publish(engine, None).await.to_string(), publish(engine, None).await.to_string()];
        let delayed = publish(engine, Some(Duration::from_hours(1))).await.to_string();
        let all_dead = |jobs: &serde_json::Value| jobs.as_array().map(Vec::len) == Some(2);
        until(data, &["inspect", "jobs", "--state", "dead"], all_dead).await;
        dev.storefront().accepted("slow", "pm_sandbox_timeout").await;
        let running = ["inspect", "jobs", "--queue", "payments", "--state", "running"];
        let some = |jobs: &serde_json::Value| jobs.as_array().is_some_and(|jobs| !jobs.is_empty());
        let found = until(data, &running, some).await;
        let slow = found[0]["envelope"]["id"].as_str().expect("an id").to_owned();
        Self { order, slow, dead, delayed }
    }
}

/// Questions about what goes on, while the workers live.
async fn about_a_running_deployment(browser: &Browser, base: &str, night: &Night) -> Vec<usize> {
    let begin = async || Way::begin(browser, base).await;
    comes(browser, base, "/workers", &night.slow).await;
    begin().await.open("workers").await.shows(STEPS_MAX, &[night.slow.as_str(), "Running since"]).await;
    begin().await.open("workers").await.shows(STEPS_MAX, &["payments", "Release"]).await;
    comes(browser, base, &format!("/orders/{}", night.order), "send_email: attempt 1 completed").await;
    comes(browser, base, "/queues/payments", "Last hour").await;
    begin()
        .await
        .click("td a[href='/queues/payments']")
        .await
        .shows(STEPS_MAX, &["Last hour", "Course"])
        .await;
    comes(browser, base, "/", "payments").await;
    for figure in ["Wait p95", "Completed / failed per min"] {
        browser.until_figure("payments", figure).await;
        begin().await.shows(0, &[figure]).await;
        browser.until_figure("payments", figure).await;
    }
    begin().await.open("schedules").await.shows(STEPS_MAX, &["Last run", "Next run"]).await;
    comes(browser, base, &format!("/jobs/{}", night.slow), "charge outcome unknown").await;
    begin().await.find(&night.slow).await.shows(STEPS_MAX, &["charge outcome unknown", "Run began"]).await;
    vec![17, 19, 5, 6, 7, 21, 12]
}

/// Questions about jobs and orders.
async fn about_jobs_and_orders(browser: &Browser, base: &str, night: &Night) -> Vec<usize> {
    let begin = async || Way::begin(browser, base).await;
    let [dead, _] = &night.dead;
    comes(browser, base, &format!("/jobs/{dead}"), "old_mail: attempt").await;
    begin().await.find(dead).await.shows(STEPS_MAX, &["dead: unknown_kind", "Last error"]).await;
    begin().await.find(dead).await.shows(STEPS_MAX, &["old_mail: attempt"]).await;
    begin().await.find(&night.delayed).await.shows(STEPS_MAX, &["due", "(in "]).await;
    begin().await.find(&night.delayed).await.shows(STEPS_MAX, &["words of a payload"]).await;
    begin().await.find(ERROR).await.shows(STEPS_MAX, &[dead.as_str()]).await;
    begin()
        .await
        .find(&night.order)
        .await
        .shows(STEPS_MAX, &["send_email: attempt 1 completed", "sent"])
        .await;
    let whole =
        ["order accepted", "charge_payment: attempt 1 completed", "fulfil_order: attempt 1 completed"];
    begin().await.find(&night.order).await.shows(STEPS_MAX, &whole).await;
    begin().await.open("dead").await.shows(STEPS_MAX, &["Their errors, most frequent first", ERROR]).await;
    let delayed = "td a[href='/jobs?queue=email&state=delayed']";
    begin().await.click(delayed).await.shows(STEPS_MAX, &[night.delayed.as_str(), "(in "]).await;
    begin().await.shows(0, &["Dead"]).await;
    browser.until_figure("email", "Dead").await;
    vec![8, 9, 10, 11, 13, 14, 15, 16, 18, 4]
}

/// The question about a worker that was killed, while others live.
async fn about_a_lost_worker(browser: &Browser, base: &str, worker: &str) -> Vec<usize> {
    // The table is always there. Only a page that renews itself shows a row that comes.
    browser.visit(&format!("{base}/workers?live=on")).await;
    browser.until("told when the lost worker was seen", LOST, json!([worker])).await;
    let way = Way::begin(browser, base).await.open("workers").await;
    browser.until("told without renewal", LOST, json!([worker])).await;
    way.shows(STEPS_MAX, &["Lost within an hour", worker, "Last seen"]).await;
    vec![20]
}

/// Changes: with a reason, a preview and a confirmation.
async fn changes(browser: &Browser, base: &str, night: &Night) -> Vec<usize> {
    let begin = async || Way::begin(browser, base).await;
    let [one, _] = &night.dead;
    let redriven = begin().await.find(one).await.change(&form_of("redrive")).await;
    redriven.shows(CHANGE_STEPS_MAX, &["1 done, 0 skipped, 0 failed"]).await;
    let dead = begin().await.open("dead").await.click("td a[href*='reason=']").await;
    dead.change(&form_of("redrive")).await.shows(CHANGE_STEPS_MAX, &["done, 0 skipped, 0 failed"]).await;
    let queue = begin().await.click("td a[href='/queues/fulfilment']").await;
    queue.change(&form_of("pause")).await.shows(CHANGE_STEPS_MAX, &["1 done, 0 skipped, 0 failed"]).await;
    begin().await.open("audit").await.shows(STEPS_MAX, &["a question of the night", "pause"]).await;
    vec![22, 23, 24, 25]
}

/// Questions about queues without a consumer, to a console beside no other process.
async fn about_stuck_queues(browser: &Browser, base: &str) -> Vec<usize> {
    browser.visit(&format!("{base}/sign-in")).await;
    browser.fill("input[name=token]", TOKEN).await;
    browser.submit().await;
    comes(browser, base, "/", "Nobody consumes: ").await;
    browser.until_figure("email", "Oldest ready").await;
    for answer in ["Nobody consumes: ", "Oldest ready", "Ready"] {
        Way::begin(browser, base).await.shows(0, &[answer, "email"]).await;
    }
    vec![1, 2, 3]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_question_of_the_comparison_has_its_answer() {
    let _alone = alone().await;
    let Some(browser) = Browser::open().await else { return };
    let data = tempfile::tempdir().expect("a folder");
    let settings =
        [("ORDERWORKS_CONSOLE_SHOW_PAYLOADS", "true"), ("ORDERWORKS_PAYMENTS_TIMEOUT_MS", CHARGE_TIMEOUT_MS)];
    let lost = killed_worker(data.path()).await;
    let dev = Dev::start_with(data.path(), &settings).await;
    let queue = data.path().join("queue.db");
    let engine = SqliteEngine::open(&queue, Ambient::system()).await.expect("opens");
    browser.visit(&dev.ready.console_url).await;
    let (of_dev, night) = (base(&dev), Night::begin(&dev, &engine, data.path()).await);
    let mut answered = about_a_running_deployment(&browser, &of_dev, &night).await;
    answered.extend(about_jobs_and_orders(&browser, &of_dev, &night).await);
    answered.extend(changes(&browser, &of_dev, &night).await);
    answered.extend(about_a_lost_worker(&browser, &of_dev, &lost).await);
    assert!(dev.stop().await.success());

    publish(&engine, None).await;
    let (console, listen) = console_of_a_viewer(data.path()).await;
    answered.extend(about_stuck_queues(&browser, &format!("http://{listen}")).await);
    let answered: BTreeSet<usize> = answered.into_iter().collect();
    assert_eq!(answered, (1..=QUESTIONS).collect(), "each question is asked");
    console.stop().await;
    browser.close().await;
}
