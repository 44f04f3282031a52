//! Fault suite: a constant rate of orders over all real servers and several processes of each role, while everything
//! that may break does. At the end all work must complete, and all stores must agree.
//!
//! `ops/faults` runs it on servers of its own; without them it is skipped. The faults and their times are in [`plan`],
//! their execution in [`deployment`], [`clock`] and [`objects`], the customers in [`traffic`] and the final checks in
//! [`report`].

#![expect(clippy::print_stdout, reason = "a run of half an hour is watched")]

mod callbacks;
mod clock;
mod deployment;
mod front;
mod objects;
mod plan;
mod report;
mod servers;
mod traffic;

use std::{
    collections::BTreeMap,
    fmt::Write,
    sync::{Arc, Mutex},
    time::Duration,
};

use bench_report::{Machine, revision};
use deployment::Deployment;
use futures::future::join_all;
use plan::{InjectedFault, LANES, Planned};
use report::FaultReport;
use tokio::{
    task::JoinSet,
    time::{Instant, sleep_until, timeout},
};
use tokio_util::sync::CancellationToken;
use traffic::Traffic;

use crate::util::alone;

/// Longer than any successful recovery.
const RECOVERY_MAX: Duration = Duration::from_mins(3);

/// Time from the end of a fault to the fulfilment of an order placed then; `None` if it exceeded [`RECOVERY_MAX`].
type Recovery = (InjectedFault, Option<Duration>);

/// Seconds by which the stand-in for Stripe is ahead of all processes, or behind them.
const STRIPE_SKEW_SECONDS: i64 = 600;

/// Settings of a run, as given by `ops/faults`.
struct Settings {
    seed: u64,
    /// See [`Deployment::open`]; odd seeds have it behind.
    stripe_skew: Option<i64>,
    length: Duration,
    orders_per_second: f64,
}

impl Settings {
    fn read() -> Self {
        let number = |name: &str, default: f64| {
            let text = std::env::var(format!("ORDERWORKS_TEST_FAULTS_{name}")).ok();
            text.map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{name}: {text}")))
        };
        let seed = std::env::var("ORDERWORKS_TEST_FAULTS_SEED").ok();
        let seed: u64 = seed.map_or(1, |seed| seed.parse().expect("a whole number"));
        let provider = std::env::var("ORDERWORKS_TEST_FAULTS_PROVIDER").unwrap_or_default();
        let skew = if seed.is_multiple_of(2) { STRIPE_SKEW_SECONDS } else { -STRIPE_SKEW_SECONDS };
        Self {
            seed,
            stripe_skew: (provider == "stripe").then_some(skew),
            length: Duration::from_secs_f64(number("MINUTES", 2.0) * 60.0),
            orders_per_second: number("ORDERS_PER_SECOND", 12.0),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_breaks_nothing_is_lost_and_no_customer_is_charged_twice() {
    let _alone = alone().await;
    let settings = Settings::read();
    let Some(town) = Deployment::open(settings.stripe_skew).await.map(Arc::new) else { return };
    let traffic = Arc::new(Traffic::new(Arc::clone(&town), settings.seed));
    let (end, mut going) = (CancellationToken::new(), JoinSet::new());
    going.spawn(Arc::clone(&traffic).run(settings.orders_per_second, end.clone()));
    going.spawn(callbacks::run(Arc::clone(&town), settings.seed, end.clone()));
    let probes = tokio::select! {
        probes = weather(&town, &traffic, &settings) => probes,
        Some(ended) = going.join_next() => panic!("no customer comes any more: {:?}", ended.err()),
    };
    let last_fault = Instant::now();
    println!("the last fault is over");
    end.cancel();
    let (ended, recoveries, _) =
        tokio::join!(report::until_ended(&town, last_fault), collected(probes), going.join_all());
    let outcome = FaultReport::of(&town, &traffic, ended).await;
    drop(traffic);
    let report = markdown(&settings, &recoveries, &outcome);
    println!("{report}");
    if let Some(file) = std::env::var_os("ORDERWORKS_TEST_FAULTS_REPORT") {
        std::fs::write(file, &report).expect("writes the report");
    }
    if let Some(file) = std::env::var_os("ORDERWORKS_TEST_FAULTS_DOCS") {
        bench_report::write_section(file.as_ref(), "ops/faults", &report).expect("writes into the docs");
    }
    let town = Arc::into_inner(town).expect("the last reference");
    let log = town.stage.log();
    town.servers.keep_log(&log);
    assert!(!log.contains("panicked at"), "a process panicked");
    assert!(!log.contains(town.shops[0].key.as_str()), "a key is in the log");
    town.close().await;
    assert!(outcome.is_clean(), "{}", outcome.describe());
}

/// Executes the faults of all lanes. Returns the probe orders, placed at the end of each fault, as tasks.
async fn weather(town: &Deployment, traffic: &Arc<Traffic>, settings: &Settings) -> JoinSet<Recovery> {
    let (begin, probes) = (Instant::now(), Mutex::new(JoinSet::new()));
    join_all((0..LANES.len()).map(async |lane| {
        for (n, planned) in plan::draw(settings.seed, lane, settings.length).iter().enumerate() {
            sleep_until(begin + planned.at).await;
            // A lane that is late, because a server took long to restart, skips the faults that no longer fit.
            if begin.elapsed() > settings.length {
                return;
            }
            if town.stripe.is_some() && planned.fault.is_of_sandbox() {
                continue;
            }
            print_fault(begin, lane, planned);
            town.suffer(planned).await;
            let (fault, lifted, traffic) = (planned.fault, Instant::now(), Arc::clone(traffic));
            probes.lock().expect("not poisoned").spawn(async move {
                let fulfilled = traffic.probe(format!("probe-{lane}-{n}"));
                (fault, timeout(RECOVERY_MAX, fulfilled).await.ok().map(|()| lifted.elapsed()))
            });
        }
    }))
    .await;
    probes.into_inner().expect("not poisoned")
}

async fn collected(probes: JoinSet<Recovery>) -> BTreeMap<InjectedFault, Vec<Option<Duration>>> {
    let mut recoveries: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for (fault, taken) in probes.join_all().await {
        recoveries.entry(fault).or_default().push(taken);
    }
    recoveries
}

fn print_fault(begin: Instant, lane: usize, planned: &Planned) {
    let Planned { at, fault, span, .. } = planned;
    println!(
        "{:7.1} s  {:8} {fault} (planned for {:.1} s, lasts {:.1} s)",
        begin.elapsed().as_secs_f64(),
        LANES[lane].name,
        at.as_secs_f64(),
        span.as_secs_f64(),
    );
}

/// The report in Markdown; its last line is for programs.
fn markdown(
    settings: &Settings,
    recoveries: &BTreeMap<InjectedFault, Vec<Option<Duration>>>,
    outcome: &FaultReport,
) -> String {
    let provider = settings.stripe_skew.map_or_else(
        || "the sandbox".to_owned(),
        |seconds| format!("a stand-in for Stripe whose clock is {seconds:+} s off"),
    );
    let mut text = format!(
        "Seed {}, payments by {provider}, {:.1} minutes, {:.0} orders a second; {}, revision {}.\n\n",
        settings.seed,
        settings.length.as_secs_f64() / 60.0,
        settings.orders_per_second,
        Machine::read(),
        revision(),
    );
    text += "| fault | times | got over after: median | longest |\n|---|---:|---:|---:|\n";
    for (fault, taken) in recoveries {
        let mut taken = taken.clone();
        // Recoveries that took too long sort last.
        taken.sort_by_key(|taken| taken.unwrap_or(Duration::MAX));
        let shown = |taken: Option<Duration>| match taken {
            Some(taken) => format!("{:.1} s", taken.as_secs_f64()),
            None => format!("more than {} s", RECOVERY_MAX.as_secs()),
        };
        let (median, longest) = (shown(taken[taken.len() / 2]), shown(taken[taken.len() - 1]));
        // Writing to a string cannot fail.
        let _ = writeln!(text, "| {fault} | {} | {median} | {longest} |", taken.len());
    }
    let faults = recoveries.values().map(Vec::len).sum();
    let _ = write!(text, "\n{}\n\n    {}\n", outcome.describe(), outcome.line(faults));
    text
}
