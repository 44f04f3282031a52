//! Unit tests of the shares, in virtual time.

use std::collections::BTreeMap;

use base::{Timestamp, ids::Uuid};

use super::{limits::REST_MIN, state::REMEMBERED_MAX, *};

type MerchantId = Uuid;
type EndpointId = Uuid;

const TAKEN: Answer = Answer { status: Some(200), error: None, retry_after: None };
const NEW: Message = Message { first: true, age: Duration::ZERO };

struct Rig {
    shares: Arc<Shares<MerchantId, EndpointId>>,
    ambient: Ambient,
    merchant: MerchantId,
}

impl Rig {
    fn of_slots(slots: usize) -> Self {
        let (ambient, _) = Ambient::steered(3, Timestamp::UNIX_EPOCH);
        let shares = Shares::new(ShareLimits::of_slots(slots), ambient.clone());
        Self { shares, merchant: ambient.uuid(), ambient }
    }

    fn endpoint(&self) -> EndpointId {
        self.ambient.uuid()
    }

    fn enter(&self, endpoint: EndpointId) -> Result<Permit<MerchantId, EndpointId>, Wait> {
        self.enter_at(endpoint, Duration::ZERO)
    }

    fn enter_at(&self, endpoint: EndpointId, age: Duration) -> Result<Permit<MerchantId, EndpointId>, Wait> {
        self.shares.enter(self.merchant, endpoint, Message { first: true, age })
    }

    fn post(&self, endpoint: EndpointId, answer: Answer) {
        self.enter(endpoint).unwrap_or_else(|wait| panic!("{wait:?}")).settle(&answer);
    }
}

#[tokio::test(start_paused = true)]
async fn a_merchant_has_its_share_and_an_endpoint_two_of_it() {
    let rig = Rig::of_slots(16);
    let (one, other) = (rig.endpoint(), rig.endpoint());
    let held: Vec<_> = [one, one, other].map(|endpoint| rig.enter(endpoint)).into_iter().flatten().collect();
    assert_eq!(held.len(), 3);
    assert!(matches!(rig.enter(one), Err(Wait::Turn(_))), "two for one endpoint");
    let fourth = rig.enter(other);
    assert!(fourth.is_ok());
    assert!(matches!(rig.enter(rig.endpoint()), Err(Wait::Turn(_))), "a quarter for one merchant");
    let stranger = rig.ambient.uuid();
    assert!(rig.shares.enter(stranger, rig.endpoint(), NEW).is_ok(), "others have theirs");
    drop(fourth);
    assert!(rig.enter(rig.endpoint()).is_ok(), "what is dropped is given back");
}

#[tokio::test(start_paused = true)]
async fn slow_endpoints_hold_few_slots_and_leave_the_lane_by_a_quick_answer() {
    let rig = Rig::of_slots(16);
    let slow = [rig.endpoint(), rig.endpoint()];
    for endpoint in slow {
        rig.post(endpoint, Answer::failed("timeout"));
    }
    let held = rig.enter(slow[0]).unwrap_or_else(|wait| panic!("{wait:?}"));
    assert_eq!(held.timeout(), TOTAL_TIMEOUT);
    assert!(matches!(rig.enter(slow[1]), Err(Wait::Turn(_))), "one of a share of four");
    let quick = rig.enter(rig.endpoint()).unwrap_or_else(|wait| panic!("{wait:?}"));
    assert_eq!(quick.timeout(), Duration::from_secs(3));
    held.settle(&TAKEN);
    let again = rig.enter(slow[0]).unwrap_or_else(|wait| panic!("{wait:?}"));
    assert_eq!(again.timeout(), Duration::from_secs(3));
    // The slow lane is bounded over all merchants, too; retries use it.
    let message = Message { first: false, ..NEW };
    let retry = || rig.shares.enter(rig.ambient.uuid(), rig.endpoint(), message);
    let held: Vec<_> = (0..4).map(|_| retry()).collect();
    assert!(held.iter().all(Result::is_ok));
    assert!(matches!(retry(), Err(Wait::Turn(_))));
}

#[tokio::test(start_paused = true)]
async fn an_endpoint_that_keeps_failing_rests_and_is_asked_by_one_probe() {
    let rig = Rig::of_slots(16);
    let endpoint = rig.endpoint();
    for _ in 0..FAILURES_MAX {
        rig.post(endpoint, Answer::of_status(500, None));
    }
    let mut longest = REST_MIN;
    for _ in 0..10 {
        let Err(Wait::Rest(wait)) = rig.enter(endpoint) else { panic!("it rests") };
        assert!(wait >= longest / 2 && wait <= longest * 2 + TURN_MIN, "{wait:?} of {longest:?}");
        tokio::time::advance(wait).await;
        let probe = rig.enter(endpoint).unwrap_or_else(|wait| panic!("{wait:?}"));
        assert!(matches!(rig.enter(endpoint), Err(Wait::Rest(_))), "one at a time");
        probe.settle(&Answer::failed("connect"));
        longest = (longest * 2).min(REST_MAX);
    }
    tokio::time::advance(REST_MAX).await;
    rig.post(endpoint, TAKEN);
    assert!(rig.enter(endpoint).is_ok());
}

#[tokio::test(start_paused = true)]
async fn however_many_wait_few_come_back_each_second() {
    let rig = Rig::of_slots(16);
    let silent = rig.endpoint();
    let held: Vec<_> = (0..2).map(|_| rig.enter(silent)).collect();
    let mut waits: Vec<_> = (0..100_000).filter_map(|_| rig.enter(silent).err()).collect();
    assert_eq!((held.len(), waits.len()), (2, 100_000));
    waits.sort_by_key(|wait| match wait {
        Wait::Turn(wait) | Wait::Rest(wait) => *wait,
    });
    let of = |wait: &Wait| matches!(wait, Wait::Turn(wait) if *wait < Duration::from_secs(10));
    let soon = waits.iter().filter(|wait| of(wait)).count();
    assert!(soon <= 1000, "{soon} within ten seconds");
    assert!(waits.iter().all(|wait| matches!(wait, Wait::Turn(wait) if *wait <= TURN_MAX + TURN_MIN * 2)));
}

/// Three hours of messages to fifty silent endpoints, in steps of a second.
#[tokio::test(start_paused = true)]
async fn what_piles_up_for_silent_endpoints_comes_back_seldom() {
    const STEPS: u64 = 3 * 60 * 60;
    let rig = Rig::of_slots(16);
    let silent: Vec<_> = (0..50).map(|_| rig.endpoint()).collect();
    let start = Instant::now();
    // Waiting messages by the second of their return: time of publishing and endpoint.
    let mut waiting = BTreeMap::<u64, Vec<(u64, usize)>>::new();
    let mut held: Vec<(Instant, Permit<MerchantId, EndpointId>)> = Vec::new();
    let (mut published, mut tries) = (0_usize, 0_usize);
    for second in 0..STEPS {
        let now = start + Duration::from_secs(second);
        for (_, late) in held.extract_if(.., |(end, _)| *end <= now) {
            late.settle(&Answer::failed("timeout"));
        }
        let mut here = waiting.remove(&second).unwrap_or_default();
        here.extend([0, 1, 2].map(|next| (second, (published + next) % silent.len())));
        published += 3;
        for (since, endpoint) in here {
            tries += 1;
            match rig.enter_at(silent[endpoint], Duration::from_secs(second - since)) {
                Ok(permit) => held.push((now + permit.timeout(), permit)),
                Err(Wait::Turn(wait) | Wait::Rest(wait)) => {
                    waiting.entry(second + 1 + wait.as_secs()).or_default().push((since, endpoint));
                }
            }
        }
        assert!(held.len() <= 4, "{} slots at a time", held.len());
        tokio::time::advance(Duration::from_secs(1)).await;
    }
    eprintln!("{tries} tries of {published} messages");
    assert!(tries < published * 8, "{tries} tries of {published} messages");
}

#[tokio::test(start_paused = true)]
async fn one_message_comes_for_each_probe_and_old_ones_wait_as_long_again() {
    let rig = Rig::of_slots(16);
    let endpoint = rig.endpoint();
    for _ in 0..FAILURES_MAX {
        rig.post(endpoint, Answer::failed("connect"));
    }
    let age = Duration::from_hours(1);
    for _ in 0..10 {
        let waits: Vec<_> = (0..100)
            .map(|_| match rig.enter_at(endpoint, age) {
                Err(Wait::Rest(wait)) => wait,
                other => panic!("it rests: {:?}", other.err()),
            })
            .collect();
        assert!(waits[0] <= REST_MAX * 2 + TURN_MIN, "{:?}", waits[0]);
        assert!(waits[1..].iter().all(|wait| *wait >= age / 2 && *wait <= age), "{waits:?}");
        tokio::time::advance(waits[0]).await;
        rig.post(endpoint, Answer::failed("connect"));
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_remembered_is_bounded() {
    let rig = Rig::of_slots(16);
    for _ in 0..REMEMBERED_MAX + 100 {
        rig.post(rig.endpoint(), Answer::failed("connect"));
    }
    let (lanes, endpoints) = rig.shares.state.lock().remembered();
    assert_eq!((lanes, endpoints), (0, REMEMBERED_MAX));
    rig.post(rig.endpoint(), TAKEN);
    assert!(rig.shares.state.lock().remembered().1 <= REMEMBERED_MAX, "those that work are not kept");
}
