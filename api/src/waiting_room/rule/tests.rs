//! Properties of the rule, over seeded rooms whose steps a test takes second by second.

use base::{Ambient, ids::Uuid};
use store::{admission::SaleMode, domain::MerchantId};

use super::*;
use crate::admission::rule::Drain;

fn start() -> Timestamp {
    Timestamp::from_second(1_800_000_000).expect("a time")
}

fn at(second: u64) -> Timestamp {
    later(start(), Duration::from_secs(second))
}

fn room(switch: SaleSwitch, order: RoomOrder) -> WaitingRoom {
    let mode = SaleMode {
        switch,
        order,
        active_max: 1_000,
        per_minute_max: 600,
        active_seconds: 120,
        begins_at: None,
        opens_at: None,
        ends_at: None,
    };
    WaitingRoom {
        merchant: MerchantId(Uuid::nil()),
        mode,
        key: Ambient::steered(3, start()).0.secret(),
        taken: 0,
        progress: RoomProgress::default(),
        version: 1,
        stepped_at: start(),
    }
}

fn load(age: Option<u64>, per_second: f64) -> RoomLoad {
    let drain = (per_second > 0.0).then_some(Drain { per_second, usual: Duration::from_secs(2) });
    let backlog = age.map(|age| Backlog {
        at: start(),
        open: 10,
        waiting_since: Some(earlier(start(), Duration::from_secs(age))),
        drain,
    });
    RoomLoad { backlog, limits: AdmissionLimits::default(), rooms: 1 }
}

/// Takes a step, as the store records it.
fn take(room: &mut WaitingRoom, load: &RoomLoad, now: Timestamp) {
    if let Some(step) = step(room, load, now) {
        (room.progress, room.stepped_at, room.version) = (step.progress, step.at, room.version + 1);
    }
}

/// The backlog of a load that is of this age at any time.
fn aged(load: &RoomLoad, now: Timestamp, age: u64) -> RoomLoad {
    let waiting_since = Some(earlier(now, Duration::from_secs(age)));
    RoomLoad { backlog: load.backlog.map(|backlog| Backlog { waiting_since, ..backlog }), ..*load }
}

#[test]
fn admissions_keep_rate_and_cap_and_end_in_time() {
    for seed in 0..30 {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut room = room(SaleSwitch::On, RoomOrder::Fifo);
        room.mode.active_max = random.u32(1..300);
        room.mode.per_minute_max = random.u32(1..2_000);
        room.mode.active_seconds = random.u32(60..200);
        let (mode, mut admitted_at) = (room.mode.clone(), Vec::new());
        for second in 1..900 {
            room.taken += random.u64(0..40);
            let before = room.progress.admitted;
            take(&mut room, &load(None, 0.0), at(second));
            assert!(room.progress.admitted >= before && room.progress.admitted <= room.taken);
            let count = usize::try_from(room.progress.admitted - before).expect("fits");
            admitted_at.extend(std::iter::repeat_n(second, count));
            let standing_now = |place: u64| standing(&room, place, at(second));
            let is_active = |place: &u64| matches!(standing_now(*place), Standing::Admitted { .. });
            let active = active(&room, at(second));
            assert!(active <= u64::from(mode.active_max), "seed {seed}: {active}");
            if second % 300 == 0 {
                let standing = (0..room.progress.admitted).filter(is_active).count();
                assert_eq!(u64::try_from(standing), Ok(active), "seed {seed}");
            }
            assert_eq!(standing_now(room.progress.admitted), Standing::Waiting { ahead: 0 });
            assert!(room.progress.history.len() <= 2 * usize::try_from(PARTS).expect("fits") + 2);
        }
        for window in 0..840 {
            let within = admitted_at.iter().filter(|at| (window..window + 60).contains(*at)).count();
            let most = f64::from(mode.per_minute_max) * 70.0 / 60.0 + 1.0;
            assert!(real(u64::try_from(within).expect("fits")) <= most, "seed {seed}: {within} of {most}");
        }
        assert!(!admitted_at.is_empty(), "seed {seed}");
    }
}

#[test]
fn the_first_come_are_admitted_first() {
    let mut room = room(SaleSwitch::On, RoomOrder::Fifo);
    room.taken = 500;
    take(&mut room, &load(None, 0.0), at(10));
    assert_eq!(room.progress.admitted, 100, "ten a second");
    assert!(matches!(standing(&room, 99, at(10)), Standing::Admitted { .. }));
    assert_eq!(standing(&room, 100, at(10)), Standing::Waiting { ahead: 0 });
    assert_eq!(standing(&room, 99, at(10 + 120)), Standing::Expired);
    let told = estimate(&room, 99, &load(None, 0.0), at(10)).expect("admits");
    assert_eq!(told, at(20), "a hundred more at ten a second");
}

#[test]
fn a_draw_is_made_when_the_room_opens() {
    let mut room = room(SaleSwitch::On, RoomOrder::Random);
    room.mode.opens_at = Some(at(60));
    room.taken = 300;
    take(&mut room, &load(None, 0.0), at(59));
    assert_eq!((room.progress.is_open, room.progress.admitted), (false, 0));
    take(&mut room, &load(None, 0.0), at(60));
    assert_eq!((room.progress.is_open, room.progress.drawn), (true, 300));
    room.taken = 400;
    for second in 61..=75 {
        take(&mut room, &load(None, 0.0), at(second));
    }
    let admitted = |from: u64, to: u64| {
        let is_admitted = |place: &u64| matches!(standing(&room, *place, at(75)), Standing::Admitted { .. });
        (from..to).filter(is_admitted).count()
    };
    let (early, late) = (admitted(0, 150), admitted(150, 300));
    assert_eq!((early + late, room.progress.admitted), (250, 250));
    assert!((101..150).contains(&early), "neither the first nor the last: {early} and {late}");
    assert_eq!(standing(&room, 399, at(75)), Standing::Waiting { ahead: 149 }, "who comes later follows");
}

#[test]
fn a_sale_begins_and_ends_at_its_times() {
    let mut room = room(SaleSwitch::On, RoomOrder::Fifo);
    (room.mode.begins_at, room.mode.ends_at) = (Some(at(10)), Some(at(20)));
    assert_eq!([9, 10, 19, 20].map(|second| is_required(&room, at(second))), [false, true, true, false]);
    room.taken = 50;
    take(&mut room, &load(None, 0.0), at(9));
    assert_eq!(room.progress.admitted, 0, "no shopper is admitted yet");
}

#[test]
fn the_rate_follows_the_drain() {
    let count = |age: u64, per_second: f64| {
        let mut room = room(SaleSwitch::On, RoomOrder::Fifo);
        room.taken = 1_000;
        take(&mut room, &aged(&load(Some(0), per_second), at(10), age), at(10));
        room.progress.admitted
    };
    assert_eq!(count(0, 3.0), 60, "twice the drain while orders go at once");
    assert_eq!(count(30, 3.0), 30, "the drain while they wait");
    assert_eq!(count(0, 50.0), 100, "never more than is set");
    assert_eq!(count(601, 50.0), 0, "none while orders are refused");
    assert_eq!(count(0, 0.0), 100, "as set while nothing is measured");
}

#[test]
fn a_room_by_load_begins_and_ends_with_the_load() {
    let mut room = room(SaleSwitch::ByLoad, RoomOrder::Fifo);
    let calm = load(Some(0), 5.0);
    take(&mut room, &aged(&calm, at(1), 59), at(1));
    assert!(!is_required(&room, at(1)));
    take(&mut room, &aged(&calm, at(2), 60), at(2));
    assert!(is_required(&room, at(2)), "shoppers wait from this age on");
    room.taken = 40;
    take(&mut room, &aged(&calm, at(3), 0), at(3));
    assert!(is_required(&room, at(3)), "some wait still");
    for second in 4..60 {
        take(&mut room, &aged(&calm, at(second), 0), at(second));
    }
    assert_eq!(room.progress.admitted, 40);
    assert!(!is_required(&room, at(60)));
    let forced = RoomProgress { is_forced: true, ..RoomProgress::default() };
    let mut room = WaitingRoom { progress: forced, ..room };
    (room.taken, room.progress.admitted) = (0, 0);
    take(&mut room, &RoomLoad { backlog: None, ..calm }, at(61));
    assert!(is_required(&room, at(61)), "stays as it is while nothing is known");
}
