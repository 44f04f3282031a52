//! Command line of an operation's example, for a POSIX shell.

use super::reference::{Key, Operation, Parameter};

/// Where the lines of a command end.
const NEXT_LINE: &str = " \\\n  ";

/// The command, with the keys in `$PUB` and `$SEC`, and what answers have given in variables, too.
pub(super) fn command(operation: &Operation) -> String {
    let mut words = vec!["curl".to_owned()];
    let is_stream = operation.responses.iter().any(|response| response.media_type == "text/event-stream");
    words.extend(is_stream.then(|| "-N".to_owned()));
    let is_plain = match operation.method.as_str() {
        "GET" => true,
        "POST" => !operation.body_example.is_empty(),
        _ => false,
    };
    words.extend((!is_plain).then(|| format!("-X {}", operation.method)));
    words.push(format!("\"$API{}\"", address(operation)));
    let mut parts = vec![words.join(" ")];
    let key = match operation.key {
        Key::None => None,
        Key::Any => Some("PUB"),
        Key::Secret => Some("SEC"),
    };
    parts.extend(key.map(|key| format!("-H \"Authorization: Bearer ${key}\"")));
    for parameter in given(operation, "header") {
        parts.push(format!("-H {}", header(&parameter.field.name, &parameter.example)));
    }
    if !operation.body_example.is_empty() {
        parts.push("-H 'Content-Type: application/json'".to_owned());
        parts.push(format!("-d {}", quoted(&operation.body_example)));
    }
    parts.join(NEXT_LINE)
}

fn given<'a>(operation: &'a Operation, place: &'a str) -> impl Iterator<Item = &'a Parameter> {
    operation
        .parameters
        .iter()
        .filter(move |parameter| parameter.place == place && !parameter.example.is_empty())
}

/// Path and query of the example, whose values are plain words.
fn address(operation: &Operation) -> String {
    let mut path = operation.path.clone();
    for parameter in given(operation, "path") {
        path = path.replace(&format!("{{{}}}", parameter.field.name), &parameter.example);
    }
    let pairs = given(operation, "query");
    let query: Vec<String> =
        pairs.map(|parameter| format!("{}={}", parameter.field.name, parameter.example)).collect();
    if query.is_empty() { path } else { format!("{path}?{}", query.join("&")) }
}

fn header(name: &str, example: &str) -> String {
    match name {
        "Orderworks-Session" => "\"Orderworks-Session: $TOKEN\"".to_owned(),
        "Orderworks-Order-Token" => "\"Orderworks-Order-Token: $ORDER_TOKEN\"".to_owned(),
        _ => quoted(&format!("{name}: {example}")),
    }
}

/// One word of a shell: in single quotes, which a quote within ends and begins again.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::quoted;

    #[test]
    fn a_quote_stays_within_its_word() {
        assert_eq!(quoted("12 St James's Square"), r"'12 St James'\''s Square'");
    }
}
