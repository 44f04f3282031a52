//! Command line over a data folder: results, errors, exit statuses.

use std::os::unix::fs::PermissionsExt;

use reqwest::StatusCode;

use crate::util::{Dev, orderworks, run, run_json};

#[tokio::test]
async fn inspect_and_control_work_while_dev_runs() {
    let data = tempfile::tempdir().expect("a folder");
    let dev = Dev::start(data.path()).await;
    let merchant = dev.merchant();
    run_json(data.path(), &["control", "pause", "fulfilment"]).await;
    let id = merchant.accepted("held", "pm_card_visa").await;
    // The paused queue holds the order at `paid`; its fulfilment job waits in the queue.
    let held = loop {
        let held = run_json(data.path(), &["inspect", "jobs", "--queue", "fulfilment"]).await;
        if held.as_array().is_some_and(|jobs| !jobs.is_empty()) {
            break held;
        }
    };
    assert_eq!(held[0]["state"], "ready", "{held}");
    assert_eq!(merchant.get(&format!("/v1/orders/{id}")).await["status"], "paid");
    let queues = run_json(data.path(), &["inspect", "queues"]).await;
    let fulfilment = queues.as_array().expect("a list").iter().find(|q| q["queue"] == "fulfilment");
    assert_eq!(fulfilment.expect("is listed")["paused"], true);

    run_json(data.path(), &["control", "resume", "fulfilment"]).await;
    assert_eq!(merchant.ended(&id).await["status"], "fulfilled");
    let (ok, out, _) = run(data.path(), &["inspect", "queues"]).await;
    assert!(ok && out.starts_with("QUEUE"), "{out}");
    let workers = run_json(data.path(), &["inspect", "workers"]).await;
    assert_eq!(workers.as_array().map(Vec::len), Some(5), "one consumer per queue: {workers}");
    let limits = run_json(data.path(), &["inspect", "limits"]).await;
    assert_eq!(limits.as_array().map(Vec::len), Some(0), "none is set: {limits}");
    let (ok, out, _) = run(data.path(), &["inspect", "limits", "--name", "charges"]).await;
    assert!(ok && out.starts_with("LIMIT"), "{out}");
    assert!(dev.stop().await.success());
    let workers = run_json(data.path(), &["inspect", "workers"]).await;
    assert_eq!(workers.as_array().map(Vec::len), Some(0), "an orderly stop leaves no lease: {workers}");
}

#[tokio::test]
async fn a_job_that_is_not_there_is_an_error() {
    let data = tempfile::tempdir().expect("a folder");
    assert!(Dev::start(data.path()).await.stop().await.success());
    let unknown = "job_01900000-0000-7000-8000-000000000000";
    for args in
        [&["inspect", "job", unknown][..], &["control", "cancel", unknown], &["control", "retry", unknown]]
    {
        assert!(!run(data.path(), args).await.0, "{args:?}");
    }
    let (ok, _, err) = run(data.path(), &["control", "pause", "nonsense"]).await;
    assert!(!ok && err.contains("nonsense"), "{err}");
    let (ok, _, err) = run(data.path(), &["control", "purge", "email"]).await;
    assert!(!ok && err.contains("--yes"), "{err}");
}

#[tokio::test]
async fn a_folder_without_data_is_said_so() {
    let data = tempfile::tempdir().expect("a folder");
    let (ok, _, err) = run(data.path(), &["inspect", "queues"]).await;
    assert!(!ok && err.contains("orderworks dev"), "{err}");
    assert_eq!(std::fs::read_dir(data.path()).expect("reads").count(), 0, "looking creates nothing");
}

#[tokio::test]
async fn config_show_hides_secrets_and_gives_the_reference() {
    let data = tempfile::tempdir().expect("a folder");
    let mut command = orderworks(data.path());
    command.args(["config", "show"]).env("ORDERWORKS_MAIL_SMTP_URL", "smtps://user:canary@mail.example:465");
    let shown = command.output().await.expect("runs");
    let shown = String::from_utf8(shown.stdout).expect("UTF-8");
    assert!(shown.contains("listen") && !shown.contains("canary"), "{shown}");
    let (ok, reference, _) = run(data.path(), &["config", "show", "--defaults"]).await;
    assert!(ok && reference.contains("[checkout]"));
}

#[tokio::test]
async fn what_cannot_start_says_why_in_one_line_and_fails() {
    let data = tempfile::tempdir().expect("a folder");
    let dev = Dev::start(data.path()).await;
    let address = dev.ready.url.trim_start_matches("http://").to_owned();

    let other = tempfile::tempdir().expect("a folder");
    let (ok, _, err) = run(other.path(), &["dev", "--listen", &address]).await;
    assert!(!ok && err.contains(&address) && err.contains("in use"), "{err}");
    assert_eq!(err.trim().lines().count(), 1, "{err}");

    let (ok, _, err) = run(data.path(), &["dev", "--listen", "127.0.0.1:0"]).await;
    assert!(!ok && err.contains("another") && err.trim().lines().count() == 1, "{err}");

    let file = other.path().join("file");
    std::fs::write(&file, "").expect("writes");
    let (ok, _, err) = run(&file.join("data"), &["dev", "--listen", "127.0.0.1:0"]).await;
    assert!(!ok && err.contains("file/data") && err.trim().lines().count() == 1, "{err}");

    let config = other.path().join("bad.toml");
    std::fs::write(&config, "[server]\nlisten = 5\n").expect("writes");
    let config = config.to_str().expect("UTF-8");
    let (ok, _, err) = run(other.path(), &["dev", "--config", config]).await;
    assert!(!ok && err.contains("server.listen") && err.trim().lines().count() == 1, "{err}");

    let (ok, _, err) = run(other.path(), &["dev", "--listen", "127.0.0.1:0", "--pub-key", "short"]).await;
    assert!(!ok && err.contains("owk_pub_"), "{err}");
}

#[tokio::test]
async fn given_keys_are_used_and_kept_from_others() {
    let data = tempfile::tempdir().expect("a folder");
    let (public, secret) =
        ("owk_pub_0123456789abcdef0123456789abcdef", "owk_sec_fedcba9876543210fedcba9876543210");
    let (ok, _, err) = run(data.path(), &["migrate", "--demo-shop", "--sec-key", secret]).await;
    assert!(!ok && err.contains("--sec-key-file"), "a key is no argument, but of `dev`: {err}");
    let (file, missing) = (data.path().join("key"), data.path().join("none"));
    let (ok, _, err) =
        run(data.path(), &["migrate", "--demo-shop", "--sec-key-file", missing.to_str().expect("UTF-8")])
            .await;
    assert!(!ok && err.contains("none"), "{err}");
    for (text, is_key) in [("owk_sec_guess", false), (&*format!("{secret}\n"), true)] {
        std::fs::write(&file, text).expect("writes");
        let by_file =
            ["migrate", "--demo-shop", "--pub-key", public, "--sec-key-file", file.to_str().expect("UTF-8")];
        let (ok, _, err) = run(data.path(), &by_file).await;
        assert_eq!(ok, is_key, "{err}");
        assert!(!err.contains("guess"), "{err}");
    }
    let dev = Dev::start(data.path()).await;
    let mode = std::fs::metadata(data.path().join("demo-keys.json")).expect("is there").permissions().mode();
    assert_eq!(mode & 0o077, 0);
    assert_eq!((&*dev.ready.publishable_key, &*dev.ready.secret_key), (public, secret), "those given before");
    dev.merchant().get_list("/v1/orders").await;
    let stranger = crate::util::Client::new(&dev.ready.url, "owk_sec_0123456789abcdef0123456789abcdef");
    let (status, body) = stranger.send(reqwest::Method::GET, "/v1/orders", None).await;
    assert_eq!((status, body["code"].as_str()), (StatusCode::UNAUTHORIZED, Some("unauthorized")));
}
