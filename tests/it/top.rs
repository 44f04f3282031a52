//! `orderworks top` in real use: one frame, lines of JSON, and the view on a terminal that `script` (util-linux) makes.

use std::{path::Path, process::Stdio};

use serde_json::Value;
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, Lines},
    process::{Child, ChildStdin, ChildStdout, Command},
    time::timeout,
};

use crate::util::{
    Dev, PATIENCE, Role, TestServers, absent_broker, alone, orderworks, rabbitmq_at, run, run_json, run_with,
};

/// What the shell on the terminal runs: the process id stays that of the shell.
const ON_TERMINAL: &str =
    r#"stty rows 40 cols 120; echo $$ >"$FOLDER/top.pid"; exec "$BINARY" --data "$FOLDER" top --every 1"#;
const ENTERS: &str = "\u{1b}[?1049h";
const LEAVES: &str = "\u{1b}[?1049l";
/// How colours begin.
const COLOUR: &str = "\u{1b}[38;5;";

/// `orderworks top` on a terminal of its own.
struct Terminal {
    script: Child,
    keys: ChildStdin,
    output: ChildStdout,
    written: Vec<u8>,
}

impl Terminal {
    fn open(data: &Path, no_color: &str) -> Self {
        let mut command = Command::new("script");
        // Quiet, with the exit status of the command, unbuffered.
        command.args(["-q", "-e", "-f", "-c", ON_TERMINAL, "/dev/null"]);
        command.env("BINARY", orderworks(data).as_std().get_program()).env("FOLDER", data);
        command.env("SHELL", "/bin/sh").env("TERM", "xterm-256color").env("NO_COLOR", no_color);
        command.env_remove("ORDERWORKS_CONFIG").stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut script = command.kill_on_drop(true).spawn().expect("spawns");
        let (keys, output) = (script.stdin.take().expect("piped"), script.stdout.take().expect("piped"));
        Self { script, keys, output, written: Vec::new() }
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.written).into_owned()
    }

    /// Waits until what was written is as wanted.
    async fn until(&mut self, wanted: impl Fn(&str) -> bool) {
        let reading = async {
            let mut bytes = [0; 4096];
            while !wanted(&self.text()) {
                let read = self.output.read(&mut bytes).await.expect("reads");
                assert!(read > 0, "it has ended: {}", self.text());
                self.written.extend_from_slice(&bytes[..read]);
            }
        };
        let done = timeout(PATIENCE, reading).await;
        assert!(done.is_ok(), "not shown: {}", self.text());
    }

    /// Presses a key, and waits until this text is written after it.
    async fn press(&mut self, key: &str, wanted: &str) {
        self.written.clear();
        self.send(key).await;
        self.until(|text| text.contains(wanted)).await;
    }

    async fn send(&mut self, key: &str) {
        self.keys.write_all(key.as_bytes()).await.expect("writes");
        self.keys.flush().await.expect("writes");
    }

    /// Waits for the end: it must succeed and leave the screen.
    async fn ends(mut self) {
        let ended = timeout(PATIENCE, self.output.read_to_end(&mut self.written)).await;
        ended.expect("ends in time").expect("reads");
        let status = timeout(PATIENCE, self.script.wait()).await.expect("ends in time").expect("waits");
        let text = self.text();
        assert!(status.success(), "{status}: {text}");
        assert!(text.contains(LEAVES), "{text}");
    }
}

/// The next line of JSON.
async fn next(lines: &mut Lines<BufReader<ChildStdout>>) -> Value {
    let line = timeout(PATIENCE, lines.next_line()).await.expect("in time").expect("reads").expect("a line");
    serde_json::from_str(&line).unwrap_or_else(|e| panic!("{e}: {line}"))
}

/// Starts `top --json` with a look a second.
fn looks(data: &Path, settings: &[(&str, &str)]) -> (Child, Lines<BufReader<ChildStdout>>) {
    let mut command = orderworks(data);
    command.args(["--json", "top", "--every", "1"]).envs(settings.iter().copied());
    let mut top = command.stdout(Stdio::piped()).kill_on_drop(true).spawn().expect("spawns");
    let lines = BufReader::new(top.stdout.take().expect("piped")).lines();
    (top, lines)
}

async fn ends_well(mut top: Child) {
    let status = timeout(PATIENCE, top.wait()).await.expect("ends in time").expect("waits");
    assert!(status.success(), "{status}");
}

#[tokio::test]
async fn one_frame_is_plain_text_and_looks_are_lines_of_json() {
    let data = tempfile::tempdir().expect("a folder");
    let (ok, _, err) = run(data.path(), &["top", "--once"]).await;
    assert!(!ok && err.contains("orderworks dev"), "{err}");
    assert_eq!(std::fs::read_dir(data.path()).expect("reads").count(), 0, "looking creates nothing");
    for every in ["0", "61", "x"] {
        assert!(!run(data.path(), &["top", "--every", every]).await.0, "{every}");
    }
    let dev = Dev::start(data.path()).await;
    // Not only by its option: an output that is no terminal gets one frame.
    for args in [&["top", "--once"][..], &["top"]] {
        let (ok, out, err) = run(data.path(), args).await;
        assert!(ok, "{err}");
        for wanted in ["QUEUE", "payments", "housekeeping", "outbox ", "WORKER", "embedded", "STATE"] {
            assert!(out.contains(wanted), "{wanted}: {out}");
        }
        assert!(!out.contains('\u{1b}'), "{out}");
    }
    let look = run_json(data.path(), &["top", "--once"]).await;
    let payments = look["queues"].as_array().expect("a list").iter().find(|q| q["queue"] == "payments");
    let payments = payments.expect("is listed");
    assert_eq!((&payments["consumers"], &payments["desired_workers"]), (&1.into(), &1.into()), "{look}");
    assert!(payments["ended_per_second"].is_null(), "there is no look before: {look}");
    assert_eq!((&look["outbox"]["set_aside"], &look["away"]), (&0.into(), &Value::Null), "{look}");

    let (top, mut lines) = looks(data.path(), &[]);
    next(&mut lines).await;
    let second = next(&mut lines).await;
    assert!(second["queues"][0]["ended_per_second"].is_number(), "{second}");
    // As with `top --json | head -2`.
    drop(lines);
    ends_well(top).await;
    assert!(dev.stop().await.success());
}

#[tokio::test]
async fn an_order_is_seen_passing_on_a_terminal() {
    let data = tempfile::tempdir().expect("a folder");
    let dev = Dev::start(data.path()).await;
    run_json(data.path(), &["control", "pause", "fulfilment"]).await;
    let mut terminal = Terminal::open(data.path(), "");
    terminal.until(|text| text.contains(ENTERS) && text.contains("PAUSED: fulfilment")).await;
    assert!(terminal.text().contains(COLOUR), "{}", terminal.text());
    let merchant = dev.merchant();
    let id = merchant.accepted("one", "pm_card_visa").await;
    // The paused queue holds the job of the order: its first number is 1.
    let holds_one = |text: &str| text.split(" fulfilment ").any(|rest| rest.trim_start().starts_with("1 "));
    terminal.until(holds_one).await;
    terminal.press("?", "pause this view, not the queue").await;
    terminal.press("?", "READY").await;
    terminal.press("s", "queues by name").await;
    terminal.press("\r", "running jobs of email").await;
    terminal.press("j", "running jobs of fulfilment").await;
    terminal.press("\r", "queues by name").await;
    terminal.press("p", "VIEW PAUSED").await;
    run_json(data.path(), &["control", "resume", "fulfilment"]).await;
    assert_eq!(merchant.ended(&id).await["status"], "fulfilled");
    terminal.send("q").await;
    terminal.ends().await;
    assert!(dev.stop().await.success());
}

#[tokio::test]
async fn a_signal_leaves_the_terminal_as_it_was() {
    let data = tempfile::tempdir().expect("a folder");
    let dev = Dev::start(data.path()).await;
    run_json(data.path(), &["control", "pause", "email"]).await;
    let mut terminal = Terminal::open(data.path(), "1");
    terminal.until(|text| text.contains("PAUSED: email")).await;
    assert!(!terminal.text().contains(COLOUR), "{}", terminal.text());
    let process = std::fs::read_to_string(data.path().join("top.pid")).expect("a process id");
    assert!(Command::new("kill").args(["-TERM", process.trim()]).status().await.expect("runs").success());
    terminal.ends().await;
    assert!(dev.stop().await.success());
}

#[tokio::test]
async fn a_broker_that_is_away_is_told_and_ends_no_view() {
    let data = tempfile::tempdir().expect("a folder");
    let away = absent_broker();
    let settings = rabbitmq_at(&away);
    // Makes the files of the stores.
    let (relay, _) = Role::relay(data.path(), &settings).await;
    let (ok, _, err) = run_with(data.path(), &settings, &["top", "--once"]).await;
    assert!(!ok && err.contains("rabbitmq"), "{err}");
    let (top, mut lines) = looks(data.path(), &settings);
    for _ in 0..2 {
        let line = next(&mut lines).await;
        assert!(line["away"].as_str().is_some_and(|why| why.contains("rabbitmq")), "{line}");
    }
    drop(lines);
    ends_well(top).await;
    relay.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_shows_queues_and_workers_over_servers() {
    let _alone = alone().await;
    let Some(stage) = TestServers::open().await else { return };
    let (api, _) = stage.api(&[]).await;
    let worker = stage.role(&["worker"]);
    let started = std::time::Instant::now();
    let look = loop {
        let look = stage.command(&[], &["--json", "top", "--once"]).await;
        let look: Value = serde_json::from_str(&look).expect("is JSON");
        if look["workers"].as_array().is_some_and(|workers| workers.len() >= 4) {
            break look;
        }
        assert!(started.elapsed() < PATIENCE, "{look}");
    };
    assert_eq!((&look["engine"], &look["away"]), (&"rabbitmq".into(), &Value::Null), "{look}");
    assert!(look["outbox"]["messages"].is_number(), "{look}");
    let shown = stage.command(&[], &["top", "--once"]).await;
    for wanted in ["rabbitmq", "payments", "webhooks", "worker processes 1", "OLDEST"] {
        assert!(shown.contains(wanted), "{wanted}: {shown}");
    }
    for role in [api, worker] {
        role.stop().await;
    }
    stage.close().await;
}
