//! Tests of the registry: what it refuses, and what it tells of jobs.

use serde::{Deserialize, Serialize};

use super::*;
use crate::{JobError, Unique, engine::EngineError, envelope::EnqueueOptions};

#[derive(Serialize, Deserialize)]
struct Move {
    metres: u32,
}

impl Job for Move {
    type Env = ();
    const KIND: &'static str = "move";
    const VERSION: u16 = 2;
    const QUEUE: &'static str = "floor";

    async fn run(&self, _ctx: &JobContext<()>) -> Result<(), JobError> {
        Ok(())
    }
}

#[derive(Serialize, Deserialize)]
struct Other;

impl Job for Other {
    type Env = ();
    const KIND: &'static str = "move";
    async fn run(&self, _ctx: &JobContext<()>) -> Result<(), JobError> {
        Ok(())
    }
}

#[derive(Serialize, Deserialize)]
struct Shouting;

impl Job for Shouting {
    type Env = ();
    const KIND: &'static str = "Shout!";
    async fn run(&self, _ctx: &JobContext<()>) -> Result<(), JobError> {
        Ok(())
    }
}

#[test]
fn a_duplicate_kind_names_both_types() {
    let error = Registry::new().register::<Move>().unwrap().register::<Other>().unwrap_err();
    let text = error.to_string();
    assert!(
        text.contains("`move`") && text.contains("tests::Move") && text.contains("tests::Other"),
        "{text}"
    );
}

#[test]
fn names_no_engine_could_carry_are_refused() {
    let error = Registry::new().register::<Shouting>().unwrap_err();
    assert!(matches!(error, RegisterError::BadKind { kind: "Shout!", .. }));
    for (name, good) in [("a_1", true), ("", false), ("a-b", false), (&"x".repeat(61), false)] {
        assert_eq!(is_name(name), good, "{name}");
    }
}

/// A job whose signal fires after this many seconds, of ten.
#[derive(Serialize, Deserialize)]
struct Soft<const SECONDS: u64>;

impl<const SECONDS: u64> Job for Soft<SECONDS> {
    type Env = ();
    const KIND: &'static str = "soft";
    const TIMEOUT: Duration = Duration::from_secs(10);
    const SOFT_TIMEOUT: Option<Duration> = Some(Duration::from_secs(SECONDS));
    async fn run(&self, _ctx: &JobContext<()>) -> Result<(), JobError> {
        Ok(())
    }
}

#[test]
fn a_soft_timeout_lies_within_the_timeout() {
    assert!(Registry::new().register::<Soft<9>>().is_ok());
    let refused = [Registry::new().register::<Soft<10>>(), Registry::new().register::<Soft<0>>()];
    for (refused, soft) in refused.into_iter().zip(["10s", "0ns"]) {
        let error = refused.unwrap_err().to_string();
        let soft = format!("SOFT_TIMEOUT of {soft}");
        let told = [soft.as_str(), "TIMEOUT of 10s", "Soft<"];
        assert!(told.into_iter().all(|text| error.contains(text)), "{error}");
    }
}

/// A job whose unique key is held for this many seconds at least.
#[derive(Serialize, Deserialize)]
struct Keyed<const SECONDS: u64>;

impl<const SECONDS: u64> Job for Keyed<SECONDS> {
    type Env = ();
    const KIND: &'static str = "keyed";
    const UNIQUE: Unique = Unique::WHILE_ACTIVE.within(Duration::from_secs(SECONDS));
    async fn run(&self, _ctx: &JobContext<()>) -> Result<(), JobError> {
        Ok(())
    }
}

#[test]
fn the_period_of_a_unique_key_has_bounds() {
    assert!(Registry::new().register::<Keyed<1>>().is_ok());
    let error = Registry::new().register::<Keyed<0>>().unwrap_err();
    assert!(matches!(error, RegisterError::BadUniquePeriod { period: Duration::ZERO, .. }), "{error}");
    let ambient = base::Ambient::system();
    let refused = Envelope::new(&Keyed::<0>, EnqueueOptions::default(), &ambient).unwrap_err();
    assert!(matches!(&refused, EngineError::Refused(why) if why.contains("0ns")), "{refused}");
    let options = EnqueueOptions { unique: Some(Unique::WHILE_KEPT), ..EnqueueOptions::default() };
    let envelope = Envelope::new(&Keyed::<0>, options, &ambient).unwrap();
    assert_eq!(envelope.unique, Unique::WHILE_KEPT, "for one call");
}

#[test]
fn a_job_is_readable_by_kind_version_and_payload() {
    let registry = Registry::new().register::<Move>().unwrap();
    let ambient = base::Ambient::system();
    let good = Envelope::new(&Move { metres: 1 }, EnqueueOptions::default(), &ambient).unwrap();
    assert_eq!(registry.check(&good), Ok(()));
    let of_kind = |kind: &str| Envelope { kind: kind.to_owned(), ..good.clone() };
    assert_eq!(registry.check(&of_kind("shove")), Err(Unreadable::UnknownKind));
    assert_eq!(registry.check(&of_kind("")), Err(Unreadable::NoJob));
    let newer = Envelope { version: 3, ..good.clone() };
    assert_eq!(registry.check(&newer), Err(Unreadable::NewerVersion { known: 2 }));
    let broken = registry.check_payload("move", 2, "{}");
    assert_eq!(broken, Err(Unreadable::Payload("does not decode: missing field `metres`".to_owned())));
}

#[test]
fn queues_and_kinds_are_listed_once() {
    let registry = Registry::new().register::<Move>().unwrap();
    assert_eq!((registry.kinds(), registry.queues()), (vec!["move"], vec!["floor"]));
}

#[test]
fn a_limit_belongs_to_one_registered_kind_and_a_name_to_one_limit() {
    let limit = |most| Limit::concurrent("road", most).unwrap();
    let refused = |registry: Result<Registry<()>, RegisterError>| registry.unwrap_err().to_string();
    let told = refused(Registry::new().limit(limit(1), |_: &Move| None));
    assert!(told.contains("must be registered before"), "{told}");
    let registry = || Registry::new().register::<Move>().unwrap();
    let told = refused(registry().limit(limit(1), |_: &Other| None));
    assert!(told.contains("tests::Other"), "another type of the kind: {told}");
    let of_move = |job: &Move| Some(job.metres.to_string());
    let limited = || registry().limit(limit(1), of_move).unwrap();
    let told = refused(limited().limit(limit(1), of_move));
    assert!(told.contains("has a limit already"), "{told}");
    let told = refused(limited().register::<Soft<9>>().unwrap().limit(limit(2), |_: &Soft<9>| None));
    assert!(told.contains("limit `road`") && told.contains("Soft<"), "{told}");
    let shared = limited().register::<Soft<9>>().unwrap().limit(limit(1), |_: &Soft<9>| None).unwrap();
    let limits = shared.limits();
    assert_eq!((limits["move"].key)(2, r#"{"metres": 7}"#).as_deref(), Some("7"));
    assert_eq!((limits["move"].key)(2, "{}"), None, "the run tells why it does not decode");
    assert_eq!((limits["soft"].key)(1, "null"), None);
}
