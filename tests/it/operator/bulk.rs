//! Commands that change many jobs at once.

use std::time::Duration;

use serde_json::Value;

use super::{Operated, publish};

pub(super) async fn many_jobs_are_changed_by_an_operation(of: Operated) {
    let (dev, engine) = (of.dev(&[]).await, of.engine().await);
    let hour = Some(Duration::from_hours(1));
    for queue in ["email", "email", "email", "fulfilment"] {
        publish(&*engine, queue, hour).await;
    }
    for (args, wanted) in [
        (&["cancel", "--queue", "email"][..], "--why TEXT"),
        (&["cancel", "--queue", "mail", "--why", "a test"], "no queue mail"),
        (&["cancel", "--kind", "another", "--why", "a test"], "nothing matches"),
        (&["cancel", "--state", "dead", "--why", "a test"], "ready or delayed or running"),
        (&["move", "--to", "email", "--why", "a test"], "name the queue"),
    ] {
        let error = of.refused(&[&["control", "bulk"], args].concat()).await;
        assert!(error.contains(wanted), "{error}");
    }
    let none = of.json(&["inspect", "operations"]).await.0;
    assert_eq!(none.as_array().map(Vec::len), Some(0), "{none}");

    let delayed = ["inspect", "jobs", "--state", "delayed"];
    let why = ["--why", "a test", "--who", "ada"];
    let previewed = of.json(&[&["control", "bulk", "cancel", "--queue", "email"], &why[..]].concat()).await.0;
    assert_eq!((&previewed["state"], &previewed["counts"]["matched"]), (&"previewed".into(), &3.into()));
    assert_eq!(of.json(&delayed).await.0.as_array().map(Vec::len), Some(4), "a preview changes nothing");
    let id = previewed["id"].as_str().expect("an id");
    of.json(&["control", "bulk", "confirm", id]).await;
    let ended = of.until(&["inspect", "operations", id], |operation| operation["state"] == "done").await;
    assert_eq!((&ended["counts"]["done"], &ended["plan"]["who"]), (&3.into(), &"ada".into()), "{ended}");
    assert_eq!(of.json(&delayed).await.0.as_array().map(Vec::len), Some(1));
    assert!(dev.stop().await.success());

    // Without a scheduler: the command itself.
    let urgent = ["control", "bulk", "reprioritise", "--priority", "critical", "--queue", "fulfilment"];
    let ended = of.json(&[&urgent[..], &why[..], &["--yes", "--wait"]].concat()).await.0;
    assert_eq!((&ended["state"], &ended["counts"]["done"]), (&"done".into(), &1.into()), "{ended}");
    assert_eq!(of.json(&delayed).await.0[0]["envelope"]["priority"], "critical");
    let away = ["control", "bulk", "move", "--to", "email", "--queue", "fulfilment", "--why", "a test"];
    let previewed = of.json(&away).await.0;
    let id = previewed["id"].as_str().expect("an id");
    assert_eq!(of.json(&["control", "bulk", "cancel", id]).await.0["state"], "cancelled");
    assert!(of.refused(&["control", "bulk", "confirm", id]).await.contains("is cancelled"));
    assert_eq!(of.json(&delayed).await.0[0]["envelope"]["queue"], "fulfilment");

    let states = |listed: &Value| -> Vec<String> {
        let operations = listed.as_array().expect("a list").iter();
        operations.map(|operation| operation["state"].as_str().expect("a state").to_owned()).collect()
    };
    assert_eq!(states(&of.json(&["inspect", "operations"]).await.0), ["cancelled", "done", "done"]);
    let (ok, out, _) = of.run(&["inspect", "operations"]).await;
    assert!(ok && out.starts_with("ID") && out.contains("reprioritise") && out.contains("ada"), "{out}");
    let (ok, out, _) = of.run(&["inspect", "operations", id]).await;
    assert!(ok && out.contains("moves to the queue email") && out.contains("filter"), "{out}");
    of.close().await;
}
