//! Plan of faults, drawn from a seed: the same seed breaks the same things in the same order.
//!
//! Faults come in [`LANES`] that run concurrently, one fault at a time in each: faults of different kinds overlap, and
//! no two of one kind do. Within a lane every kind occurs once before any repeats, so that a short run has all kinds.

use std::{fmt, ops::RangeInclusive, time::Duration};

use fastrand::Rng;

pub(super) const LANES: [FaultTrack; 6] = [
    FaultTrack {
        name: "kills",
        faults: &[
            InjectedFault::Kill(Role::Api),
            InjectedFault::Kill(Role::Worker),
            InjectedFault::Kill(Role::Relay),
            InjectedFault::Kill(Role::Worker),
            InjectedFault::Kill(Role::Scheduler),
            InjectedFault::Kill(Role::Provider),
        ],
        gap_ms: 6_000..=18_000,
    },
    FaultTrack {
        name: "pauses",
        faults: &[
            InjectedFault::Pause(Role::Api),
            InjectedFault::Pause(Role::Worker),
            InjectedFault::Pause(Role::Relay),
            InjectedFault::Pause(Role::Provider),
        ],
        gap_ms: 5_000..=15_000,
    },
    FaultTrack {
        name: "clocks",
        faults: &[InjectedFault::WrongClock, InjectedFault::StepClock],
        gap_ms: 5_000..=15_000,
    },
    FaultTrack {
        name: "lines",
        faults: &[
            InjectedFault::Cut(Link::Postgres),
            InjectedFault::Cut(Link::Broker),
            InjectedFault::Cut(Link::Redis),
            InjectedFault::Sever(Link::Postgres),
            InjectedFault::Sever(Link::Broker),
            InjectedFault::Sever(Link::Redis),
            InjectedFault::Sever(Link::Mail),
            InjectedFault::DeadReceivers,
            InjectedFault::Provider(Mood::Refuses),
            InjectedFault::Provider(Mood::Slow),
            InjectedFault::Provider(Mood::Mute),
            InjectedFault::Provider(Mood::Twice),
        ],
        gap_ms: 6_000..=16_000,
    },
    FaultTrack {
        name: "servers",
        faults: &[
            InjectedFault::Restart(Server::Broker),
            InjectedFault::Restart(Server::Cassandra),
            InjectedFault::Restart(Server::Postgres),
            InjectedFault::Restart(Server::Cassandra),
            InjectedFault::Restart(Server::Redis),
        ],
        gap_ms: 15_000..=35_000,
    },
    FaultTrack {
        name: "objects",
        faults: &[
            InjectedFault::Delete(BrokerObject::JobQueue),
            InjectedFault::Delete(BrokerObject::DelayExchanges),
            InjectedFault::Delete(BrokerObject::DelayBindings),
        ],
        gap_ms: 14_000..=30_000,
    },
];

/// Kinds of faults of which one occurs at a time.
pub(super) struct FaultTrack {
    pub(super) name: &'static str,
    faults: &'static [InjectedFault],
    /// Pause between the planned end of one fault and the begin of the next.
    gap_ms: RangeInclusive<u64>,
}

/// A fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum InjectedFault {
    /// `kill -9`, followed by an immediate restart.
    Kill(Role),
    /// SIGSTOP, then SIGCONT.
    Pause(Role),
    /// A worker runs with a clock that is off by minutes. The provider's own may be off, too: see `ops/faults`.
    WrongClock,
    /// A worker is stopped until it has lost its jobs, and woken at another time; later its clock is put right.
    StepClock,
    /// All connections are cut; new ones are accepted.
    Cut(Link),
    /// No bytes pass.
    Sever(Link),
    /// The provider misbehaves.
    Provider(Mood),
    /// No receiver of webhooks answers with success.
    DeadReceivers,
    /// `kill -9` of a server, or of one node of three, and a restart.
    Restart(Server),
    /// Deleted, and left to the product to declare again.
    Delete(BrokerObject),
}

/// Processes of the product, and the sandbox provider.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Role {
    Api,
    Relay,
    Scheduler,
    Worker,
    Provider,
}

/// Connections between processes and servers, through a proxy that can cut them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Link {
    Postgres,
    Broker,
    Redis,
    Mail,
}

/// Behaviour of the provider.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Mood {
    /// Normal.
    Fine,
    /// Answers 503 without effect.
    Refuses,
    /// Takes effect and answers after three seconds.
    Slow,
    /// Takes effect and never answers.
    Mute,
    /// Takes effect twice, as in a network that repeats requests.
    Twice,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Server {
    Postgres,
    Broker,
    Redis,
    Cassandra,
}

/// Objects of RabbitMQ.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum BrokerObject {
    /// The queue of a priority that no job has.
    JobQueue,
    /// All exchanges by which messages enter the delay ladder.
    DelayExchanges,
    /// All bindings of these exchanges.
    DelayBindings,
}

/// A planned fault.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Planned {
    /// Time since the begin of the run; later if the previous fault of the lane takes longer than planned.
    pub(super) at: Duration,
    pub(super) fault: InjectedFault,
    /// Index among equal targets, taken modulo their number.
    pub(super) which: usize,
    /// Duration of the fault.
    pub(super) span: Duration,
    /// For [`InjectedFault::WrongClock`] and [`InjectedFault::StepClock`].
    pub(super) clock_off_seconds: i64,
}

/// The faults of one lane, in order.
pub(super) fn draw(seed: u64, lane: usize, length: Duration) -> Vec<Planned> {
    // A seed of its own for each lane, so that lanes differ.
    let mut rng = Rng::with_seed(seed.wrapping_mul(0x9e37_79b9).wrapping_add(lane as u64));
    let FaultTrack { faults, gap_ms, .. } = &LANES[lane];
    let (mut plan, mut bag) = (Vec::new(), Vec::new());
    let mut at = Duration::from_millis(rng.u64(gap_ms.clone()));
    loop {
        if bag.is_empty() {
            bag.extend_from_slice(faults);
            rng.shuffle(&mut bag);
        }
        let Some(fault) = bag.pop() else { return plan };
        let span = Duration::from_millis(rng.u64(fault.span_ms()));
        let minutes_off = rng.i64(1..=10);
        let clock_off_seconds = if rng.bool() { minutes_off * 60 } else { minutes_off * -60 };
        if at + span > length {
            return plan;
        }
        plan.push(Planned { at, fault, which: rng.usize(..), span, clock_off_seconds });
        at += span + fault.return_takes() + Duration::from_millis(rng.u64(gap_ms.clone()));
    }
}

impl InjectedFault {
    /// Whether it happens to the process of the sandbox.
    pub(super) const fn is_of_sandbox(self) -> bool {
        matches!(self, Self::Kill(Role::Provider) | Self::Pause(Role::Provider))
    }

    fn span_ms(self) -> RangeInclusive<u64> {
        match self {
            Self::Kill(_) | Self::Cut(_) | Self::Delete(_) => 0..=0,
            // Longer than the broker's heartbeat, after which another worker gets the jobs, and longer than the relay's
            // lease.
            Self::Pause(Role::Worker | Role::Relay) => 2_000..=40_000,
            Self::Pause(_) => 1_000..=8_000,
            Self::WrongClock => 5_000..=20_000,
            // Longer than three heartbeats: the broker has closed its connection before it wakes.
            Self::StepClock => 31_000..=40_000,
            Self::Sever(_) | Self::DeadReceivers | Self::Provider(_) => 1_000..=10_000,
            Self::Restart(Server::Cassandra) => 2_000..=20_000,
            Self::Restart(_) => 0..=3_000,
        }
    }

    /// Approximate time to undo the fault, so that a plan has no more faults than fit.
    fn return_takes(self) -> Duration {
        Duration::from_secs(match self {
            Self::Restart(Server::Cassandra) => 15,
            Self::Restart(Server::Broker) => 8,
            Self::Restart(_) => 2,
            Self::StepClock => 10,
            _ => 0,
        })
    }
}

impl fmt::Display for InjectedFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Kill(role) => write!(f, "{role} killed"),
            Self::Pause(role) => write!(f, "{role} stopped and woken"),
            Self::WrongClock => f.write_str("a worker's clock 1 to 10 minutes off"),
            Self::StepClock => f.write_str("a worker stopped, its clock stepped, and woken"),
            Self::Cut(line) => write!(f, "connections to {line} cut"),
            Self::Sever(line) => write!(f, "no way to {line}"),
            Self::Provider(Mood::Fine) => f.write_str("the provider is fine"),
            Self::Provider(Mood::Refuses) => f.write_str("the provider answers 503"),
            Self::Provider(Mood::Slow) => f.write_str("the provider takes 3 s"),
            Self::Provider(Mood::Mute) => f.write_str("the provider acts and does not answer"),
            Self::Provider(Mood::Twice) => f.write_str("calls reach the provider twice"),
            Self::DeadReceivers => f.write_str("merchants' receivers answer 500"),
            Self::Restart(Server::Cassandra) => {
                f.write_str("a Cassandra node of three killed and brought back")
            }
            Self::Restart(server) => write!(f, "{server} killed and brought back"),
            Self::Delete(BrokerObject::JobQueue) => f.write_str("a job queue without jobs deleted"),
            Self::Delete(BrokerObject::DelayExchanges) => {
                f.write_str("the exchanges of short delays deleted")
            }
            Self::Delete(BrokerObject::DelayBindings) => f.write_str("the bindings of short delays deleted"),
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Api => "an API process",
            Self::Relay => "a relay",
            Self::Scheduler => "the scheduler",
            Self::Worker => "a worker",
            Self::Provider => "the provider",
        })
    }
}

impl fmt::Display for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Postgres => "PostgreSQL",
            Self::Broker => "RabbitMQ",
            Self::Redis => "Redis",
            Self::Mail => "the mail server",
        })
    }
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Postgres => "PostgreSQL",
            Self::Broker => "RabbitMQ",
            Self::Redis => "Redis",
            Self::Cassandra => "Cassandra",
        })
    }
}

#[test]
fn a_seed_tells_one_story_and_half_an_hour_has_more_than_two_hundred_faults() {
    let half_an_hour = Duration::from_mins(30);
    let stories = |seed| (0..LANES.len()).map(move |lane| draw(seed, lane, half_an_hour)).collect::<Vec<_>>();
    assert_eq!(stories(7), stories(7));
    assert_ne!(stories(7), stories(8));
    for seed in 0..20 {
        let all = stories(seed);
        assert!(all.iter().map(Vec::len).sum::<usize>() > 200);
        for (lane, plan) in LANES.iter().zip(&all) {
            assert!(lane.faults.iter().all(|fault| plan.iter().any(|planned| planned.fault == *fault)));
            assert!(plan.iter().all(|planned| planned.at + planned.span <= half_an_hour));
            assert!(plan.windows(2).all(|two| two[0].at + two[0].span < two[1].at));
        }
    }
}

#[test]
fn two_minutes_have_each_fault_of_clocks_and_of_the_brokers_objects() {
    for name in ["clocks", "objects"] {
        let lane = LANES.iter().position(|track| track.name == name).expect("is there");
        for seed in 0..20 {
            let plan = draw(seed, lane, Duration::from_mins(2));
            let mut faults: Vec<_> = plan.iter().map(|planned| planned.fault).collect();
            faults.sort_unstable();
            faults.dedup();
            assert_eq!(faults, LANES[lane].faults, "{name}, seed {seed}");
        }
    }
}
