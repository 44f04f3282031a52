//! Envelopes over the corpus of their fuzz target, and envelopes that are drawn.

use orderworks_jobs::envelope::Envelope;
use proptest::{option, prelude::*, sample::select};
use serde_json::{Value, json};

#[path = "../../../fuzz/checks/drawn.rs"]
mod drawn;
#[path = "../../../fuzz/checks/drawn_json.rs"]
mod drawn_json;
#[path = "../../../fuzz/checks/corpus.rs"]
mod entries;
#[path = "../../../fuzz/checks/envelope.rs"]
mod envelope;

const PLAIN: &str = include_str!("../../../fuzz/corpus/envelope/plain");
const MEMBERS: [&str; 12] = [
    "id",
    "version",
    "priority",
    "attempt",
    "created_at",
    "run_at",
    "trace",
    "unique",
    "order_key",
    "subject",
    "payload",
    "unknown",
];
const NAMES: [&str; 4] = ["states", "period_ms", "id", "order"];
const TEXTS: [&str; 4] =
    ["critical", "kept", "2026-11-24T08:00:00Z", "job_0193cb9f-5ad4-7ac0-8f8e-52ec61d3a8a5"];

fn with(members: &[(&str, Value)]) -> String {
    let mut envelope: Value = serde_json::from_str(PLAIN).expect("JSON");
    for (name, value) in members {
        envelope[*name] = value.clone();
    }
    envelope.to_string()
}

#[test]
fn decoded_envelopes_read_back() {
    entries::each("envelope", envelope::check);
}

#[test]
fn drawn_envelopes_read_back() {
    let values = || drawn_json::values(&NAMES, &TEXTS);
    let changes = (select(MEMBERS.to_vec()), values());
    drawn::each(&changes, |(name, value)| envelope::check(with(&[(name, value)]).as_bytes()));
    let keys = || option::of(".{0,40}");
    let contents = (".{0,40}", any::<u16>(), any::<u32>(), keys(), keys(), values());
    drawn::each(&contents, |(kind, version, attempt, order_key, subject, payload)| {
        let text = with(&[
            ("kind", json!(kind)),
            ("version", json!(version)),
            ("attempt", json!(attempt)),
            ("order_key", json!(order_key)),
            ("subject", json!(subject)),
            ("payload", payload),
        ]);
        assert!(serde_json::from_str::<Envelope>(&text).is_ok(), "{text}");
        envelope::check(text.as_bytes());
    });
}
