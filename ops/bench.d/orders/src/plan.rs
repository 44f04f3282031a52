//! Order of the measurements: acceptance in turns with `pgbench`, so that a machine that slows down slows both; the
//! price of the protections; then whole orders, each number of workers in a new, empty deployment.

use std::time::Instant;

use anyhow::Context;
use bench_report::{Placed, Report, median, middle_round, number};

use crate::{
    args::Args,
    cpu::{self, Spent},
    pgbench::Script,
    protected,
    size::{CALLERS, CONNECTIONS, FULL, QUICK, Size},
    stage::{BenchServers, order},
};

/// The pid file of PostgreSQL.
const POSTGRES: &str = "postgres";
/// Pid files of the servers whose processor time is measured, each with the name of the figure.
const SERVERS: [(&str, &str); 3] =
    [(POSTGRES, "cost_postgres"), ("cassandra-1", "cost_cassandra"), ("rabbitmq", "cost_rabbitmq")];

pub(crate) async fn run(args: &Args) -> anyhow::Result<Report> {
    let size = if args.quick { QUICK } else { FULL };
    let mut report = Report::default();
    let wanted = |name| bench_report::wanted(args.only.as_deref(), name);
    if wanted("accept") {
        acceptance(args, &size, &mut report).await?;
    }
    if wanted("accept_protected") {
        protected::measure(args, &size, &mut report).await?;
    }
    let scaled: Vec<_> =
        [("scale_2", 2), ("scale_4", 4)].into_iter().filter(|(name, _)| wanted(name)).collect();
    if wanted("whole_order") || !scaled.is_empty() {
        let (rate, spent) = whole(args, &size, 1).await?;
        // The limit is the rate the machine could reach if it did only the servers' share of the work.
        let servers: f64 = spent.iter().take(SERVERS.len()).map(|(_, ms)| ms).sum();
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        report.add("whole_order", rate, "orders/s", Some(number(cores) * 1e3 / servers));
        for (name, ms) in spent {
            report.add(name, ms, "ms/order", None);
        }
        for (name, workers) in scaled {
            report.add(name, whole(args, &size, workers).await?.0, "orders/s", Some(rate));
        }
    }
    for version in &args.version_of {
        let (name, version) = version.split_once('=').context("a version is name=version")?;
        report.add_version(name.to_owned(), version.to_owned());
    }
    Ok(report)
}

async fn acceptance(args: &Args, size: &Size, report: &mut Report) -> anyhow::Result<()> {
    let stage = BenchServers::open(args).await?;
    let (api, load, merchant) = stage.api(&[]).await?;
    load.place(CALLERS, size.warm, order)?;
    let script = Script::of(&stage, merchant)?;
    script.run(CONNECTIONS, size.warm)?;
    let postgres = || cpu::of_server(&args.pids, POSTGRES);
    let count = || -> anyhow::Result<[Spent; 3]> {
        Ok([postgres()?, cpu::of_process(api.pid())?, cpu::of_process(std::process::id())?])
    };
    let (mut raw, mut ours, mut taken) = (Vec::new(), Vec::new(), Vec::new());
    let (mut raw_postgres, mut spent) = (0.0, [0.0; 3]);
    for round in 1..=size.rounds {
        let before = postgres()?;
        raw.push(script.run(CONNECTIONS, size.accepted)?);
        raw_postgres += postgres()? - before;
        let before = count()?;
        let placed = load.place(CALLERS, size.accepted, order)?;
        for (spent, (before, after)) in spent.iter_mut().zip(before.into_iter().zip(count()?)) {
            *spent += after - before;
        }
        ours.push(placed.per_second());
        let (beside, rate, rounds) = (raw[round - 1], placed.per_second(), size.rounds);
        eprintln!("acceptance, round {round} of {rounds}: {rate:.0} orders/s, pgbench {beside:.0}");
        taken.extend(placed.taken);
    }
    report.add("raw_pgbench", median(&raw).context("no round")?, "orders/s", None);
    let (accepted, limit) = middle_round(&ours, &raw).context("no round")?;
    report.add("accept", accepted, "orders/s", Some(limit));
    report.add_latencies(["accept_p50", "accept_p99"], taken);
    let orders = number(size.accepted * size.rounds);
    report.add("raw_cost_postgres", raw_postgres / orders, "ms/order", None);
    for (name, spent) in
        ["accept_cost_postgres", "accept_cost_api", "accept_cost_callers"].into_iter().zip(spent)
    {
        report.add(name, spent / orders, "ms/order", None);
    }
    Ok(())
}

/// Measures from the first order placed to the last one fulfilled, with all roles running from the start. Returns
/// orders per second, and milliseconds of processor time per order by figure; those of [`SERVERS`] first.
async fn whole(args: &Args, size: &Size, workers: usize) -> anyhow::Result<(f64, Vec<(&'static str, f64)>)> {
    eprintln!("whole orders, {workers} worker processes");
    let stage = BenchServers::open(args).await?;
    let (api, load, _) = stage.api(&[]).await?;
    let relay = stage.role("relay").await?;
    let mut pool = Vec::new();
    for _ in 0..workers {
        pool.push(stage.role("worker").await?);
    }
    load.place(CALLERS, size.warm, order)?;
    load.until_done().await?;
    let count = || -> anyhow::Result<Vec<(&'static str, Spent)>> {
        let mut all = Vec::new();
        for (server, name) in SERVERS {
            all.push((name, cpu::of_server(&args.pids, server)?));
        }
        all.push(("cost_api", cpu::of_process(api.pid())?));
        all.push(("cost_relay", cpu::of_process(relay.pid())?));
        let of_workers = pool.iter().map(|worker| cpu::of_process(worker.pid()));
        all.push(("cost_worker", of_workers.collect::<anyhow::Result<Vec<_>>>()?.into_iter().sum()));
        Ok(all)
    };
    let (before, began) = (count()?, Instant::now());
    let Placed { taken, .. } = load.place(CALLERS, size.whole, order)?;
    load.until_done().await?;
    let (seconds, orders) = (began.elapsed().as_secs_f64(), number(taken.len()));
    let after = count()?;
    let spent = before.iter().zip(after).map(|((of, before), (_, after))| (*of, (after - *before) / orders));
    Ok((orders / seconds, spent.collect()))
}
