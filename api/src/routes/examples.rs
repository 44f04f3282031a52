//! Examples of the OpenAPI document: a request and the answers of every operation, and each shared problem.
//!
//! Guarantees: a test validates each example against its schema and sends the requests to the routes. The examples
//! tell one story: Ada orders two cups. They are kept in a file of their own, `examples.json`, by the operation's id
//! and by the name of the shared problem.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;
use utoipa::openapi::{
    Content, OpenApi, RefOr,
    path::{Operation, ParameterBuilder},
};

use super::document::operations;

const EXAMPLES: &str = include_str!("examples.json");

#[derive(Deserialize)]
struct Examples {
    operations: BTreeMap<String, OperationExamples>,
    problems: BTreeMap<String, Value>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct OperationExamples {
    /// By name; an optional parameter without an example is left out of the request.
    #[serde(default)]
    parameters: BTreeMap<String, Value>,
    request: Option<Value>,
    /// By status.
    #[serde(default)]
    responses: BTreeMap<String, Value>,
}

/// Adds the examples to a document that has its problems already.
pub(super) fn tell(document: &mut OpenApi) {
    // The file is part of the program and is read by a test; the document is right without examples, too.
    let Ok(Examples { operations: by_operation, problems }) = serde_json::from_str(EXAMPLES) else { return };
    for operation in document.paths.paths.values_mut().flat_map(operations) {
        if let Some(examples) = operation.operation_id.as_deref().and_then(|id| by_operation.get(id)) {
            tell_operation(operation, examples);
        }
    }
    for (name, response) in &mut document.components.get_or_insert_default().responses {
        if let (RefOr::T(response), Some(example)) = (response, problems.get(name)) {
            tell_content(response.content.values_mut(), example);
        }
    }
}

fn tell_operation(operation: &mut Operation, examples: &OperationExamples) {
    for parameter in operation.parameters.iter_mut().flatten() {
        let RefOr::T(parameter) = parameter else { continue };
        if let Some(example) = examples.parameters.get(&parameter.name) {
            let builder = ParameterBuilder::from(std::mem::take(parameter));
            *parameter = builder.example(Some(example.clone())).build();
        }
    }
    if let (Some(RefOr::T(body)), Some(example)) = (&mut operation.request_body, &examples.request) {
        tell_content(body.content.values_mut(), example);
    }
    for (status, response) in &mut operation.responses.responses {
        if let (RefOr::T(response), Some(example)) = (response, examples.responses.get(status)) {
            tell_content(response.content.values_mut(), example);
        }
    }
}

fn tell_content<'a>(contents: impl Iterator<Item = &'a mut RefOr<Content>>, example: &Value) {
    for content in contents {
        if let RefOr::T(content) = content {
            content.example = Some(example.clone());
        }
    }
}
