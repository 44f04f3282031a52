//! Rules for every operation of the OpenAPI document, added in one place instead of at each handler.
//!
//! Guarantees: whatever requests must not contain ([`Node::object`](crate::input::Node),
//! [`Query`](crate::input::Query), the `Idempotency-Key`) is excluded by the document as well, so that clients
//! generated from it are not rejected.

use store::domain::OrderStatus;
use utoipa::openapi::{
    Content, OpenApi, RefOr, Required, Schema,
    path::{Operation, Parameter, PathItem},
    schema::{AdditionalProperties, ArrayItems, Object, SchemaType, Type},
};

use super::catalog::SKU_PATTERN;
use crate::input::LIMIT_MAX;

/// A UUID in its text form.
const UUID_PATTERN: &str = "[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}";
/// 1 to 255 visible ASCII characters, bare or as an sf-string (RFC 9651, section 3.3.3).
const KEY_PATTERN: &str = r#"^([!#-~][!-~]{0,254}|"([!#-\[\]-~]|\\["\\]){1,255}")$"#;
/// Text without control characters.
const TEXT_PATTERN: &str = r"^[^\x00-\x1f\x7f-\x9f]*$";
/// The same with at least one character that is not blank.
const LINE_PATTERN: &str = r"^[^\x00-\x1f\x7f-\x9f]*[^\s\x00-\x1f\x7f-\x9f][^\x00-\x1f\x7f-\x9f]*$";

/// Adds the common rules to the document.
pub(super) fn tell_rules(document: &mut OpenApi) {
    let mut read = Vec::new();
    for (path, item) in &mut document.paths.paths {
        for operation in operations(item) {
            for parameter in operation.parameters.iter_mut().flatten() {
                if let RefOr::T(parameter) = parameter {
                    tell_parameter(path, parameter);
                }
            }
            tell_body(operation, &mut read);
            tell_streams(operation);
        }
    }
    let Some(components) = &mut document.components else { return };
    // The list grows by the schemas that the objects in it refer to.
    let mut next = 0;
    while let Some(name) = read.get(next).cloned() {
        next += 1;
        if let Some(RefOr::T(schema)) = components.schemas.get_mut(&name) {
            close(schema, &mut read);
        }
    }
}

fn operations(item: &mut PathItem) -> impl Iterator<Item = &mut Operation> {
    [&mut item.get, &mut item.put, &mut item.post, &mut item.delete, &mut item.patch].into_iter().flatten()
}

fn tell_parameter(path: &str, parameter: &mut Parameter) {
    let Some(RefOr::T(Schema::Object(schema))) = &mut parameter.schema else { return };
    // A text parameter is absent or present, never `null`.
    if let SchemaType::Array(types) = &schema.schema_type
        && let Some(kind) = types.iter().find(|kind| **kind != Type::Null)
    {
        schema.schema_type = SchemaType::Type(kind.clone());
    }
    match parameter.name.as_str() {
        "limit" => {
            schema.minimum = Some(1_usize.into());
            schema.maximum = Some((LIMIT_MAX as usize).into());
        }
        "starting_after" => schema.pattern = cursor_pattern(path),
        "Idempotency-Key" => schema.pattern = Some(KEY_PATTERN.to_owned()),
        "sku" => schema.pattern = Some(SKU_PATTERN.to_owned()),
        "q" => text(schema, 100),
        "category" => text(schema, 64),
        "status" => schema.enum_values = Some(OrderStatus::ALL.map(|status| status.as_str().into()).into()),
        _ => {}
    }
}

fn text(schema: &mut Object, chars_max: usize) {
    schema.max_length = Some(chars_max);
    schema.pattern = Some(TEXT_PATTERN.to_owned());
}

/// Lists continue after an id; the catalog continues after any text.
fn cursor_pattern(path: &str) -> Option<String> {
    let prefix = match path {
        "/v1/orders" => "ord",
        "/v1/webhook_endpoints" => "whe",
        "/v1/events" => "evt",
        _ => return None,
    };
    Some(format!("^{prefix}_{UUID_PATTERN}$"))
}

/// Closes the schemas of a body: an optional body is still never `null`. Adds the names of the schemas in it to `read`.
fn tell_body(operation: &mut Operation, read: &mut Vec<String>) {
    let Some(RefOr::T(body)) = &mut operation.request_body else { return };
    for content in body.content.values_mut() {
        let RefOr::T(Content { schema: Some(schema), .. }) = content else { continue };
        if let RefOr::T(Schema::OneOf(choice)) = schema {
            let named = choice.items.iter().find(|item| matches!(item, RefOr::Ref(_))).cloned();
            *schema = named.unwrap_or_else(|| schema.clone());
            body.required = Some(Required::False);
        } else {
            body.required = Some(Required::True);
        }
        note(schema, read);
    }
}

/// Replaces the schema of event streams: a stream is no JSON string, and OpenAPI 3.1 cannot describe its items, so the
/// description does.
fn tell_streams(operation: &mut Operation) {
    for response in operation.responses.responses.values_mut() {
        let RefOr::T(response) = response else { continue };
        if let Some(RefOr::T(stream)) = response.content.get_mut("text/event-stream") {
            stream.schema = None;
        }
    }
}

/// Forbids members that the object does not declare.
fn close(schema: &mut Schema, read: &mut Vec<String>) {
    let Schema::Object(object) = schema else { return };
    object.additional_properties = Some(Box::new(AdditionalProperties::FreeForm(false)));
    object.properties.values().for_each(|member| note(member, read));
    for member in object.properties.values_mut() {
        if let RefOr::T(Schema::Object(member)) = member
            && member.min_length == Some(1)
            && member.pattern.is_none()
        {
            member.pattern = Some(LINE_PATTERN.to_owned());
        }
    }
}

/// Adds the names that a schema refers to.
fn note(schema: &RefOr<Schema>, read: &mut Vec<String>) {
    match schema {
        RefOr::Ref(reference) => {
            let name = reference.ref_location.rsplit('/').next().unwrap_or_default().to_owned();
            if !read.contains(&name) {
                read.push(name);
            }
        }
        RefOr::T(Schema::Array(array)) => {
            if let ArrayItems::RefOrSchema(items) = &array.items {
                note(items, read);
            }
        }
        RefOr::T(Schema::OneOf(choice)) => choice.items.iter().for_each(|item| note(item, read)),
        RefOr::T(_) => {}
    }
}
