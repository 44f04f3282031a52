//! Operations of the OpenAPI document as their pages show them.
//!
//! Guarantees: every operation, parameter, header field, member and response of the document is there, in the order of
//! its tags and paths. What the document lacks is left out, never invented.

use serde_json::Value;

use super::{
    fields::{Field, field, fields, list},
    prose::{Piece, pieces},
};

/// In the order of the pages.
const METHODS: [&str; 5] = ["get", "post", "put", "patch", "delete"];

/// The whole document.
#[derive(Debug)]
pub(super) struct Reference {
    pub(super) about: Vec<Piece>,
    pub(super) groups: Vec<Group>,
}

/// The operations of a tag.
#[derive(Debug)]
pub(super) struct Group {
    pub(super) name: String,
    pub(super) about: Vec<Piece>,
    pub(super) operations: Vec<Operation>,
}

#[derive(Debug)]
pub(super) struct Operation {
    pub(super) id: String,
    /// Name of the group.
    pub(super) group: String,
    /// Address of the page.
    pub(super) href: String,
    pub(super) method: String,
    pub(super) path: String,
    pub(super) title: String,
    pub(super) about: Vec<Vec<Piece>>,
    pub(super) key: Key,
    pub(super) parameters: Vec<Parameter>,
    /// Members of the body; empty where there is no body.
    pub(super) body: Vec<Field>,
    /// Example of the body; empty where there is no body.
    pub(super) body_example: String,
    pub(super) responses: Vec<Response>,
}

/// The API keys that an operation takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Key {
    None,
    Any,
    Secret,
}

impl Key {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::None => "No API key.",
            Self::Any => "A publishable or a secret API key.",
            Self::Secret => "A secret API key.",
        }
    }
}

/// A parameter of path, query or header.
#[derive(Debug)]
pub(super) struct Parameter {
    /// `path`, `query` or `header`.
    pub(super) place: String,
    pub(super) field: Field,
    /// Empty where an example does without the parameter.
    pub(super) example: String,
}

#[derive(Debug)]
pub(super) struct Response {
    pub(super) status: String,
    pub(super) about: Vec<Piece>,
    pub(super) headers: Vec<Field>,
    pub(super) media_type: String,
    pub(super) is_problem: bool,
    /// Members of the body; empty for problems, which all have the same.
    pub(super) body: Vec<Field>,
    pub(super) example: String,
}

impl Reference {
    pub(super) fn of(document: &Value) -> Self {
        let mut groups: Vec<Group> = list(&document["tags"]).iter().map(group).collect();
        for (path, item) in document["paths"].as_object().into_iter().flatten() {
            for method in METHODS {
                let Some(described) = item.get(method) else { continue };
                let operation = operation(document, method, path, described);
                if let Some(group) = groups.iter_mut().find(|group| group.name == operation.group) {
                    group.operations.push(operation);
                }
            }
        }
        Self { about: pieces(text(&document["info"]["description"])), groups }
    }

    pub(super) fn operation(&self, group: &str, id: &str) -> Option<&Operation> {
        let group = self.groups.iter().find(|known| known.name == group)?;
        group.operations.iter().find(|operation| operation.id == id)
    }
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// An example as a person would type it.
fn shown(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => serde_json::to_string_pretty(other).unwrap_or_default(),
    }
}

fn group(tag: &Value) -> Group {
    let (name, about) = (text(&tag["name"]).to_owned(), pieces(text(&tag["description"])));
    Group { name, about, operations: Vec::new() }
}

fn operation(document: &Value, method: &str, path: &str, described: &Value) -> Operation {
    let (id, group) = (text(&described["operationId"]).to_owned(), text(&described["tags"][0]).to_owned());
    let key = match &described["security"] {
        Value::Null => Key::Any,
        named if named[0].get("secret_key").is_some() => Key::Secret,
        _ => Key::None,
    };
    let parameters: Vec<Parameter> =
        list(&described["parameters"]).iter().map(|named| parameter(document, named)).collect();
    let body = &described["requestBody"]["content"]["application/json"];
    let responses = described["responses"].as_object().into_iter().flatten();
    let responses: Vec<Response> = responses
        .filter(|(status, _)| *status != "default")
        .map(|(status, named)| response(document, status, named))
        .collect();
    // Lines of a paragraph are joined; an empty line begins the next one.
    let about =
        text(&described["description"]).split("\n\n").map(|paragraph| pieces(&paragraph.replace('\n', " ")));
    Operation {
        href: format!("/docs/{group}/{id}"),
        id,
        group,
        method: method.to_uppercase(),
        path: path.to_owned(),
        title: text(&described["summary"]).to_owned(),
        about: about.filter(|paragraph| !paragraph.is_empty()).collect(),
        key,
        parameters,
        body: fields(document, &body["schema"]),
        body_example: shown(&body["example"]),
        responses,
    }
}

fn parameter(document: &Value, described: &Value) -> Parameter {
    let is_required = described["required"] == true;
    let mut row = field(document, text(&described["name"]), is_required, &described["schema"]);
    row.about = pieces(text(&described["description"]));
    let place = text(&described["in"]).to_owned();
    Parameter { place, field: row, example: shown(&described["example"]) }
}

fn response(document: &Value, status: &str, described: &Value) -> Response {
    let described = match described["$ref"].as_str() {
        Some(name) => document.pointer(name.trim_start_matches('#')).unwrap_or(described),
        None => described,
    };
    let headers = described["headers"].as_object().into_iter().flatten();
    let headers = headers.map(|(name, header)| {
        let mut row = field(document, name, false, &header["schema"]);
        row.about = pieces(text(&header["description"]));
        row
    });
    let content = described["content"].as_object().and_then(|content| content.iter().next());
    let media_type = content.map(|(media_type, _)| media_type.clone()).unwrap_or_default();
    let is_problem = media_type == "application/problem+json";
    let body = content.filter(|_| !is_problem).map(|(_, content)| fields(document, &content["schema"]));
    Response {
        status: status.to_owned(),
        about: pieces(text(&described["description"])),
        headers: headers.collect(),
        media_type,
        is_problem,
        body: body.unwrap_or_default(),
        example: content.map(|(_, content)| shown(&content["example"])).unwrap_or_default(),
    }
}
