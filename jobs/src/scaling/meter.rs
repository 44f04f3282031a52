//! Measures of a queue over time: the rate at which jobs become ready, and the time that their runs take.
//!
//! Guarantees: a jump of the inputs counts by the time that it lasts; a measure without new facts stays as it is, so
//! the time of runs is known while no worker runs. Arrivals are not counted anywhere: they are what the queue holds
//! more than before, and what has ended meanwhile. Numbers in, numbers out; no clock.

use std::time::Duration;

/// Time over which arrivals are averaged.
const ARRIVALS_OVER: Duration = Duration::from_secs(30);
/// Time over which runs are averaged: a slow dependency must show before its backlog asks for workers.
const RUNS_OVER: Duration = Duration::from_secs(15);
/// Runs that are averaged at least, however old they are, so that a few long ones are not taken for a slow dependency.
const RUNS_MIN: f64 = 30.0;
/// Time over which the usual time of a run is learned: longer than most disturbances of a dependency, and short enough
/// that a dependency that is slower for good gets its workers in the same shift.
const USUALLY: Duration = Duration::from_hours(1);
/// Least time between two samples; closer ones are left out.
const LEAST: Duration = Duration::from_millis(500);

/// The measures of one queue, over all of its workers.
#[derive(Debug, Clone, Default)]
pub struct Meter {
    before: Option<(Duration, f64)>,
    arrival: Option<f64>,
    /// Runs and their seconds, both fading alike.
    runs: f64,
    busy_seconds: f64,
    service: Option<f64>,
    usual: Option<f64>,
}

impl Meter {
    /// Takes a sample at a time since any fixed moment: jobs that are ready or run, runs that have ended since the last
    /// sample, and the seconds that these took together. Returns whether it was taken; one that was not has to be part
    /// of the next.
    pub fn take(&mut self, at: Duration, present: f64, ended: f64, busy_seconds: f64) -> bool {
        let Some((then, were_present)) = self.before else {
            self.before = Some((at, present));
            return true;
        };
        let passed = at.saturating_sub(then);
        if passed < LEAST {
            return false;
        }
        self.before = Some((at, present));
        let rate = (present - were_present + ended) / passed.as_secs_f64();
        // The first rate counts whole: there is nothing older.
        self.arrival = Some(self.arrival.map_or(rate, |arrival| mixed(arrival, rate, passed, ARRIVALS_OVER)));
        if ended > 0.0 {
            self.count(passed, ended, busy_seconds);
        }
        true
    }

    fn count(&mut self, passed: Duration, ended: f64, busy_seconds: f64) {
        let left = (self.runs * kept(passed, RUNS_OVER)).max((RUNS_MIN - ended).min(self.runs));
        let kept = if self.runs > 0.0 { left / self.runs } else { 0.0 };
        self.runs = self.runs * kept + ended;
        self.busy_seconds = self.busy_seconds * kept + busy_seconds;
        let service = self.busy_seconds / self.runs;
        self.service = Some(service);
        self.usual = Some(self.usual.map_or(service, |usual| mixed(usual, service, passed, USUALLY)));
    }

    /// Jobs that become ready in a second; zero before the second sample.
    pub fn arrival_per_second(&self) -> f64 {
        // The parts of a sample are not of the same moment, so that single ones may be below zero.
        self.arrival.unwrap_or_default().max(0.0)
    }

    /// Mean seconds of a run, lately; `None` before one has ended.
    pub fn service_seconds(&self) -> Option<f64> {
        self.service
    }

    /// The same over a long time.
    pub fn usual_service_seconds(&self) -> Option<f64> {
        self.usual
    }
}

/// Share of an average that is left after this time.
fn kept(passed: Duration, over: Duration) -> f64 {
    (-passed.as_secs_f64() / over.as_secs_f64()).exp()
}

fn mixed(before: f64, now: f64, passed: Duration, over: Duration) -> f64 {
    let kept = kept(passed, over);
    before * kept + now * (1.0 - kept)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn arrivals_are_what_is_there_more_and_what_has_ended() {
        let mut meter = Meter::default();
        meter.take(seconds(0), 100.0, 0.0, 0.0);
        assert!(meter.arrival_per_second().abs() < 1e-9);
        assert_eq!(meter.service_seconds(), None);
        // Ten a second come, eight of them end, each after half a second.
        for turn in 1..=20_u32 {
            let present = f64::from(turn).mul_add(20.0, 100.0);
            assert!(meter.take(seconds(u64::from(turn) * 10), present, 80.0, 40.0));
        }
        assert!((meter.arrival_per_second() - 10.0).abs() < 1e-6, "{meter:?}");
        assert!(meter.service_seconds().is_some_and(|service| (service - 0.5).abs() < 1e-6), "{meter:?}");
        assert!(!meter.take(seconds(200), 0.0, 0.0, 0.0), "too close");
    }

    #[test]
    fn late_facts_even_out_and_a_purge_is_no_arrival() {
        let mut meter = Meter::default();
        meter.take(seconds(0), 0.0, 0.0, 0.0);
        // Five a second come and end; the ends are told of every second time only.
        for turn in 1..=100_u64 {
            let ended = if turn % 2 == 0 { 50.0 } else { 0.0 };
            meter.take(seconds(turn * 5), 0.0, ended, ended * 0.1);
        }
        assert!((4.0..=6.0).contains(&meter.arrival_per_second()), "{meter:?}");
        let mut meter = Meter::default();
        meter.take(seconds(0), 10_000.0, 0.0, 0.0);
        meter.take(seconds(10), 0.0, 0.0, 0.0);
        assert!(meter.arrival_per_second().abs() < 1e-9, "{meter:?}");
    }

    #[test]
    fn a_slow_time_is_told_from_the_usual_one_and_then_learned() {
        let mut meter = Meter::default();
        let mut at = 0;
        let mut run = |meter: &mut Meter, turns: u32, service: f64| {
            for _ in 0..turns {
                at += 10;
                meter.take(seconds(at), 0.0, 100.0, 100.0 * service);
            }
        };
        run(&mut meter, 60, 0.2);
        run(&mut meter, 30, 2.0);
        let (service, usual) = (meter.service_seconds().unwrap(), meter.usual_service_seconds().unwrap());
        assert!(service > 1.9 && usual < 0.7, "{service} {usual}");
        run(&mut meter, 1000, 2.0);
        assert!(meter.usual_service_seconds().is_some_and(|usual| usual > 1.8), "{meter:?}");
        // One long run among many is not a slow time, however few there are.
        let mut rare = Meter::default();
        for minute in 0..60 {
            rare.take(seconds(minute * 60), 0.0, 1.0, if minute == 59 { 5.0 } else { 1.0 });
        }
        let (service, usual) = (rare.service_seconds().unwrap(), rare.usual_service_seconds().unwrap());
        assert!(service < 1.5 * usual, "{service} {usual}");
        // Nothing runs: what is known stays.
        for _ in 0..100 {
            at += 60;
            meter.take(seconds(at), 0.0, 0.0, 0.0);
        }
        assert!(meter.service_seconds().is_some_and(|service| service > 1.9), "{meter:?}");
    }
}
