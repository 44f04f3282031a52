//! Throughput and latency of whole orders: a server in its own process, orders over HTTP, until each is fulfilled.

use std::{
    path::Path,
    process::Stdio,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use bench_report::{Report, kib_to_mib, peak_kib, resident_kib};
use indicatif::{ProgressBar, ProgressStyle};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
};

use crate::{cli::BenchArgs, commands::dev::Ready};

/// Time without requests before the server's idle memory is read.
const IDLE: Duration = Duration::from_secs(2);
/// Poll interval for unfinished orders. Bounds the error of the whole-order figure.
const ASK_EVERY: Duration = Duration::from_millis(20);
/// Longest run; a server that makes no progress is given up.
const RUN_MAX: Duration = Duration::from_mins(10);

pub(super) async fn measure(args: &BenchArgs, folder: &Path, report: &mut Report) -> anyhow::Result<()> {
    let began = Instant::now();
    let (mut child, ready) = start(&folder.join("dev")).await?;
    report.add("start", began.elapsed().as_secs_f64() * 1e3, "ms", Some(1_000.0));
    let pid = child.id().context("the server has ended")?;
    tokio::time::sleep(IDLE).await;
    report.add("memory_idle", kib_to_mib(resident_kib(pid)), "MiB", Some(80.0));

    // The requests are plain HTTP, but a client built with TLS needs a crypto provider.
    drop(rustls::crypto::ring::default_provider().install_default());
    let client = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(30)).build()?;
    // One order first, so that connections and caches are warm on both sides.
    place(&client, &ready, 0).await?;
    let began = Instant::now();
    let taken = place_all(args, &client, &ready).await?;
    report.add("accept", f64::from(args.orders) / began.elapsed().as_secs_f64(), "orders/s", None);
    report.add_latencies(["accept_p50", "accept_p99"], taken);
    until_done(&client, &ready, began).await?;
    report.add("whole_order", f64::from(args.orders) / began.elapsed().as_secs_f64(), "orders/s", None);
    report.add("memory_peak", kib_to_mib(peak_kib(pid)), "MiB", None);
    // A single caller on an idle server.
    let mut calm = Vec::new();
    for number in 1..=100 {
        calm.push(place(&client, &ready, args.orders + number).await?);
    }
    report.add_latencies(["accept_calm_p50", "accept_calm_p99"], calm);
    child.kill().await.context("cannot stop the server")
}

async fn start(data: &Path) -> anyhow::Result<(Child, Ready)> {
    let mut child = Command::new(std::env::current_exe()?)
        .arg("--data")
        .arg(data)
        .args(["dev", "--json", "--listen", "127.0.0.1:0"])
        .envs([
            ("ORDERWORKS_CHECKOUT_PER_KEY_PER_SECOND", "1000000"),
            ("ORDERWORKS_CHECKOUT_PER_IP_PER_SECOND", "1000000"),
            ("ORDERWORKS_CHECKOUT_BURST", "1000000"),
            ("ORDERWORKS_LOG_FILTER", "warn"),
        ])
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()?;
    let out = child.stdout.take().context("the server has no output")?;
    let line =
        BufReader::new(out).lines().next_line().await?.context("the server ended before it was ready")?;
    Ok((child, serde_json::from_str(&line)?))
}

async fn place(client: &reqwest::Client, ready: &Ready, number: u32) -> anyhow::Result<Duration> {
    let body = serde_json::json!({
        "customer": { "email": "bench@example.com", "name": "Bench" },
        "currency": "EUR",
        "items": [{ "sku": "CUP-ENAMEL", "quantity": 1 }, { "sku": "PEN-BRASS", "quantity": 1 }],
        "payment_method": "pm_card_visa",
    });
    let request = client
        .post(format!("{}/v1/orders", ready.url))
        .bearer_auth(&ready.publishable_key)
        .header("idempotency-key", format!("bench-{number}"))
        .json(&body);
    let began = Instant::now();
    let answer = request.send().await?;
    let (taken, status) = (began.elapsed(), answer.status());
    if status != reqwest::StatusCode::ACCEPTED {
        bail!("order {number} was answered {status}: {}", answer.text().await?);
    }
    answer.bytes().await?;
    Ok(taken)
}

async fn place_all(
    args: &BenchArgs,
    client: &reqwest::Client,
    ready: &Ready,
) -> anyhow::Result<Vec<Duration>> {
    let bar = ProgressBar::new(u64::from(args.orders))
        .with_style(ProgressStyle::with_template("placing orders {wide_bar} {pos}/{len}")?);
    let next = Arc::new(AtomicU32::new(1));
    let mut callers = tokio::task::JoinSet::new();
    for _ in 0..args.callers {
        let (client, ready, next, bar, last) =
            (client.clone(), ready.clone(), next.clone(), bar.clone(), args.orders);
        callers.spawn(async move {
            let mut taken = Vec::new();
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number > last {
                    return anyhow::Ok(taken);
                }
                taken.push(place(&client, &ready, number).await?);
                bar.inc(1);
            }
        });
    }
    let mut taken = Vec::new();
    while let Some(caller) = callers.join_next().await {
        taken.extend(caller??);
    }
    bar.finish_and_clear();
    Ok(taken)
}

async fn until_done(client: &reqwest::Client, ready: &Ready, began: Instant) -> anyhow::Result<()> {
    for status in ["pending", "paid"] {
        let url = format!("{}/v1/orders?limit=1&status={status}", ready.url);
        loop {
            let page = client.get(&url).bearer_auth(&ready.secret_key).send().await?;
            let page: serde_json::Value = page.json().await?;
            if page["data"].as_array().context("the list has no data")?.is_empty() {
                break;
            }
            if began.elapsed() > RUN_MAX {
                bail!("orders are still {status} after {RUN_MAX:?}");
            }
            tokio::time::sleep(ASK_EVERY).await;
        }
    }
    Ok(())
}
