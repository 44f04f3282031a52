//! Properties of the rule, over many seeded loads.

use super::*;

const BOUNDS: Bounds = Bounds { target_wait: Duration::from_secs(10), min: 1, max: 20 };
const LOADS: u32 = 2000;

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn fresh() -> Scaler {
    Scaler::new(BOUNDS, Pace::default())
}

/// 16 slots, runs of 0.4 s, nothing to do.
fn idle() -> Load {
    Load {
        backlog: 0.0,
        oldest_age: Duration::ZERO,
        arrival_per_second: 0.0,
        service_seconds: 0.4,
        usual_service_seconds: 0.4,
        slots_per_worker: 16.0,
        is_paused: false,
        is_refusing: false,
        concurrent_max: None,
    }
}

/// A generator of loads that is the same in each run.
struct Seeded(u64);

impl Seeded {
    /// Between zero and one (a linear congruential generator; constants of Knuth's MMIX).
    fn share(&mut self) -> f64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        f64::from(u32::try_from(self.0 >> 32).expect("32 bits")) / f64::from(u32::MAX)
    }

    fn load(&mut self) -> Load {
        let service_seconds = 0.001 + self.share() * 5.0;
        Load {
            backlog: (self.share() * 2000.0).floor(),
            oldest_age: Duration::from_secs_f64(self.share() * 30.0),
            arrival_per_second: self.share() * 200.0,
            service_seconds,
            usual_service_seconds: service_seconds * (0.3 + self.share()),
            slots_per_worker: 1.0 + (self.share() * 31.0).floor(),
            is_paused: self.share() < 0.05,
            is_refusing: self.share() < 0.05,
            concurrent_max: (self.share() < 0.2).then_some(8),
        }
    }
}

#[test]
fn the_formula_is_that_of_the_design() {
    let load = Load { backlog: 1000.0, arrival_per_second: 50.0, ..idle() };
    // (50 × 0.4 + 1000 × 0.4 ÷ 10) ÷ (16 × 0.7) = 60 ÷ 11.2
    assert_eq!(needed(&load, &BOUNDS), Desired { workers: 6, limited_by: None });
    assert_eq!(needed(&idle(), &BOUNDS).workers, 1, "at least the least");
    let to_zero = Bounds { min: 0, ..BOUNDS };
    assert_eq!(needed(&idle(), &to_zero).workers, 0);
    assert_eq!(needed(&Load { backlog: 1.0, ..idle() }, &to_zero).workers, 1, "a job needs a worker");
    let exact = Load { arrival_per_second: 56.0, ..idle() };
    assert_eq!(needed(&exact, &BOUNDS).workers, 2, "22.4 ÷ 11.2, whatever the last bit is");
}

#[test]
fn more_backlog_or_arrivals_never_need_fewer_workers() {
    let mut seeded = Seeded(1);
    for _ in 0..LOADS {
        let load = seeded.load();
        let larger = Load { backlog: load.backlog + seeded.share() * 500.0, ..load };
        assert!(needed(&larger, &BOUNDS).workers >= needed(&load, &BOUNDS).workers, "{load:?}");
        let faster = Load { arrival_per_second: load.arrival_per_second * 1.5, ..load };
        assert!(needed(&faster, &BOUNDS).workers >= needed(&load, &BOUNDS).workers, "{load:?}");
    }
}

#[test]
fn the_number_keeps_to_its_bounds_and_to_what_arrives() {
    let mut seeded = Seeded(2);
    for _ in 0..LOADS {
        let load = seeded.load();
        let Desired { workers, limited_by } = needed(&load, &BOUNDS);
        assert!((BOUNDS.min..=BOUNDS.max).contains(&workers), "{load:?}");
        let slots = f64::from(workers) * load.slots_per_worker * UTILISATION;
        let arriving = load.arrival_per_second * load.service_seconds.min(load.usual_service_seconds);
        let is_capped = workers == BOUNDS.max || limited_by.is_some() || load.is_paused;
        assert!(is_capped || slots + 1e-6 >= arriving, "{load:?}");
    }
}

#[test]
fn steps_keep_to_the_bounds_and_go_down_one_by_one() {
    let (mut seeded, mut scaler, mut before) = (Seeded(3), fresh(), None);
    for turn in 0..u64::from(LOADS) {
        let load = seeded.load();
        let at = seconds(turn * 15);
        let running = before.unwrap_or(3);
        let Desired { workers, .. } = scaler.step(at, &load, running);
        assert!((BOUNDS.min..=BOUNDS.max).contains(&workers), "{load:?}");
        assert!(before.is_none_or(|before: u32| workers + 1 >= before), "{load:?}");
        assert!(!load.is_stuck() || before.is_none_or(|before| workers <= before), "{load:?}");
        before = Some(workers);
    }
}

#[test]
fn a_constant_load_does_not_swing() {
    let mut seeded = Seeded(4);
    for _ in 0..50 {
        let load = Load { oldest_age: seconds(1), is_refusing: false, ..seeded.load() };
        let load = Load { usual_service_seconds: load.service_seconds, ..load };
        let mut scaler = fresh();
        let mut all: Vec<u32> =
            (0..400).map(|turn| scaler.step(seconds(turn * 15), &load, 5).workers).collect();
        let last = all[399];
        assert_eq!(last, needed(&load, &BOUNDS).workers, "{load:?}");
        all.dedup();
        let rises = all.windows(2).filter(|pair| pair[1] > pair[0]).count();
        let falls = all.len() - 1 - rises;
        assert!(rises == 0 || (rises == 1 && falls == 0), "{all:?} {load:?}");
    }
}

#[test]
fn it_grows_at_once_and_shrinks_after_five_minutes_by_one_a_minute() {
    let mut scaler = fresh();
    let busy = Load { backlog: 1000.0, arrival_per_second: 50.0, ..idle() };
    assert_eq!(scaler.step(seconds(0), &busy, 1).workers, 6);
    let mut changes = Vec::new();
    let mut before = 6;
    for at in (15..1200).step_by(15) {
        let workers = scaler.step(seconds(at), &idle(), before).workers;
        if workers != before {
            changes.push((at, workers));
        }
        before = workers;
    }
    assert_eq!(changes, [(315, 5), (375, 4), (435, 3), (495, 2), (555, 1)]);
    let mut scaler = fresh();
    scaler.step(seconds(0), &busy, 1);
    for at in (15..3000).step_by(15) {
        // Once in four minutes all of them are needed.
        let load = if at % 240 == 0 { busy } else { idle() };
        assert_eq!(scaler.step(seconds(at), &load, 6).workers, 6, "{at}");
    }
}

#[test]
fn late_jobs_get_a_worker_a_minute_beyond_the_formula() {
    let late = Load { backlog: 1.0, oldest_age: seconds(11), ..idle() };
    let mut scaler = fresh();
    let steps = |scaler: &mut Scaler, running: u32| {
        [0, 59, 60, 119].map(|at| scaler.step(seconds(at), &late, running).workers)
    };
    assert_eq!(steps(&mut scaler, 1), [1, 1, 2, 2]);
    assert_eq!(scaler.step(seconds(600), &late, 1).workers, 2, "the second one does not run yet");
    assert_eq!(scaler.step(seconds(600), &late, 2).workers, 3);
}

#[test]
fn a_dependency_that_is_the_bottleneck_gets_no_further_workers() {
    let limited = |workers| Desired { workers, limited_by: Some(LimitedBy::Dependency) };
    let busy = Load { backlog: 1000.0, arrival_per_second: 50.0, ..idle() };
    let with_limit = Load { concurrent_max: Some(40), ..busy };
    assert_eq!(needed(&with_limit, &BOUNDS), limited(3));
    let with_limit = Load { concurrent_max: Some(4), ..busy };
    assert_eq!(needed(&with_limit, &BOUNDS), limited(1));
    let slower = Load { service_seconds: 0.7, ..busy };
    assert_eq!(needed(&slower, &BOUNDS), needed(&busy, &BOUNDS), "what it takes longer than usual, it waits");

    let open = Load { is_refusing: true, oldest_age: seconds(100), ..busy };
    let slow = Load { service_seconds: 0.9, oldest_age: seconds(100), ..busy };
    for stuck in [open, slow] {
        let mut scaler = fresh();
        for at in (0..600).step_by(15) {
            assert_eq!(scaler.step(seconds(at), &stuck, 2), limited(2));
        }
        let few = Load { backlog: 1.0, arrival_per_second: 0.0, ..stuck };
        assert_eq!(scaler.step(seconds(600), &few, 2), limited(2), "late, and no worker would help");
        assert_eq!(scaler.step(seconds(600), &busy, 2).workers, 6, "it works again");
        let mut scaler = Scaler::new(Bounds { min: 0, ..BOUNDS }, Pace::default());
        assert_eq!(scaler.step(seconds(0), &stuck, 0), limited(1), "one finds out whether it does");
    }
}

#[test]
fn a_paused_queue_is_not_scaled_out() {
    let paused = Load { backlog: 1000.0, oldest_age: seconds(100), is_paused: true, ..idle() };
    let mut scaler = fresh();
    let all = [0, 60, 120, 180].map(|at| scaler.step(seconds(at), &paused, 3).workers);
    assert_eq!(all, [3, 3, 3, 3], "nor in, before its time");
}
