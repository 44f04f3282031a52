//! Members of a JSON schema as the rows of a table, those of nested objects by their path (`items[].sku`).

use serde_json::Value;

use super::prose::{Piece, pieces};

/// Objects within each other at most; the document has five.
const DEPTH_MAX: usize = 8;
/// How the patterns of plain text begin, whose meaning the description or the length tells better.
const TEXT_PATTERN: &str = "^[^\\x00";

/// The schema of what is not in the document.
static NULL: Value = Value::Null;

/// A row.
#[derive(Debug)]
pub(super) struct Field {
    pub(super) name: String,
    /// Type and format, such as `string or null (date-time)`.
    pub(super) kind: String,
    pub(super) is_required: bool,
    /// Bounds, values or pattern.
    pub(super) rules: String,
    pub(super) about: Vec<Piece>,
}

/// The rows of a schema. Required members come first, in the document's order.
pub(super) fn fields(document: &Value, schema: &Value) -> Vec<Field> {
    let mut fields = Vec::new();
    add_members(document, schema, "", DEPTH_MAX, &mut fields);
    fields
}

/// The row of a schema that is no member of an object.
pub(super) fn field(document: &Value, name: &str, is_required: bool, schema: &Value) -> Field {
    let nullable = list(&schema["oneOf"]).first().unwrap_or(&NULL);
    let inner = core(document, schema);
    let about = [schema, nullable, inner].into_iter().find_map(|part| part["description"].as_str());
    let schema = inner;
    Field {
        name: name.to_owned(),
        kind: kind(document, schema),
        is_required,
        rules: rules(document, schema),
        about: pieces(about.unwrap_or_default()),
    }
}

/// The schema itself, where it is named elsewhere or may also be null.
fn core<'a>(document: &'a Value, schema: &'a Value) -> &'a Value {
    let mut schema = schema;
    for _ in 0..DEPTH_MAX {
        if let Some(name) = schema["$ref"].as_str() {
            schema = document.pointer(name.trim_start_matches('#')).unwrap_or(&NULL);
            continue;
        }
        let mut others = list(&schema["oneOf"]).iter().filter(|variant| variant["type"] != "null");
        match (others.next(), others.next()) {
            (Some(only), None) => schema = only,
            _ => break,
        }
    }
    schema
}

/// The values of an array; none of what is no array.
pub(super) fn list(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}

fn add_members(document: &Value, schema: &Value, prefix: &str, depth: usize, fields: &mut Vec<Field>) {
    if depth == 0 {
        return;
    }
    let schema = core(document, schema);
    for part in list(&schema["allOf"]) {
        add_members(document, part, prefix, depth - 1, fields);
    }
    for variant in list(&schema["oneOf"]) {
        let first = fields.len();
        add_members(document, variant, prefix, depth - 1, fields);
        let value = &variant["properties"]["type"]["enum"][0];
        for field in &mut fields[first..] {
            if let (Some(value), "") = (value.as_str(), field.rules.as_str()) {
                field.rules = format!("where type is {value}");
            }
        }
    }
    let Some(members) = schema["properties"].as_object() else { return };
    let required = list(&schema["required"]);
    let named = required.iter().filter_map(|name| members.get_key_value(name.as_str()?));
    let others = members.iter().filter(|(name, _)| !required.iter().any(|known| known == *name));
    for (place, (name, member)) in named.chain(others).enumerate() {
        let path = if prefix.is_empty() { name.clone() } else { format!("{prefix}.{name}") };
        fields.push(field(document, &path, place < required.len(), member));
        let inner = core(document, member);
        if inner["type"] == "array" || list(&inner["type"]).iter().any(|kind| kind == "array") {
            add_members(document, &inner["items"], &format!("{path}[]"), depth - 1, fields);
        } else {
            add_members(document, inner, &path, depth - 1, fields);
        }
    }
}

fn kind(document: &Value, schema: &Value) -> String {
    let types: Vec<&str> = match &schema["type"] {
        Value::String(one) => vec![one],
        Value::Array(several) => several.iter().filter_map(Value::as_str).collect(),
        _ => vec!["object"],
    };
    let types: Vec<String> = types
        .into_iter()
        .map(|name| match name {
            "array" => format!("array of {}", kind(document, core(document, &schema["items"]))),
            name => name.to_owned(),
        })
        .collect();
    let format = schema["format"].as_str().filter(|format| !format.starts_with("int"));
    let format = format.map(|format| format!(" ({format})")).unwrap_or_default();
    format!("{}{format}", types.join(" or "))
}

fn rules(document: &Value, schema: &Value) -> String {
    let of_items = core(document, &schema["items"]);
    let mut rules = Vec::new();
    let values = if schema["enum"].is_array() { &schema["enum"] } else { &of_items["enum"] };
    let values: Vec<&str> = list(values).iter().filter_map(Value::as_str).collect();
    if !values.is_empty() {
        rules.push(format!("one of {}", values.join(", ")));
    }
    for (least, most, unit) in [
        ("minimum", "maximum", ""),
        ("minLength", "maxLength", " characters"),
        ("minItems", "maxItems", " items"),
    ] {
        match (schema[least].as_i64(), schema[most].as_i64()) {
            (Some(least), Some(most)) => rules.push(format!("{least} to {most}{unit}")),
            (Some(least), None) if least > 0 || unit.is_empty() => {
                rules.push(format!("{least} or more{unit}"));
            }
            (None, Some(most)) => rules.push(format!("{most}{unit} at most")),
            _ => {}
        }
    }
    rules
        .extend(schema["pattern"].as_str().filter(|text| !text.starts_with(TEXT_PATTERN)).map(str::to_owned));
    rules.join("; ")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn nested_members_have_a_path_and_required_ones_come_first() {
        let document = json!({"components": {"schemas": {"Item": {
            "type": "object", "required": ["sku"],
            "properties": {"sku": {"type": "string", "pattern": "^[a-z]+$"}},
        }}}});
        let schema = json!({
            "type": "object", "required": ["items"],
            "properties": {
                "amount": {"type": ["integer", "null"], "format": "int64", "minimum": 0, "maximum": 9},
                "items": {
                    "type": "array", "items": {"$ref": "#/components/schemas/Item"}, "minItems": 1, "maxItems": 5,
                },
                "owner": {"oneOf": [{"$ref": "#/components/schemas/Item", "description": "A `sku`"}, {"type": "null"}]},
            },
        });
        let rows: Vec<_> = fields(&document, &schema)
            .into_iter()
            .map(|field| (field.name, field.kind, field.is_required, field.rules, field.about.len()))
            .collect();
        let row = |name: &str, kind: &str, is_required, rules: &str, pieces| {
            (name.to_owned(), kind.to_owned(), is_required, rules.to_owned(), pieces)
        };
        assert_eq!(
            rows,
            [
                row("items", "array of object", true, "1 to 5 items", 0),
                row("items[].sku", "string", true, "^[a-z]+$", 0),
                row("amount", "integer or null", false, "0 to 9", 0),
                row("owner", "object", false, "", 2),
                row("owner.sku", "string", true, "^[a-z]+$", 0),
            ]
        );
    }
}
