//! The scaling rule against scaling by depth and by processor time, in a simulated hour of each of five loads.
//!
//! Jobs are a flow, not single ones; rule and measures are the product's. After an intended change: `UPDATE_SCALING=1
//! cargo test -p orderworks-sim --test it scaling` writes the tables and plots of docs/SCALING.md; read the difference.

mod model;
mod plot;
mod policy;

use std::{fmt::Write as _, fs, path::PathBuf};

use self::{
    model::{Run, Scenario, TARGET, run},
    policy::Policy,
};

const BEGIN: &str = "<!-- simulation: written by a test -->\n";
const END: &str = "<!-- end of simulation -->\n";

/// The dependency takes 60 calls a second in this time, of 100 that come.
const SLOW: std::ops::Range<u32> = 600..1500;

fn scenarios() -> [Scenario; 5] {
    let steady = Scenario {
        name: "ramp",
        title: "Ramp: 5 jobs a second rise to 300 within 20 minutes, and fall within 10",
        arrival: |at| match at {
            600..1800 => 5.0 + 295.0 * f64::from(at - 600) / 1200.0,
            1800..2400 => 300.0,
            2400..3000 => 300.0 - 295.0 * f64::from(at - 2400) / 600.0,
            _ => 5.0,
        },
        capacity: |_| f64::INFINITY,
        dead: |_| 0,
    };
    let step = Scenario {
        name: "step",
        title: "Step: 20 jobs a second, 250 for half an hour",
        arrival: |at| if (600..2400).contains(&at) { 250.0 } else { 20.0 },
        ..steady
    };
    let flash = Scenario {
        name: "flash",
        title: "Flash sale: 2000 jobs a second for a minute, then 40",
        arrival: |at| match at {
            600..660 => 2000.0,
            660..1860 => 40.0,
            _ => 10.0,
        },
        ..steady
    };
    let slow = Scenario {
        name: "slow",
        title: "Slow dependency: 100 jobs a second, of which it takes 60 for 15 minutes",
        arrival: |_| 100.0,
        capacity: |at| if SLOW.contains(&at) { 60.0 } else { f64::INFINITY },
        ..steady
    };
    let dead = Scenario {
        name: "dead",
        title: "Dead consumer: 50 jobs a second; one worker runs and does nothing for half an hour",
        arrival: |_| 50.0,
        dead: |at| u32::from((600..2400).contains(&at)),
        ..steady
    };
    [steady, step, flash, slow, dead]
}

fn runs_of(scenario: &Scenario) -> Vec<(&'static str, Run)> {
    Policy::all().into_iter().map(|(name, mut policy)| (name, run(scenario, &mut policy))).collect()
}

#[test]
fn the_rule_keeps_waits_short_where_depth_and_processor_time_do_not() {
    for scenario in scenarios() {
        let runs = runs_of(&scenario);
        let [(_, rule), (_, depth), (_, cpu)] = runs.as_slice() else { panic!("three policies") };
        assert!(rule.late_seconds() <= depth.late_seconds().min(cpu.late_seconds()), "{}", scenario.name);
        assert!(
            rule.worker_seconds() <= 2 * cpu.worker_seconds().min(depth.worker_seconds()),
            "{}",
            scenario.name
        );
        match scenario.name {
            "ramp" | "dead" => assert!(rule.late_seconds() < 30, "{}", rule.late_seconds()),
            "step" => assert!(rule.late_seconds() < 60, "{}", rule.late_seconds()),
            "slow" => {
                let workers = |run: &Run| SLOW.filter_map(|at| run.workers_at(at)).max();
                assert!(workers(rule) <= Some(8), "more would only wait: {:?}", workers(rule));
                assert_eq!(workers(depth), Some(20), "depth asks for all");
            }
            _ => {}
        }
    }
}

#[test]
fn the_page_shows_the_simulation() {
    let docs = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../docs");
    let page = fs::read_to_string(docs.join("SCALING.md")).expect("the page");
    let (before, rest) = page.split_once(BEGIN).expect("the begin of the part that is written");
    let (shown, after) = rest.split_once(END).expect("its end");
    let (mut written, mut plots) = (String::new(), Vec::new());
    for scenario in scenarios() {
        let runs = runs_of(&scenario);
        let Scenario { name, title, .. } = scenario;
        plots.push((docs.join(format!("scaling-{name}.svg")), plot::svg(title, &runs)));
        write!(written, "\n{title}.\n\n![Workers and oldest age over an hour](scaling-{name}.svg)\n\n")
            .expect("text");
        let late = format!("seconds over the target of {TARGET} s");
        write!(
            written,
            "| policy | {late} | oldest age, s | most workers | worker hours |\n|---|---|---|---|---|\n"
        )
        .expect("text");
        for (policy, run) in &runs {
            let (late, age, most, hours) =
                (run.late_seconds(), run.age_max(), run.workers_max(), run.worker_hours());
            writeln!(written, "| {policy} | {late} | {age} | {most} | {hours:.1} |").expect("text");
        }
    }
    written.push('\n');
    if std::env::var_os("UPDATE_SCALING").is_some() {
        fs::write(docs.join("SCALING.md"), [before, BEGIN, &written, END, after].concat())
            .expect("writes the page");
        for (path, plot) in plots {
            fs::write(path, plot).expect("writes a plot");
        }
        return;
    }
    let is_shown = shown == written
        && plots.iter().all(|(path, plot)| fs::read_to_string(path).is_ok_and(|its| its == *plot));
    assert!(
        is_shown,
        "docs/SCALING.md differs: run UPDATE_SCALING=1 cargo test -p orderworks-sim --test it scaling"
    );
}
