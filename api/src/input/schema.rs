//! Check of a body against the schema of its request, which is the one that the OpenAPI document shows.
//!
//! Reports all faults of all fields. serde alone would stop at the first one and quote the value in its message.

use std::{
    any::TypeId,
    collections::HashMap,
    sync::{LazyLock, PoisonError, RwLock},
};

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use utoipa::{
    Number, ToSchema,
    openapi::{
        Object, RefOr, Schema,
        schema::{Array, ArrayItems, SchemaType, Type},
    },
};

use super::{
    formats,
    report::{ERRORS_MAX, Report, child},
};

/// A request that is read from a body.
pub(crate) trait Request: DeserializeOwned + ToSchema + 'static {
    /// Whether a missing body means `{}`.
    const OPTIONAL: bool = false;

    /// Rules that a schema cannot express. `sent` is the body, `valid` what of it agrees with the schema.
    fn check(_sent: &Value, _valid: &Value, _report: &Report) {}
}

/// The schema of a request and those that it refers to.
struct RequestSchema {
    root: RefOr<Schema>,
    named: HashMap<String, RefOr<Schema>>,
}

impl RequestSchema {
    /// Built once per type and kept for ever.
    fn of<T: Request>() -> &'static Self {
        static KNOWN: LazyLock<RwLock<HashMap<TypeId, &'static RequestSchema>>> =
            LazyLock::new(RwLock::default);
        let id = TypeId::of::<T>();
        if let Some(known) = KNOWN.read().unwrap_or_else(PoisonError::into_inner).get(&id) {
            return known;
        }
        let mut named = Vec::new();
        T::schemas(&mut named);
        let new = || &*Box::leak(Box::new(Self { root: T::schema(), named: named.into_iter().collect() }));
        KNOWN.write().unwrap_or_else(PoisonError::into_inner).entry(id).or_insert_with(new)
    }
}

/// Checks the body and returns what of it is valid, in the form that [`Request`] is deserialized from: text trimmed,
/// whole numbers as integers, no `null`.
pub(super) fn check<T: Request>(body: &Value, report: &Report) -> Value {
    let schema = RequestSchema::of::<T>();
    let checker = Checker { named: &schema.named, report };
    let valid = checker.value(&schema.root, "", body).unwrap_or_default();
    T::check(body, &valid, report);
    valid
}

struct Checker<'s> {
    named: &'s HashMap<String, RefOr<Schema>>,
    report: &'s Report,
}

impl<'s> Checker<'s> {
    fn fault<T>(&self, pointer: &str, code: &'static str, detail: impl Into<String>) -> Option<T> {
        self.report.add(pointer, code, detail);
        None
    }

    fn value(&self, schema: &'s RefOr<Schema>, pointer: &str, value: &Value) -> Option<Value> {
        match self.resolve(schema)? {
            Schema::Array(array) => self.array(array, pointer, value),
            Schema::Object(object) => match kind(&object.schema_type)? {
                Type::Object => self.object(object, pointer, value),
                Type::String => self.string(object, pointer, value),
                Type::Integer => self.integer(object, pointer, value),
                Type::Boolean if value.is_boolean() => Some(value.clone()),
                _ => self.fault(pointer, "wrong_type", "expected true or false"),
            },
            _ => None,
        }
    }

    /// Follows references, and chooses the schema beside `null`: a member that is `null` counts as absent.
    fn resolve(&self, schema: &'s RefOr<Schema>) -> Option<&'s Schema> {
        match schema {
            RefOr::Ref(reference) => {
                self.resolve(self.named.get(reference.ref_location.rsplit('/').next()?)?)
            }
            RefOr::T(Schema::OneOf(choice)) => {
                self.resolve(choice.items.iter().find(|item| matches!(item, RefOr::Ref(_)))?)
            }
            RefOr::T(schema) => Some(schema),
        }
    }

    fn object(&self, schema: &'s Object, pointer: &str, value: &Value) -> Option<Value> {
        let Value::Object(members) = value else {
            return self.fault(pointer, "wrong_type", "expected an object");
        };
        let unknown = members.keys().filter(|name| !schema.properties.contains_key(*name)).take(ERRORS_MAX);
        unknown.for_each(|name| {
            self.fault::<()>(&child(pointer, name), "unknown_field", "no such field");
        });
        let mut valid = Map::new();
        for (name, field) in &schema.properties {
            let pointer = child(pointer, name);
            if let Some(value) = members.get(name).filter(|value| !value.is_null()) {
                valid.extend(self.value(field, &pointer, value).map(|value| (name.clone(), value)));
            } else if schema.required.contains(name) {
                self.fault::<()>(&pointer, "required", "this field is required");
            }
        }
        Some(Value::Object(valid))
    }

    fn array(&self, schema: &'s Array, pointer: &str, value: &Value) -> Option<Value> {
        let Value::Array(items) = value else {
            return self.fault(pointer, "wrong_type", "expected an array");
        };
        let (min, max) = (schema.min_items.unwrap_or(0), schema.max_items.unwrap_or(usize::MAX));
        if !(min..=max).contains(&items.len()) {
            return self.fault(pointer, "wrong_length", format!("expected {min} to {max} items"));
        }
        let ArrayItems::RefOrSchema(item) = &schema.items else { return None };
        // All items are checked before the first fault ends the array.
        let valid = items
            .iter()
            .enumerate()
            .map(|(index, value)| self.value(item, &format!("{pointer}/{index}"), value));
        valid.collect::<Vec<_>>().into_iter().collect::<Option<Vec<_>>>().map(Value::Array)
    }

    fn string(&self, schema: &Object, pointer: &str, value: &Value) -> Option<Value> {
        let Value::String(text) = value else {
            return self.fault(pointer, "wrong_type", "expected a string");
        };
        match formats::read(schema, text) {
            Ok(text) => Some(Value::String(text)),
            Err((code, detail)) => self.fault(pointer, code, detail),
        }
    }

    fn integer(&self, schema: &Object, pointer: &str, value: &Value) -> Option<Value> {
        if !value.is_number() {
            return self.fault(pointer, "wrong_type", "expected a whole number");
        }
        let bounds = bound(schema.minimum.as_ref(), i64::MIN)..=bound(schema.maximum.as_ref(), i64::MAX);
        let number = value.as_i64().or_else(|| whole(value.as_f64()?));
        if let Some(number) = number.filter(|number| bounds.contains(number)) {
            return Some(number.into());
        }
        let (min, max) = bounds.into_inner();
        self.fault(pointer, "out_of_range", format!("expected a whole number from {min} to {max}"))
    }
}

/// The type beside `null`.
fn kind(of: &SchemaType) -> Option<&Type> {
    match of {
        SchemaType::Type(kind) => Some(kind),
        SchemaType::Array(kinds) => kinds.iter().find(|kind| **kind != Type::Null),
        SchemaType::AnyValue => None,
    }
}

fn bound(bound: Option<&Number>, otherwise: i64) -> i64 {
    match bound {
        Some(Number::Int(number)) => i64::try_from(*number).unwrap_or(otherwise),
        Some(Number::UInt(number)) => i64::try_from(*number).unwrap_or(otherwise),
        #[expect(clippy::cast_possible_truncation, reason = "bounds are written as whole numbers below 2^53")]
        Some(Number::Float(number)) => *number as i64,
        None => otherwise,
    }
}

/// An integer written as a float: `2.0` is 2 (JSON Schema core, section 4.2.3). Beyond 2^53 a float is not exact.
pub(super) fn whole(number: f64) -> Option<i64> {
    const EXACT_MAX: f64 = 9_007_199_254_740_992.0;
    let is_whole = number.fract() == 0.0 && number.abs() <= EXACT_MAX;
    #[expect(clippy::cast_possible_truncation, reason = "whole and within 2^53")]
    is_whole.then_some(number as i64)
}
