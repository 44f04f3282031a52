//! The list of workers, and queues that are resized while they run.

use serde_json::{Value, json};

use super::Operated;

const WORKERS: [&str; 2] = ["inspect", "workers"];

/// The note about a queue in the list of workers; null while there is none.
fn note<'a>(workers: &'a Value, queue: &str) -> &'a Value {
    let line = workers.as_array().expect("a list").iter().find(|line| line["queue"] == queue);
    line.map_or(&Value::Null, |line| &line["note"])
}

/// Waits until the note about the queue of payments has this value.
async fn noted(of: &Operated, field: &str, wanted: u64) -> Value {
    note(&of.until(&WORKERS, |workers| note(workers, "payments")[field] == wanted).await, "payments").clone()
}

pub(super) async fn a_queue_is_resized_while_it_runs(of: Operated) {
    let patient = [("ORDERWORKS_PAYMENTS_TIMEOUT_MS", "60000")];
    let dev = of.dev(&patient).await;
    let in_contact = |workers: &Value| {
        let lines = workers.as_array().expect("a list");
        lines.len() == 5 && lines.iter().all(|line| !line["note"]["contact_at"].is_null())
    };
    let listed = of.until(&WORKERS, in_contact).await;
    for line in listed.as_array().expect("a list") {
        let note = &line["note"];
        assert_eq!(
            (&note["worker"], &note["release"]),
            (&json!("embedded"), &json!(env!("CARGO_PKG_VERSION")))
        );
        assert_eq!((&note["slots"], &note["trouble"]), (&note["configured"], &Value::Null), "{line}");
    }
    let (ok, out, _) = of.run(&WORKERS).await;
    assert!(ok && out.starts_with("WORKER") && out.contains("embedded") && out.contains("0/16"), "{out}");

    let error = of.refused(&["control", "resize", "paymens=3"]).await;
    assert!(error.contains("no queue paymens") && error.contains("payments"), "{error}");
    let error = of.refused(&["control", "resize", "payments=3", "--worker", "elsewhere-1"]).await;
    assert!(error.contains("no worker elsewhere-1 of payments; there are: embedded"), "{error}");
    let (ok, _, error) = of.run(&["control", "resize", "payments=0"]).await;
    assert!(!ok && error.contains("control pause payments"), "{error}");

    let resized = of.json(&["control", "resize", "payments=1"]).await.0;
    assert_eq!(resized, json!({ "queue": "payments", "worker": null, "slots": 1 }));
    noted(&of, "slots", 1).await;
    let queues = of.json(&["inspect", "queues"]).await.0;
    let payments = queues.as_array().expect("a list").iter().find(|line| line["queue"] == "payments");
    assert_eq!(payments.expect("is listed")["slots"], 1, "{queues}");
    // Each charge waits for an answer.
    for order in ["first", "second"] {
        dev.merchant().accepted(order, "pm_sandbox_timeout").await;
    }
    noted(&of, "used", 1).await;
    let told = |running: &Value| running[0]["worker"] == "embedded" && running[0]["since"].is_string();
    of.until(&["inspect", "running", "--queue", "payments"], told).await;
    of.json(&["control", "resize", "payments=2", "--worker", "embedded/payments"]).await;
    let before = noted(&of, "used", 2).await;
    assert_eq!((&before["slots"], &before["configured"]), (&json!(2), &json!(16)), "{before}");
    of.json(&["control", "resize", "payments=default", "--worker", "embedded"]).await;
    let smaller = noted(&of, "slots", 1).await;
    assert_eq!(smaller["used"], 2, "what runs goes on: {smaller}");

    dev.kill().await;
    let dev = of.dev(&patient).await;
    let restarted = |workers: &Value| {
        let note = note(workers, "payments");
        !note.is_null() && note["started_at"] != before["started_at"]
    };
    let workers = of.until(&WORKERS, restarted).await;
    assert_eq!(note(&workers, "payments")["slots"], 1, "from the start, until it is ended: {workers}");
    of.json(&["control", "resize", "payments=default"]).await;
    noted(&of, "slots", 16).await;
    dev.kill().await;
    of.close().await;
}
