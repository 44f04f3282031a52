//! Commands and signals of an operator over real processes, on each queue engine: SQLite in the data folder, RabbitMQ.

mod bulk;
mod dead;
mod fair;
mod gate;
mod limits;
mod resize;

use std::{path::Path, sync::Arc, time::Duration};

use base::Ambient;
use jobs::{
    Engine, Envelope, Job, JobId,
    envelope::EnqueueOptions,
    job_store::SqliteJobStore,
    rabbitmq::{RabbitEngine, RabbitServer},
    sqlite::SqliteEngine,
};
use serde_json::Value;

use self::{
    bulk::{given_up_webhooks_are_sent_again, many_jobs_are_changed_by_an_operation},
    dead::{
        a_redrive_takes_each_job_once_though_it_dies_again, dead_jobs_are_dropped_on_purpose,
        dead_jobs_are_previewed_redriven_and_purged,
    },
    fair::merchants_are_the_keys_of_a_fair_queue,
    gate::{
        a_release_that_cannot_read_what_waits_is_refused, golden_payloads_of_the_release_before_are_read,
    },
    limits::mails_to_a_domain_wait_for_its_limit,
    resize::a_queue_is_resized_while_it_runs,
};
use crate::util::{Dev, PATIENCE, Unknown, Vhost, missing_broker, run_json, run_with};

/// The data folder and the engine of one test.
struct Operated {
    data: tempfile::TempDir,
    vhost: Option<Vhost>,
}

impl Operated {
    fn files() -> Self {
        Self { data: tempfile::tempdir().expect("a folder"), vhost: None }
    }

    async fn broker() -> Self {
        Self { vhost: Some(Vhost::create().await), ..Self::files() }
    }

    fn settings(&self) -> Vec<(&str, &str)> {
        let Some(vhost) = &self.vhost else { return Vec::new() };
        vec![("ORDERWORKS_ENGINES_QUEUE", "rabbitmq"), ("ORDERWORKS_RABBITMQ_URL", vhost.url())]
    }

    async fn dev(&self, more: &[(&str, &str)]) -> Dev {
        Dev::start_with(self.data.path(), &[&self.settings()[..], more].concat()).await
    }

    async fn run(&self, args: &[&str]) -> (bool, String, String) {
        // Standard error is to hold errors and remarks alone.
        let quiet = [("ORDERWORKS_LOG_FILTER", "off")];
        run_with(self.data.path(), &[&self.settings()[..], &quiet].concat(), args).await
    }

    /// The result of a command as JSON, and its remarks.
    async fn json(&self, args: &[&str]) -> (Value, String) {
        let (ok, out, err) = self.run(&[&["--json"], args].concat()).await;
        assert!(ok, "{args:?}: {err}");
        (serde_json::from_str(&out).unwrap_or_else(|e| panic!("{e}: {out}")), err)
    }

    /// Runs a command that must fail; returns its error.
    async fn refused(&self, args: &[&str]) -> String {
        let (ok, out, err) = self.run(args).await;
        assert!(!ok && out.is_empty(), "{args:?}: {out}");
        assert_eq!(err.trim().lines().count(), 1, "{err}");
        err
    }

    /// Repeats a command until its result satisfies `wanted`: counts and notes may lag.
    async fn until(&self, args: &[&str], wanted: impl Fn(&Value) -> bool) -> Value {
        let asking = async {
            loop {
                let (result, _) = self.json(args).await;
                if wanted(&result) {
                    return result;
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        tokio::time::timeout(PATIENCE, asking).await.unwrap_or_else(|_| panic!("never as wanted: {args:?}"))
    }

    /// Waits until a queue has these numbers of ready and dead jobs; returns its line.
    async fn until_queue(&self, queue: &str, ready: u64, dead: u64) -> Value {
        let line = |queues: &Value| {
            let lines = queues.as_array().expect("a list");
            lines.iter().find(|line| line["queue"] == queue).cloned().expect("is listed")
        };
        let wanted = |queues: &Value| {
            let line = line(queues);
            line["ready"] == ready && line["dead"] == dead
        };
        line(&self.until(&["inspect", "queues"], wanted).await)
    }

    async fn engine(&self) -> Arc<dyn Engine> {
        let (ambient, data) = (Ambient::system(), self.data.path());
        let Some(vhost) = &self.vhost else {
            return Arc::new(SqliteEngine::open(&data.join("queue.db"), ambient).await.expect("opens"));
        };
        let store = SqliteJobStore::open(&data.join("jobs.db"), ambient.clone()).await.expect("opens");
        let server = RabbitServer::at(vhost.url());
        Arc::new(RabbitEngine::new(server, "operator", Arc::new(store), ambient).expect("a good address"))
    }

    async fn close(self) {
        if let Some(vhost) = self.vhost {
            vhost.delete().await;
        }
    }
}

/// Publishes a job of an unknown kind without attempts left: its first run is its last.
async fn publish(engine: &dyn Engine, queue: &str, after: Option<Duration>) -> JobId {
    let ambient = Ambient::system();
    let options =
        EnqueueOptions { run_at: after.map(|after| ambient.now() + after), ..EnqueueOptions::default() };
    let envelope = Envelope::new(&Unknown, options, &ambient).expect("a job");
    let id = envelope.id;
    let (queue, attempt) = (queue.to_owned(), Unknown::MAX_ATTEMPTS);
    engine.publish(vec![Envelope { queue, attempt, ..envelope }]).await.expect("publishes");
    id
}

macro_rules! on_each_engine {
    ($($case:ident),+ $(,)?) => {
        mod sqlite {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() {
                super::$case(super::Operated::files()).await;
            })+
        }

        mod rabbitmq {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() {
                if let Some(why) = super::missing_broker() {
                    eprintln!("skipped: {why}");
                    return;
                }
                super::$case(super::Operated::broker().await).await;
            })+
        }
    };
}

on_each_engine!(
    dead_jobs_are_previewed_redriven_and_purged,
    a_redrive_takes_each_job_once_though_it_dies_again,
    dead_jobs_are_dropped_on_purpose,
    many_jobs_are_changed_by_an_operation,
    given_up_webhooks_are_sent_again,
    jobs_are_cancelled_and_started_by_id,
    a_second_term_gives_running_work_back,
    a_release_that_cannot_read_what_waits_is_refused,
    golden_payloads_of_the_release_before_are_read,
    a_queue_is_resized_while_it_runs,
    merchants_are_the_keys_of_a_fair_queue,
    mails_to_a_domain_wait_for_its_limit,
);

async fn jobs_are_cancelled_and_started_by_id(of: Operated) {
    let dev = of.dev(&[("ORDERWORKS_PAYMENTS_TIMEOUT_MS", "60000")]).await;
    let engine = of.engine().await;
    let served =
        |queues: &Value| queues.as_array().expect("a list").iter().all(|line| line["consumers"] == 1);
    of.until(&["inspect", "queues"], served).await;
    let hour = Some(Duration::from_hours(1));
    let (cancelled, started) = (
        publish(&*engine, "email", hour).await.to_string(),
        publish(&*engine, "email", hour).await.to_string(),
    );
    let unknown = JobId::fresh(&Ambient::system()).to_string();
    for verb in ["cancel", "retry"] {
        let error = of.refused(&["control", verb, &unknown]).await;
        assert!(error.contains(&unknown) && error.contains("unknown here"), "{error}");
    }
    assert!(of.refused(&["inspect", "job", &unknown]).await.contains(&unknown));

    let delayed = of.json(&["inspect", "jobs", "--state", "delayed"]).await.0;
    assert_eq!(delayed.as_array().map(Vec::len), Some(2), "{delayed}");
    assert_eq!(
        of.json(&["control", "cancel", &cancelled, "--reason", "a test"]).await.0["result"],
        "cancelled"
    );
    assert!(of.refused(&["control", "cancel", &cancelled]).await.contains(&cancelled), "no second time");
    assert_eq!(of.json(&["control", "retry", &started]).await.0["result"], "ready");
    of.until_queue("email", 0, 1).await;
    assert!(of.refused(&["control", "cancel", &started]).await.contains("it is dead"));

    let order = dev.merchant().accepted("slow", "pm_sandbox_timeout").await;
    let some = |jobs: &Value| jobs.as_array().is_some_and(|jobs| !jobs.is_empty());
    let running = of.until(&["inspect", "jobs", "--queue", "payments", "--state", "running"], some).await;
    assert_eq!(
        (&running[0]["state"], &running[0]["envelope"]["subject"]),
        (&"running".into(), &order.into())
    );
    let id = running[0]["envelope"]["id"].as_str().expect("an id");
    let shown = of.json(&["inspect", "job", id]).await.0;
    assert_eq!(shown["held"]["state"], "running", "{shown}");
    assert!(of.refused(&["control", "retry", id]).await.contains("it is running"));
    assert_eq!(of.json(&["control", "cancel", id]).await.0["result"], "cancel_requested");
    dev.kill().await;
    of.close().await;
}

/// Waits until the log of the processes over this folder contains these texts so often.
async fn logged(data: &Path, texts: &[&str], times: usize) {
    let reading = async {
        while texts.iter().map(|text| log_of(data).matches(text).count()).sum::<usize>() < times {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, reading).await.unwrap_or_else(|_| panic!("never logged: {texts:?}"));
}

fn log_of(data: &Path) -> String {
    std::fs::read_to_string(data.join("log")).expect("a log")
}

async fn a_second_term_gives_running_work_back(of: Operated) {
    // The call of the charge lasts for a quarter of a minute, and a stop would wait for it.
    let patient = [("ORDERWORKS_PAYMENTS_TIMEOUT_MS", "60000"), ("ORDERWORKS_WORKERS_DRAIN_SECONDS", "60")];
    let dev = of.dev(&patient).await;
    let id = dev.merchant().accepted("interrupted", "pm_sandbox_timeout").await;
    let some = |jobs: &Value| jobs.as_array().is_some_and(|jobs| !jobs.is_empty());
    of.until(&["inspect", "jobs", "--queue", "payments", "--state", "running"], some).await;
    dev.terminate().await;
    // The first idle queue to close: with a busy broker, the last one takes as long as the charge.
    logged(of.data.path(), &["worker stopped", "consumer close timed out"], 1).await;
    assert!(
        !log_of(of.data.path()).contains("immediate stop requested"),
        "the first TERM waits for the charge"
    );
    assert!(dev.stop().await.success(), "the second does not");
    logged(of.data.path(), &["immediate stop requested"], 1).await;
    logged(of.data.path(), &["worker stopped", "consumer close timed out"], 3).await;
    let attempts = of.json(&["inspect", "attempts", "--kind", "charge_payment"]).await.0;
    assert_eq!(attempts.as_array().map(Vec::len), Some(0), "no attempt is counted: {attempts}");

    let dev = of.dev(&[]).await;
    assert_eq!(dev.merchant().ended(&id).await["status"], "fulfilled", "the next start runs it again");
    assert!(dev.stop().await.success());
    of.close().await;
}

#[tokio::test]
async fn bench_reports_figures_of_this_machine() {
    let data = tempfile::tempdir().expect("a folder");
    let small = ["bench", "--embedded", "--orders", "20", "--callers", "2", "--jobs", "500"];
    let report = run_json(data.path(), &small).await;
    let figures = report["results"].as_array().expect("figures");
    for wanted in ["start", "memory_idle", "accept", "whole_order", "publish_bulk"] {
        let figure = figures.iter().find(|figure| figure["name"] == wanted).expect(wanted);
        assert!(figure["value"].as_f64().is_some_and(|value| value > 0.0), "{figure}");
    }
    assert_eq!(std::fs::read_dir(data.path()).expect("reads").count(), 0, "it leaves the data folder alone");
}
