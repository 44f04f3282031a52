//! Rules for every operation of the OpenAPI document, added in one place instead of at each handler.
//!
//! Guarantees: whatever parameters must not contain ([`Query`](crate::input::Query), the `Idempotency-Key`) is excluded
//! by the document as well, so that clients generated from it are not rejected. Bodies are
//! checked against the schemas themselves, see [`Request`](crate::input::Request).

use store::{catalog::ProductSort, domain::OrderStatus};
use utoipa::openapi::{
    Content, OpenApi, RefOr, Required, Schema,
    path::{Operation, Parameter, PathItem},
    schema::{KnownFormat, Object, SchemaFormat, SchemaType, Type},
    security::{Http, HttpAuthScheme, SecurityScheme},
};

use super::problem_responses;
use crate::input::{LIMIT_MAX, SKU_PATTERN, TEXT_PATTERN, VALUE_CHARS_MAX, pattern};

/// A UUID in its text form.
const UUID_PATTERN: &str = "[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}";
/// 1 to 255 visible ASCII characters, bare or as an sf-string (RFC 9651, section 3.3.3).
const KEY_PATTERN: &str = r#"^([!#-~][!-~]{0,254}|"([!#-\[\]-~]|\\["\\]){1,255}")$"#;

pub(super) fn tell_rules(document: &mut OpenApi) {
    for (path, item) in &mut document.paths.paths {
        for operation in operations(item) {
            for parameter in operation.parameters.iter_mut().flatten() {
                if let RefOr::T(parameter) = parameter {
                    tell_parameter(path, parameter);
                }
            }
            tell_body(operation);
            tell_streams(operation);
            if path.starts_with("/v1/") {
                problem_responses::tell(operation, path);
            }
        }
    }
    let components = document.components.get_or_insert_default();
    components.schemas.values_mut().for_each(tell_patterns);
    let mut keys = Http::new(HttpAuthScheme::Bearer);
    let description =
        "`owk_pub_…` (storefronts: catalog, placing orders, reading one order) or `owk_sec_…` (all)";
    keys.description = Some(description.to_owned());
    components.add_security_scheme("api_key", SecurityScheme::Http(keys));
    let mut keys = Http::new(HttpAuthScheme::Bearer);
    keys.description = Some("`owk_sec_…`".to_owned());
    components.add_security_scheme("secret_key", SecurityScheme::Http(keys));
    problem_responses::define(components);
}

/// Adds the pattern to each member that has a format.
fn tell_patterns(schema: &mut RefOr<Schema>) {
    let RefOr::T(Schema::Object(object)) = schema else { return };
    for member in object.properties.values_mut() {
        if let RefOr::T(Schema::Object(member)) = member {
            member.pattern = pattern(member).map(str::to_owned).or(member.pattern.take());
        }
    }
}

pub(super) fn operations(item: &mut PathItem) -> impl Iterator<Item = &mut Operation> {
    let PathItem { get, put, post, delete, patch, .. } = item;
    [get, put, post, delete, patch].into_iter().flatten()
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
        "starting_after" => match cursor_pattern(path) {
            Some(pattern) => schema.pattern = Some(pattern),
            None => text(schema, VALUE_CHARS_MAX),
        },
        "Idempotency-Key" => schema.pattern = Some(KEY_PATTERN.to_owned()),
        "day" => schema.format = Some(SchemaFormat::KnownFormat(KnownFormat::Date)),
        "sku" => schema.pattern = Some(SKU_PATTERN.to_owned()),
        "q" => text(schema, 100),
        "category" => text(schema, 64),
        "currency" => schema.pattern = Some("^[A-Z]{3}$".to_owned()),
        "price_min" | "price_max" => schema.minimum = Some(0_usize.into()),
        "sort" => schema.enum_values = Some(ProductSort::ALL.map(|sort| sort.as_str().into()).into()),
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
        "/v1/orders" | "/v1/customers/current/orders" => "ord",
        "/v1/webhook_endpoints" => "whe",
        "/v1/events" => "evt",
        "/v1/payments" => "pay",
        _ => return None,
    };
    Some(format!("^{prefix}_{UUID_PATTERN}$"))
}

/// An optional body may be left out, but is never `null`.
fn tell_body(operation: &mut Operation) {
    let Some(RefOr::T(body)) = &mut operation.request_body else { return };
    for content in body.content.values_mut() {
        let RefOr::T(Content { schema: Some(schema), .. }) = content else { continue };
        let mut required = Required::True;
        if let RefOr::T(Schema::OneOf(choice)) = schema
            && let Some(named) = choice.items.iter().find(|item| matches!(item, RefOr::Ref(_))).cloned()
        {
            *schema = named;
            required = Required::False;
        }
        body.required = Some(required);
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
