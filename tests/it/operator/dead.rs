//! Commands for dead jobs: previews, redrives, purges, drops.

use base::Ambient;
use jobs::{Envelope, Job, envelope::EnqueueOptions};
use serde_json::Value;
use workers::jobs::SendEmail;

use super::{Operated, Unknown, publish};

pub(super) async fn dead_jobs_are_previewed_redriven_and_purged(of: Operated) {
    let (dev, engine) = (of.dev(&[]).await, of.engine().await);
    let mut mails = [publish(&*engine, "email", None).await, publish(&*engine, "email", None).await];
    mails.sort_unstable();
    let other = publish(&*engine, "fulfilment", None).await.to_string();
    let ids = |jobs: &Value| -> Vec<String> {
        let ids = jobs.as_array().expect("a list").iter();
        ids.map(|id| id.as_str().expect("an id").to_owned()).collect()
    };
    let all_dead = |jobs: &Value| jobs.as_array().map(Vec::len) == Some(3);
    of.until(&["inspect", "jobs", "--state", "dead"], all_dead).await;
    let dead = of.json(&["inspect", "job", &other]).await.0;
    assert_eq!(dead["held"]["dead"]["reason"], "unknown_kind", "{dead}");

    assert_eq!(of.json(&["control", "retry", &other]).await.0["result"], "ready");
    // With fresh attempts: it is retried, as a newer worker may come.
    let attempts = ["inspect", "attempts", "--queue", "fulfilment"];
    of.until(&attempts, |attempts| attempts[0]["outcome"] == "retried").await;
    of.until_queue("fulfilment", 0, 0).await;
    assert!(dev.stop().await.success());
    let (queues, remarks) = of.json(&["inspect", "queues"]).await;
    assert!(queues.as_array().expect("a list").iter().all(|line| line["consumers"] == 0), "{queues}");
    assert!(
        remarks.contains("no worker consumes: email, fulfilment, housekeeping, payments, webhooks"),
        "{remarks}"
    );

    // No process consumes, so what is redriven stays in its queue.
    let wanted: Vec<String> = mails.iter().map(ToString::to_string).collect();
    for (args, dry_run) in [
        (&["redrive", "--queue", "email", "--dry-run"][..], true),
        (&["redrive", "--queue", "email", "--reason", "unknown_kind", "--since", "1h"][..], false),
    ] {
        let result = of.json(args).await.0;
        let mut redriven = ids(&result["jobs"]);
        redriven.sort_unstable();
        assert_eq!(
            (&redriven, result["count"].as_u64(), &result["dry_run"]),
            (&wanted, Some(2), &dry_run.into())
        );
        let (ready, dead) = if dry_run { (0, 2) } else { (2, 0) };
        let line = of.until_queue("email", ready, dead).await;
        assert_eq!(line["oldest_ready_at"].is_null(), dry_run, "the age of a backlog is known: {line}");
    }
    let (listed, remarks) = of.json(&["inspect", "jobs", "--queue", "email", "--state", "ready"]).await;
    if engine.capabilities().lists_ready {
        assert_eq!((listed.as_array().map(Vec::len), &*remarks), (Some(2), ""));
    } else {
        assert!(remarks.contains("email: 2 ready not listed"), "never an empty answer: {listed} {remarks}");
    }

    for args in [
        &["redrive", "--queue", "mail"][..],
        &["inspect", "jobs", "--queue", "mail"],
        &["inspect", "attempts", "--queue", "mail"],
    ] {
        let error = of.refused(args).await;
        assert!(error.contains("no queue mail") && error.contains("email"), "{error}");
    }

    let error = of.refused(&["control", "purge", "email"]).await;
    assert!(error.contains("2 waiting jobs") && error.contains("--yes"), "{error}");
    assert_eq!(of.json(&["control", "purge", "email", "--yes"]).await.0["dropped"], 2);
    of.until_queue("email", 0, 0).await;
    of.close().await;
}

pub(super) async fn a_redrive_takes_each_job_once_though_it_dies_again(of: Operated) {
    const JOBS: usize = 120;
    let (dev, engine, ambient) = (of.dev(&[]).await, of.engine().await, Ambient::system());
    // Of a known kind with a payload that does not read: each run is its last, also with fresh attempts.
    let doomed = || {
        let envelope = Envelope::new(&Unknown, EnqueueOptions::default(), &ambient).expect("a job");
        Envelope { kind: SendEmail::KIND.to_owned(), version: SendEmail::VERSION, ..envelope }
    };
    let envelopes: Vec<Envelope> = std::iter::repeat_with(doomed).take(JOBS).collect();
    let mut wanted: Vec<String> = envelopes.iter().map(|envelope| envelope.id.to_string()).collect();
    wanted.sort_unstable();
    engine.publish(envelopes).await.expect("publishes");
    of.until_queue("email", 0, JOBS as u64).await;

    // The worker runs, so that each is dead again before the next slice is taken.
    let (result, remarks) = of.json(&["redrive", "--queue", "email", "--rate", "50"]).await;
    let redriven = result["jobs"].as_array().expect("a list").iter();
    let mut redriven: Vec<&str> = redriven.map(|id| id.as_str().expect("an id")).collect();
    redriven.sort_unstable();
    assert_eq!(redriven, wanted.iter().map(String::as_str).collect::<Vec<_>>());
    assert_eq!(result["count"], JOBS);
    assert!(remarks.contains("50 dead jobs redriven") && remarks.contains("120 dead jobs"), "{remarks}");
    of.until_queue("email", 0, JOBS as u64).await;
    let twice = |attempts: &Value| attempts.as_array().map(Vec::len) == Some(2 * JOBS);
    of.until(&["inspect", "attempts", "--outcome", "dead", "--limit", "1000"], twice).await;
    assert!(dev.stop().await.success());
    of.close().await;
}

pub(super) async fn dead_jobs_are_dropped_on_purpose(of: Operated) {
    let (dev, engine) = (of.dev(&[]).await, of.engine().await);
    for _ in 0..3 {
        publish(&*engine, "email", None).await;
    }
    let other = publish(&*engine, "fulfilment", None).await.to_string();
    of.until_queue("email", 0, 3).await;
    of.until_queue("fulfilment", 0, 1).await;
    assert!(dev.stop().await.success());

    let error = of.refused(&["control", "cancel", &other]).await;
    assert!(error.contains("it is dead") && error.contains("control drop"), "{error}");
    for (options, dropped, left) in [
        (&["--dry-run"][..], 3, 3),
        (&["--before", "2020-01-01"][..], 0, 3),
        (&["--kind", "another_kind"][..], 0, 3),
        (&["--kind", Unknown::KIND][..], 3, 0),
    ] {
        let (result, _) = of.json(&[&["control", "drop", "--queue", "email"], options].concat()).await;
        assert_eq!(result["dropped"], dropped, "{result}");
        of.until_queue("email", 0, left).await;
    }
    of.until_queue("fulfilment", 0, 1).await;
    assert!(of.refused(&["control", "drop", "--queue", "mail"]).await.contains("no queue mail"));
    of.close().await;
}
