//! JSON to draw from: values of every kind, nested a few levels, whose members have names that mean something.

use proptest::{collection::vec, prelude::*, sample::select};
use serde_json::Value;

/// Values whose members have these names, and whose texts are sometimes these.
pub(crate) fn values(names: &[&'static str], texts: &[&'static str]) -> impl Strategy<Value = Value> + use<> {
    let (names, texts) = (names.to_vec(), texts.to_vec());
    let plain = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        ".{0,40}".prop_map(Value::from),
        select(texts).prop_map(Value::from),
    ];
    plain.prop_recursive(4, 64, 8, move |inner| {
        let members = vec((select(names.clone()), inner.clone()), 0..8);
        let member = |(name, value): (&str, Value)| (name.to_owned(), value);
        prop_oneof![
            vec(inner, 0..8).prop_map(Value::from),
            members.prop_map(move |all| Value::Object(all.into_iter().map(member).collect())),
        ]
    })
}
