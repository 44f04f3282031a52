//! Rules for values in requests: what a value must be, once for reading it and once for describing it.
//!
//! A rule is a pair of closures, one that reads and one that describes, or a combination of other rules.

use std::{fmt::Display, marker::PhantomData, ops::RangeInclusive};

use serde_json::Value;
use utoipa::openapi::{
    Object, Ref, RefOr, Schema,
    schema::{ArrayBuilder, KnownFormat, OneOfBuilder, SchemaFormat, SchemaType, Type},
};

use super::{node::Node, request::Request};

/// Named schemas that others refer to.
pub(crate) type Schemas = Vec<(String, RefOr<Schema>)>;

/// A rule for values of type `T`.
pub(crate) trait Rule<T>: Sized {
    /// Whether the field must be present.
    const REQUIRED: bool = true;

    /// Reads the value; `None` if a fault was reported.
    fn read(&self, node: &Node<'_>) -> Option<T>;

    fn schema(&self) -> RefOr<Schema>;

    /// Adds the schemas that [`Self::schema`] refers to.
    fn collect(&self, _schemas: &mut Schemas) {}

    /// Converts what was read; `convert` returns `None` only after it has reported a fault.
    fn then<U, C: Fn(&Node<'_>, T) -> Option<U>>(self, convert: C) -> Then<Self, T, C> {
        Then { rule: self, convert, read: PhantomData }
    }

    /// Adds to the description, such as an example.
    fn described(self, describe: fn(&mut Object)) -> Described<Self> {
        Described { rule: self, describe }
    }
}

impl<T, R: Fn(&Node<'_>) -> Option<T>, S: Fn() -> Object> Rule<T> for (R, S) {
    fn read(&self, node: &Node<'_>) -> Option<T> {
        self.0(node)
    }

    fn schema(&self) -> RefOr<Schema> {
        self.1().into()
    }
}

/// Result of [`Rule::then`].
pub(crate) struct Then<R, T, C> {
    rule: R,
    convert: C,
    read: PhantomData<fn(T)>,
}

impl<T, U, R: Rule<T>, C: Fn(&Node<'_>, T) -> Option<U>> Rule<U> for Then<R, T, C> {
    const REQUIRED: bool = R::REQUIRED;

    fn read(&self, node: &Node<'_>) -> Option<U> {
        (self.convert)(node, self.rule.read(node)?)
    }

    fn schema(&self) -> RefOr<Schema> {
        self.rule.schema()
    }

    fn collect(&self, schemas: &mut Schemas) {
        self.rule.collect(schemas);
    }
}

/// Result of [`Rule::described`].
pub(crate) struct Described<R> {
    rule: R,
    describe: fn(&mut Object),
}

impl<T, R: Rule<T>> Rule<T> for Described<R> {
    fn read(&self, node: &Node<'_>) -> Option<T> {
        self.rule.read(node)
    }

    fn schema(&self) -> RefOr<Schema> {
        let mut schema = self.rule.schema();
        if let RefOr::T(Schema::Object(object)) = &mut schema {
            (self.describe)(object);
        }
        schema
    }
}

/// A value that may be absent or `null`.
pub(crate) fn optional<T>(rule: impl Rule<T>) -> impl Rule<Option<T>> {
    Optional(rule)
}

struct Optional<R>(R);

impl<T, R: Rule<T>> Rule<Option<T>> for Optional<R> {
    const REQUIRED: bool = false;

    fn read(&self, node: &Node<'_>) -> Option<Option<T>> {
        if node.is_absent() { Some(None) } else { self.0.read(node).map(Some) }
    }

    fn schema(&self) -> RefOr<Schema> {
        let mut schema = self.0.schema();
        match &mut schema {
            RefOr::T(Schema::Object(object)) => add_null(&mut object.schema_type),
            RefOr::T(Schema::Array(array)) => add_null(&mut array.schema_type),
            _ => {
                let choice = OneOfBuilder::new().item(schema).item(Object::with_type(Type::Null));
                return choice.into();
            }
        }
        schema
    }

    fn collect(&self, schemas: &mut Schemas) {
        self.0.collect(schemas);
    }
}

fn add_null(kind: &mut SchemaType) {
    if let SchemaType::Type(one) = kind {
        *kind = SchemaType::Array(vec![one.clone(), Type::Null]);
    }
}

/// An array with its length in bounds.
pub(crate) fn array<T>(length: RangeInclusive<usize>, item: impl Rule<T>) -> impl Rule<Vec<T>> {
    ArrayOf { length, item }
}

struct ArrayOf<R> {
    length: RangeInclusive<usize>,
    item: R,
}

impl<T, R: Rule<T>> Rule<Vec<T>> for ArrayOf<R> {
    fn read(&self, node: &Node<'_>) -> Option<Vec<T>> {
        let Value::Array(items) = node.present()? else {
            return node.fault("wrong_type", "expected an array");
        };
        if !self.length.contains(&items.len()) {
            let (min, max) = (self.length.start(), self.length.end());
            return node.fault("wrong_length", format!("expected {min} to {max} items"));
        }
        // All items are read before the first fault ends the array.
        let read = items.iter().enumerate().map(|(index, value)| self.item.read(&node.item(index, value)));
        let read: Vec<Option<T>> = read.collect();
        read.into_iter().collect()
    }

    fn schema(&self) -> RefOr<Schema> {
        let (min, max) = (*self.length.start(), *self.length.end());
        ArrayBuilder::new().items(self.item.schema()).min_items(Some(min)).max_items(Some(max)).into()
    }

    fn collect(&self, schemas: &mut Schemas) {
        self.item.collect(schemas);
    }
}

/// An object with the fields of `T`.
pub(crate) fn object<T: Request>() -> impl Rule<T> {
    ObjectOf(PhantomData::<fn() -> T>)
}

struct ObjectOf<T>(PhantomData<fn() -> T>);

impl<T: Request> Rule<T> for ObjectOf<T> {
    fn read(&self, node: &Node<'_>) -> Option<T> {
        T::read(node)
    }

    fn schema(&self) -> RefOr<Schema> {
        Ref::from_schema_name(T::NAME).into()
    }

    fn collect(&self, schemas: &mut Schemas) {
        schemas.push((T::NAME.to_owned(), T::schema().into()));
        T::collect(schemas);
    }
}

/// An integer in bounds.
pub(crate) fn integer<T: TryFrom<i64> + Into<i64> + Copy + Display>(
    bounds: RangeInclusive<T>,
) -> impl Rule<T> {
    let (min, max): (i64, i64) = ((*bounds.start()).into(), (*bounds.end()).into());
    let read = move |node: &Node<'_>| {
        let value = node.present()?;
        if !value.is_number() {
            return node.fault("wrong_type", "expected a whole number");
        }
        let number = value.as_i64().or_else(|| whole(value.as_f64()?));
        match number.filter(|number| (min..=max).contains(number)).and_then(|number| number.try_into().ok()) {
            Some(number) => Some(number),
            None => node.fault("out_of_range", format!("expected a whole number from {min} to {max}")),
        }
    };
    let describe = move || {
        let mut schema = Object::with_type(Type::Integer);
        let format = if size_of::<T>() > 4 { KnownFormat::Int64 } else { KnownFormat::Int32 };
        schema.format = Some(SchemaFormat::KnownFormat(format));
        schema.minimum = isize::try_from(min).ok().map(Into::into);
        schema.maximum = isize::try_from(max).ok().map(Into::into);
        schema
    };
    (read, describe)
}

/// An integer written as a float: `2.0` is 2 (JSON Schema core, section 4.2.3). Beyond 2^53 a float is not exact.
fn whole(number: f64) -> Option<i64> {
    const EXACT_MAX: f64 = 9_007_199_254_740_992.0;
    let is_whole = number.fract() == 0.0 && number.abs() <= EXACT_MAX;
    #[expect(clippy::cast_possible_truncation, reason = "whole and within 2^53")]
    is_whole.then_some(number as i64)
}

pub(crate) fn boolean() -> impl Rule<bool> {
    let read = |node: &Node<'_>| match node.present()? {
        Value::Bool(value) => Some(*value),
        _ => node.fault("wrong_type", "expected true or false"),
    };
    (read, || Object::with_type(Type::Boolean))
}

/// A string that satisfies `is_valid`, which `words` describe to people and `describe` to programs.
pub(crate) fn matching(
    is_valid: impl Fn(&str) -> bool,
    words: &'static str,
    describe: impl Fn(&mut Object),
) -> impl Rule<String> {
    let read = move |node: &Node<'_>| {
        let text = node.string()?;
        if is_valid(text) {
            Some(text.to_owned())
        } else {
            node.fault("wrong_format", format!("expected {words}"))
        }
    };
    let describe = move || {
        let mut schema = Object::with_type(Type::String);
        describe(&mut schema);
        schema
    };
    (read, describe)
}

/// One of these names.
pub(crate) fn one_of<const N: usize>(names: [&'static str; N], words: &'static str) -> impl Rule<String> {
    matching(
        move |text| names.contains(&text),
        words,
        move |schema| schema.enum_values = Some(names.map(Value::from).into()),
    )
}
