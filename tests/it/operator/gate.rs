//! The payload gate before a rollout: what waits and cannot be read by this release is told, and refuses it.

use std::{process::Stdio, time::Duration};

use base::Ambient;
use jobs::{Envelope, envelope::EnqueueOptions};
use serde_json::{Value, json, value::to_raw_value};
use store::domain::CustomerId;
use workers::jobs::SendWelcome;

use super::Operated;
use crate::util::orderworks;

/// Exit status, standard output and standard error of a command.
async fn status(of: &Operated, args: &[&str]) -> (Option<i32>, String, String) {
    let mut command = orderworks(of.data.path());
    command.args(args).envs(of.settings()).env("ORDERWORKS_LOG_FILTER", "off").stdin(Stdio::null());
    let done = command.output().await.expect("runs");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("UTF-8");
    (done.status.code(), text(done.stdout), text(done.stderr))
}

/// The report of a check with this exit status.
async fn report(of: &Operated, args: &[&str], wanted: i32) -> Value {
    let (code, out, err) = status(of, &[&["--json", "jobs", "check"], args].concat()).await;
    assert_eq!(code, Some(wanted), "{args:?}: {out}{err}");
    assert!(!out.contains("canary"), "nothing of a payload: {out}");
    serde_json::from_str(&out).unwrap_or_else(|error| panic!("{error}: {out}"))
}

pub(super) async fn a_release_that_cannot_read_what_waits_is_refused(of: Operated) {
    if of.vhost.is_none() {
        let (code, _, err) = status(&of, &["jobs", "check"]).await;
        assert!(code == Some(2) && err.contains("there is no data"), "{err}");
    }
    assert!(of.dev(&[]).await.stop().await.success());
    let (engine, ambient) = (of.engine().await, Ambient::system());
    let job = || {
        let job = SendWelcome { customer: CustomerId::fresh(&ambient), domain: None };
        let envelope = Envelope::new(&job, EnqueueOptions::default(), &ambient).expect("a job");
        let run_at = Some(ambient.now() + Duration::from_hours(1));
        Envelope { run_at, ..envelope }
    };
    engine.publish(vec![job()]).await.expect("publishes");
    assert_eq!(report(&of, &[], 0).await["passed"], true);

    let unknown = Envelope { kind: "no_such_kind".to_owned(), ..job() };
    let newer = Envelope { version: 2, ..job() };
    let broken = || Envelope { payload: to_raw_value("canary").expect("a payload"), ..job() };
    let told = [unknown, broken(), newer];
    let ids = told.each_ref().map(|envelope| envelope.id.to_string());
    engine.publish(told.into()).await.expect("publishes");
    let refused = report(&of, &[], 1).await;
    let groups = refused["unreadable"].as_array().expect("a list");
    assert_eq!((groups.len(), &refused["passed"]), (3, &json!(false)), "{refused}");
    for (group, (kind, version, id)) in groups.iter().zip([
        ("no_such_kind", 1, &ids[0]),
        ("send_welcome", 1, &ids[1]),
        ("send_welcome", 2, &ids[2]),
    ]) {
        let found = (&group["kind"], &group["version"], &group["example"], &group["count"]);
        assert_eq!(found, (&json!(kind), &json!(version), &json!(id), &json!(1)), "{refused}");
    }
    let (code, out, _) = status(&of, &["jobs", "check"]).await;
    assert_eq!(code, Some(1));
    for text in ["no_such_kind", "no job of this kind", "newest version known here is 1", "not all readable"]
    {
        assert!(out.contains(text) && !out.contains("canary"), "{out}");
    }

    engine.publish(vec![Envelope { run_at: None, ..broken() }]).await.expect("publishes");
    of.until_queue("email", 1, 0).await;
    let count = |report: &Value| report["unreadable"][1]["count"].as_u64();
    let unread = |report: &Value| {
        let queues = report["unread"].as_array().expect("a list");
        queues.iter().any(|queue| queue["queue"] == "email")
    };
    let listed = report(&of, &[], 1).await;
    let lists_ready = engine.capabilities().lists_ready;
    let wanted = if lists_ready { (Some(2), false) } else { (Some(1), true) };
    assert_eq!((count(&listed), unread(&listed)), wanted, "never passed over in silence: {listed}");
    let sampled = report(&of, &["--sample", "10"], 1).await;
    assert_eq!((count(&sampled), unread(&sampled)), (Some(2), false), "{sampled}");
    of.until_queue("email", 1, 0).await;
    of.close().await;
}

pub(super) async fn golden_payloads_of_the_release_before_are_read(of: Operated) {
    assert!(of.dev(&[]).await.stop().await.success());
    let (code, golden, err) = status(&of, &["jobs", "golden"]).await;
    assert_eq!(code, Some(0), "{err}");
    let file = of.data.path().join("golden.json");
    let path = file.to_str().expect("UTF-8").to_owned();
    std::fs::write(&file, &golden).expect("writes");
    let mut golden: Value = serde_json::from_str(&golden).expect("JSON");
    let number = golden.as_array().expect("a list").len();
    let passed = report(&of, &["--golden", &path], 0).await;
    assert_eq!((&passed["golden"], number > 0), (&json!(number), true), "{passed}");

    golden[0]["version"] = json!(7);
    golden[1]["kind"] = json!("no_such_kind");
    golden[2]["payload"] = json!({ "order": "canary" });
    std::fs::write(&file, golden.to_string()).expect("writes");
    let refused = report(&of, &["--golden", &path], 1).await;
    assert_eq!(refused["golden_unreadable"].as_array().map(Vec::len), Some(3), "{refused}");
    std::fs::write(&file, "{").expect("writes");
    let (code, _, err) = status(&of, &["jobs", "check", "--golden", &path]).await;
    assert!(code == Some(2) && err.contains("golden.json"), "{err}");
    of.close().await;
}
