//! Commands that change many jobs at once.

use std::time::Duration;

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use super::{Operated, publish};
use crate::util::Receiver;

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

pub(super) async fn given_up_webhooks_are_sent_again(of: Operated) {
    let dev = of.dev(&[]).await;
    let (merchant, receiver) = (dev.merchant(), Receiver::start().await);
    receiver.set_dead(true);
    let wanted = json!({ "url": receiver.url, "events": ["order.placed"] });
    let (status, endpoint) = merchant.send(Method::POST, "/v1/webhook_endpoints", Some(&wanted)).await;
    assert_eq!(status, StatusCode::CREATED, "{endpoint}");
    let path = format!("/v1/webhook_endpoints/{}", endpoint["id"].as_str().expect("an id"));
    let order = merchant.accepted("first", "pm_card_visa").await;

    // A retry finds its endpoint disabled, and ends.
    let ends = |number: usize| move |attempts: &Value| attempts.as_array().map(Vec::len) == Some(number);
    let deliveries = ["inspect", "attempts", "--kind", "deliver_webhook", "--outcome"];
    of.until(&[&deliveries[..], &["retried"]].concat(), ends(1)).await;
    let disabled = merchant.send(Method::PATCH, &path, Some(&json!({ "enabled": false }))).await;
    assert_eq!(disabled.0, StatusCode::OK, "{}", disabled.1);
    // Where an engine cannot list it, it starts by itself within seconds.
    of.run(&["control", "bulk", "retry", "--kind", "deliver_webhook", "--why", "a test", "--yes", "--wait"])
        .await;
    of.until(&[&deliveries[..], &["cancelled"]].concat(), ends(1)).await;
    receiver.set_dead(false);
    let enabled = merchant.send(Method::PATCH, &path, Some(&json!({ "enabled": true }))).await;
    assert_eq!(enabled.0, StatusCode::OK, "{}", enabled.1);

    let retry = ["control", "bulk", "retry", "--items", "webhooks", "--why", "the endpoint is back"];
    let (ok, out, err) = of.run(&[&retry[..], &["--subject", order.as_str()]].concat()).await;
    assert!(ok && out.contains("unless it was meanwhile") && out.contains("endpoint_disabled"), "{out}{err}");
    let ended = of.json(&[&retry[..], &["--error", "endpoint_disabled", "--yes", "--wait"]].concat()).await.0;
    assert_eq!((&ended["state"], &ended["counts"]["done"]), (&"done".into(), &1.into()), "{ended}");
    receiver.until(|taken| taken.len() == 1).await;
    let error = of.refused(&[&retry[..], &["--queue", "webhooks"]].concat()).await;
    assert!(error.contains("choose by subject"), "{error}");
    assert!(dev.stop().await.success());
    of.close().await;
}
