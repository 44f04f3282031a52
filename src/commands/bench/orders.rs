//! Throughput and latency of whole orders: a server in its own process, orders over HTTP, until each is fulfilled.

use std::{
    path::Path,
    process::Stdio,
    time::{Duration, Instant},
};

use anyhow::Context;
use bench_report::{Load, Report, kib_to_mib, peak_kib, resident_kib};
use indicatif::{ProgressBar, ProgressStyle};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
};

use crate::{cli::BenchArgs, commands::dev::Ready};

/// Time without requests before the server's idle memory is read.
const IDLE: Duration = Duration::from_secs(2);
/// Body of every order.
const ORDER: &str = r#"{"customer":{"email":"bench@example.com","name":"Bench"},"currency":"EUR","items":[
    {"sku":"CUP-ENAMEL","quantity":1},{"sku":"PEN-BRASS","quantity":1}],"payment_method":"pm_card_visa"}"#;

pub(super) async fn measure(args: &BenchArgs, folder: &Path, report: &mut Report) -> anyhow::Result<()> {
    let began = Instant::now();
    let (mut child, ready) = start(&folder.join("dev")).await?;
    report.add("start", began.elapsed().as_secs_f64() * 1e3, "ms", Some(1_000.0));
    let pid = child.id().context("the server has ended")?;
    tokio::time::sleep(IDLE).await;
    report.add("memory_idle", kib_to_mib(resident_kib(pid)), "MiB", Some(80.0));

    let address = ready.url.trim_start_matches("http://");
    let (shop, merchant) = (Load::new(address, ready.publishable_key), Load::new(address, ready.secret_key));
    let style = ProgressStyle::with_template("placing orders {wide_bar} {pos}/{len}")?;
    let bar = ProgressBar::new(u64::from(args.orders)).with_style(style);
    // One order first, so that connections and caches are warm on both sides.
    shop.place(1, 1, |_| ORDER)?;
    let began = Instant::now();
    let accepted = shop.place(args.callers as usize, args.orders as usize, |_| {
        bar.inc(1);
        ORDER
    })?;
    bar.finish_and_clear();
    report.add("accept", accepted.per_second(), "orders/s", None);
    report.add_latencies(["accept_p50", "accept_p99"], accepted.taken);
    merchant.until_done().await?;
    report.add("whole_order", f64::from(args.orders) / began.elapsed().as_secs_f64(), "orders/s", None);
    report.add("memory_peak", kib_to_mib(peak_kib(pid)), "MiB", None);
    // A single caller on an idle server.
    let calm = shop.place(1, 100, |_| ORDER)?;
    report.add_latencies(["accept_calm_p50", "accept_calm_p99"], calm.taken);
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
            // All orders come from one address, faster than they are paid.
            ("ORDERWORKS_CARD_TESTING_UNPAID_PER_GUEST", "1000000"),
            ("ORDERWORKS_CARD_TESTING_UNPAID_PER_CUSTOMER", "1000000"),
            ("ORDERWORKS_CARD_TESTING_UNPAID_WITH_PROOF", "1000000"),
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
