//! Pages of the reference by their templates. Every value is escaped.

use askama::Template;

use super::{
    curl,
    reference::{Key, Operation, Parameter, Reference},
    request::FormValues,
    sent::Sent,
};

/// Path of the style sheet; the version is that of the program, so that a new one is fetched.
const STYLESHEET: &str = concat!("/docs/docs.css?v=", env!("CARGO_PKG_VERSION"));

/// The form of an operation.
pub(super) struct Form {
    pub(super) fields: Vec<FormField>,
    /// Values and names of the keys to choose from; empty where there is no choice.
    pub(super) keys: Vec<FormKey>,
    pub(super) has_body: bool,
    pub(super) body: String,
}

pub(super) struct FormField {
    pub(super) name: String,
    pub(super) place: String,
    pub(super) value: String,
    /// Shown in the empty field.
    pub(super) example: String,
    pub(super) is_required: bool,
}

pub(super) struct FormKey {
    pub(super) value: &'static str,
    pub(super) name: &'static str,
    pub(super) is_chosen: bool,
}

impl Form {
    /// With the examples that a demo shop can answer; `fresh_key` is an idempotency key that was not used before.
    pub(super) fn fresh(operation: &Operation, fresh_key: &str) -> Self {
        let value = |parameter: &Parameter| match parameter.field.name.as_str() {
            "Idempotency-Key" => fresh_key.to_owned(),
            "sku" => parameter.example.clone(),
            _ => String::new(),
        };
        Self::of(operation, value, "publishable", operation.body_example.clone())
    }

    /// With what was sent.
    pub(super) fn filled(operation: &Operation, values: &FormValues) -> Self {
        let value = |parameter: &Parameter| values.get(&parameter.field.name).to_owned();
        Self::of(operation, value, values.get("key"), values.get("body").to_owned())
    }

    fn of(operation: &Operation, value: impl Fn(&Parameter) -> String, chosen: &str, body: String) -> Self {
        let field = |parameter: &Parameter| FormField {
            name: parameter.field.name.clone(),
            place: parameter.place.clone(),
            value: value(parameter),
            example: parameter.example.clone(),
            is_required: parameter.field.is_required,
        };
        let keys: &[(&'static str, &'static str)] = match operation.key {
            Key::Any => &[("publishable", "publishable"), ("secret", "secret"), ("none", "none")],
            Key::None | Key::Secret => &[],
        };
        Self {
            fields: operation.parameters.iter().map(field).collect(),
            keys: keys
                .iter()
                .map(|&(value, name)| FormKey { value, name, is_chosen: value == chosen })
                .collect(),
            has_body: !operation.body_example.is_empty(),
            body,
        }
    }
}

#[derive(Template)]
#[template(path = "docs/index.html")]
struct IndexPage<'a> {
    stylesheet: &'static str,
    title: &'static str,
    reference: &'a Reference,
    sends_requests: bool,
    note: &'a str,
}

#[derive(Template)]
#[template(path = "docs/operation.html")]
struct OperationPage<'a> {
    stylesheet: &'static str,
    title: &'a str,
    operation: &'a Operation,
    key: &'static str,
    curl: String,
    /// The operations of the same group.
    beside: &'a [Operation],
    forms: Vec<Form>,
    sent: Vec<Sent>,
}

/// The page of all operations. A `note` that is not empty stands above them.
pub(super) fn page_of_all(
    reference: &Reference,
    sends_requests: bool,
    note: &str,
) -> Result<String, askama::Error> {
    let title = "API reference";
    IndexPage { stylesheet: STYLESHEET, title, reference, sends_requests, note }.render()
}

/// The page of an operation, with a form where requests can be sent and with the answer to the one that was.
pub(super) fn page_of(
    reference: &Reference,
    operation: &Operation,
    form: Option<Form>,
    sent: Option<Sent>,
) -> Result<String, askama::Error> {
    let group = reference.groups.iter().find(|group| group.name == operation.group);
    let page = OperationPage {
        stylesheet: STYLESHEET,
        title: &operation.title,
        operation,
        key: operation.key.as_str(),
        curl: curl::command(operation),
        beside: group.map(|group| group.operations.as_slice()).unwrap_or_default(),
        forms: form.into_iter().collect(),
        sent: sent.into_iter().collect(),
    };
    page.render()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_sent_is_escaped() {
        let document = serde_json::to_value(crate::routes::openapi()).expect("JSON");
        let reference = Reference::of(&document);
        let operation = reference.operation("orders", "place_order").expect("is there");
        let hostile = "\"><script>alert(1)</script>";
        let form = format!("Idempotency-Key={hostile}&body={hostile}&key=secret");
        let values = FormValues::parse(form.as_bytes());
        let sent = Sent { body: hostile.to_owned(), ..Sent::refused(hostile) };
        let page = page_of(&reference, operation, Some(Form::filled(operation, &values)), Some(sent));
        let page = page.expect("renders");
        assert!(!page.contains("<script"), "{page}");
        assert!(page.matches("&#60;script&#62;").count() >= 4, "{page}");
    }
}
