//! Requests as one definition: the struct, how it is read, and its schema.
//!
//! ```ignore
//! request! {
//!     /// Text of the schema.
//!     pub(super) struct CartItemPut {
//!         /// Text of the field.
//!         pub(super) quantity: u32 = integer(0..=10_000),
//!     }
//! }
//! ```
//! Every field has a type and a [`Rule`] for values of that type. `struct Name: optional` says that a missing body means
//! `{}`. [`fields!`] does the same for a struct that is defined elsewhere.

use utoipa::openapi::{
    Object, RefOr, Schema,
    schema::{AdditionalProperties, Type},
};

use super::{
    node::Node,
    rules::{Rule, Schemas},
};

/// An object that is read from a body.
pub(crate) trait Request: Sized {
    /// Name of the schema in the OpenAPI document.
    const NAME: &'static str;
    /// Whether a missing body means `{}`.
    const OPTIONAL: bool;

    /// Reads the object and reports every fault in it. `None` only if a fault was reported.
    fn read(node: &Node<'_>) -> Option<Self>;

    fn schema() -> Object;

    /// Adds the schemas that [`Self::schema`] refers to.
    fn collect(schemas: &mut Schemas);
}

/// Defines a struct and how it is read and described, see the module.
macro_rules! request {
    ($(#[$($meta:tt)*])* $vis:vis struct $name:ident $(: $optional:ident)? {
        $($(#[$($about:tt)*])* $field_vis:vis $field:ident: $type:ty = $rule:expr,)*
    }) => {
        $(#[$($meta)*])*
        $vis struct $name {
            $($(#[$($about)*])* $field_vis $field: $type,)*
        }

        $crate::input::fields! {
            $(#[$($meta)*])*
            $name $(: $optional)? as $name { $($(#[$($about)*])* $field: $type = $rule,)* }
        }

        impl utoipa::PartialSchema for $name {
            fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::Schema> {
                <Self as $crate::input::Request>::schema().into()
            }
        }

        impl utoipa::ToSchema for $name {
            fn name() -> std::borrow::Cow<'static, str> {
                <Self as $crate::input::Request>::NAME.into()
            }

            fn schemas(schemas: &mut $crate::input::Schemas) {
                <Self as $crate::input::Request>::collect(schemas);
            }
        }
    };
}

/// Reading and schema of a struct that is defined elsewhere; the name of its schema stands after `as`.
macro_rules! fields {
    ($(#[$($meta:tt)*])* $name:ident $(: $optional:ident)? as $schema:ident {
        $($(#[$($about:tt)*])* $field:ident: $type:ty = $rule:expr,)*
    }) => {
        impl $crate::input::Request for $name {
            const NAME: &'static str = stringify!($schema);
            const OPTIONAL: bool = !concat!("" $(, stringify!($optional))?).is_empty();

            fn read(node: &$crate::input::Node<'_>) -> Option<Self> {
                let members = node.members(&[$(stringify!($field)),*])?;
                // All fields are read before any `?`, so that every fault is reported.
                let ($($field,)*) = ($(
                    $crate::input::Rule::<$type>::read(&$rule, &node.member(members, stringify!($field))),
                )*);
                Some(Self { $($field: $field?,)* })
            }

            fn schema() -> utoipa::openapi::Object {
                let mut schema = $crate::input::closed_object(
                    concat!($($crate::input::doc_text!($($meta)*)),*),
                );
                $($crate::input::describe::<$type>(
                    &mut schema,
                    stringify!($field),
                    concat!($($crate::input::doc_text!($($about)*)),*),
                    &$rule,
                );)*
                schema
            }

            fn collect(schemas: &mut $crate::input::Schemas) {
                $($crate::input::Rule::<$type>::collect(&$rule, schemas);)*
            }
        }
    };
}

/// The text of a doc comment; nothing of other attributes.
macro_rules! doc_text {
    (doc = $text:literal) => {
        $text
    };
    ($($other:tt)*) => {
        ""
    };
}

pub(crate) use {doc_text, fields, request};

/// Schema of an object without members beyond those that are added.
pub(crate) fn closed_object(text: &str) -> Object {
    let mut schema = Object::with_type(Type::Object);
    schema.description = Some(text.trim().to_owned());
    schema.additional_properties = Some(Box::new(AdditionalProperties::FreeForm(false)));
    schema
}

/// Adds a field to the schema of its object.
pub(crate) fn describe<T>(object: &mut Object, name: &str, text: &str, rule: &impl Rule<T>) {
    fn required<T, R: Rule<T>>(_: &R) -> bool {
        R::REQUIRED
    }
    let mut schema = rule.schema();
    if !text.is_empty() {
        let text = text.trim().to_owned();
        match &mut schema {
            RefOr::Ref(reference) => reference.description = text,
            RefOr::T(Schema::Object(schema)) => schema.description = Some(text),
            RefOr::T(Schema::Array(schema)) => schema.description = Some(text),
            RefOr::T(Schema::OneOf(schema)) => schema.description = Some(text),
            RefOr::T(_) => {}
        }
    }
    if required::<T, _>(rule) {
        object.required.push(name.to_owned());
    }
    object.properties.insert(name.to_owned(), schema);
}
