//! JSON request bodies, checked in this order: size, time, media type, syntax, card numbers, fields.

use std::time::Duration;

use axum::extract::FromRequest;
use http::{HeaderMap, HeaderName, HeaderValue, Method, header};
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::{
    problem::{Kind, Problem},
    state::ApiState,
};

use super::{
    card,
    report::Report,
    schema::{self, Request},
};

/// Nesting of arrays and objects at most; the routes need four levels. Each level costs every pass over the body.
const DEPTH_MAX: usize = 16;

/// A body that was read without faults.
pub(crate) struct Body<T> {
    pub(crate) value: T,
    /// SHA-256 of method, path and canonical body: requests with the same content have the same fingerprint.
    pub(crate) fingerprint: [u8; 32],
}

impl<T: Request> FromRequest<ApiState> for Body<T> {
    type Rejection = Problem;

    async fn from_request(request: axum::extract::Request, state: &ApiState) -> Result<Self, Problem> {
        let (parts, body) = request.into_parts();
        let (max, timeout) = (state.config.body_bytes_max, state.config.body_timeout);
        let bytes = receive(&parts.headers, body, max, timeout).await?;
        let json = parse(&parts.headers, &bytes, T::OPTIONAL)?;
        card::refuse(&json)?;
        let report = Report::default();
        let valid = schema::check::<T>(&json, &report);
        report.finish()?;
        let value = T::deserialize(valid).map_err(|error| disagreement::<T>(&error))?;
        Ok(Self { value, fingerprint: fingerprint(&parts.method, parts.uri.path(), &json) })
    }
}

/// Checks the reading of a body of this type, see [`crate::fuzzing`].
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) fn check_body<T: Request>(bytes: &[u8]) {
    /// Bytes of a problem at most.
    const PROBLEM_BYTES_MAX: usize = 64 * 1024;
    let json = (header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    let read = parse(&HeaderMap::from_iter([json]), bytes, T::OPTIONAL).and_then(|json| {
        card::refuse(&json)?;
        let report = Report::default();
        let valid = schema::check::<T>(&json, &report);
        report.finish()?;
        assert!(T::deserialize(valid).is_ok(), "what the schema permits, the type takes");
        assert_ne!(fingerprint(&Method::POST, "/", &json), [0; 32]);
        Ok(())
    });
    if let Err(problem) = read {
        assert!(problem.body("req_1").len() <= PROBLEM_BYTES_MAX, "a problem stays small");
    }
}

/// A type that cannot take what its schema permits. The error may quote the body and is not logged.
fn disagreement<T: Request>(error: &serde_json::Error) -> Problem {
    tracing::error!(schema = %T::name(), category = ?error.classify(), "request schema and type disagree");
    Problem::logged()
}

/// The whole body, bounded in size and time.
pub(crate) async fn receive(
    headers: &HeaderMap,
    body: axum::body::Body,
    max: usize,
    timeout: Duration,
) -> Result<bytes::Bytes, Problem> {
    let too_large = || Problem::new(Kind::BODY_TOO_LARGE, format!("at most {max} bytes"));
    let announced = headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok());
    if announced.and_then(|text| text.parse::<u64>().ok()).is_some_and(|bytes| bytes > max as u64) {
        return Err(too_large());
    }
    let read = tokio::time::timeout(timeout, axum::body::to_bytes(body, max));
    match read.await {
        Ok(Ok(bytes)) => Ok(bytes),
        Ok(Err(error)) if is_length_limit(&error) => Err(too_large()),
        Ok(Err(_)) => Err(Problem::new(Kind::BODY_ABORTED, "the connection failed while the body was read")),
        Err(_) => Err(Problem::new(Kind::BODY_TIMEOUT, "send the body without pauses")),
    }
}

fn is_length_limit(error: &axum::Error) -> bool {
    std::error::Error::source(error)
        .is_some_and(<dyn std::error::Error>::is::<http_body_util::LengthLimitError>)
}

fn parse(headers: &HeaderMap, bytes: &[u8], optional: bool) -> Result<Value, Problem> {
    if optional && bytes.is_empty() {
        return Ok(Value::Object(serde_json::Map::new()));
    }
    if !is_json(headers) {
        return Err(unsupported(
            "send `Content-Type: application/json` in UTF-8",
            header::ACCEPT,
            "application/json",
        ));
    }
    if is_coded(headers) {
        return Err(unsupported(
            "send the body as it is, without content coding",
            header::ACCEPT_ENCODING,
            "identity",
        ));
    }
    // RFC 8259, section 8.1.
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    if depth(bytes) > DEPTH_MAX {
        return Err(Problem::new(
            Kind::BAD_JSON,
            format!("the body is nested deeper than {DEPTH_MAX} levels"),
        ));
    }
    // The parser's message may quote the body; its position does not.
    serde_json::from_slice(bytes).map_err(|error| {
        let (line, column) = (error.line(), error.column());
        Problem::new(Kind::BAD_JSON, format!("the body stops being JSON at line {line}, column {column}"))
    })
}

/// Nesting of arrays and objects in this text; exact for valid JSON.
fn depth(bytes: &[u8]) -> usize {
    let (mut now, mut deepest) = (0_usize, 0);
    let (mut in_string, mut is_escaped) = (false, false);
    for byte in bytes {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' => is_escaped = in_string,
            b'"' => in_string = !in_string,
            b'[' | b'{' if !in_string => {
                now += 1;
                deepest = deepest.max(now);
            }
            b']' | b'}' if !in_string => now = now.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

/// A 415 that tells what is supported (RFC 9110, section 15.5.16).
fn unsupported(detail: &str, name: HeaderName, supported: &'static str) -> Problem {
    let headers = HeaderMap::from_iter([(name, HeaderValue::from_static(supported))]);
    Problem::new(Kind::MEDIA_TYPE, detail).with_headers(headers)
}

fn is_json(headers: &HeaderMap) -> bool {
    let value = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let value = value.to_ascii_lowercase();
    let mut parts = value.split(';').map(str::trim);
    let essence = parts.next().unwrap_or_default();
    let is_utf8 = |parameter: &str| match parameter.split_once('=') {
        Some(("charset", name)) => matches!(name.trim_matches('"'), "utf-8" | "utf8" | "us-ascii"),
        _ => true,
    };
    (essence == "application/json" || (essence.starts_with("application/") && essence.ends_with("+json")))
        && parts.all(is_utf8)
}

/// Whether the body has a content coding, such as gzip.
fn is_coded(headers: &HeaderMap) -> bool {
    let values = headers.get_all(header::CONTENT_ENCODING).iter();
    let mut codings = values.flat_map(|value| value.to_str().unwrap_or("?").split(',')).map(str::trim);
    codings.any(|coding| !coding.is_empty() && !coding.eq_ignore_ascii_case("identity"))
}

fn fingerprint(method: &Method, path: &str, json: &Value) -> [u8; 32] {
    let mut hash = Sha256::new();
    hash.update(method.as_str());
    hash.update([0]);
    hash.update(path);
    hash.update([0]);
    digest(&mut hash, json);
    hash.finalize().into()
}

/// Hashes the value in canonical form: members sorted by name, so that their order in the text does not matter. The
/// parser keeps that order or not, depending on features that other crates enable.
fn digest(hash: &mut Sha256, json: &Value) {
    match json {
        Value::Object(members) => {
            let mut names: Vec<_> = members.iter().collect();
            names.sort_unstable_by_key(|(name, _)| *name);
            hash.update("{");
            for (name, value) in names {
                hash.update(Value::from(name.as_str()).to_string());
                hash.update(":");
                digest(hash, value);
                hash.update(",");
            }
            hash.update("}");
        }
        Value::Array(items) => {
            hash.update("[");
            for item in items {
                digest(hash, item);
                hash.update(",");
            }
            hash.update("]");
        }
        // `2` and `2.0` are the same number (JSON Schema core, section 4.2.2).
        Value::Number(number) => match number.as_f64().and_then(schema::whole).filter(|_| number.is_f64()) {
            Some(whole) => hash.update(whole.to_string()),
            None => hash.update(number.to_string()),
        },
        scalar => hash.update(scalar.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn depth_counts_brackets_outside_of_strings() {
        for (text, expected) in
            [("1", 0), ("{}", 1), (r#"{"a":[{"b":[]}],"c":{}}"#, 4), (r#"["[[[", "\"[[", "\\", [1]]"#, 2)]
        {
            assert_eq!(depth(text.as_bytes()), expected, "{text}");
        }
        assert_eq!(depth(&b"[".repeat(60_000)), 60_000);
    }

    #[test]
    fn a_fingerprint_ignores_the_order_of_members_and_nothing_else() {
        let of = |text: &str| {
            let json = serde_json::from_str(text).expect("JSON");
            fingerprint(&Method::POST, "/v1/orders", &json)
        };
        let one = of(r#"{"a":1,"b":[1,{"c":"x","d":null}]}"#);
        assert_eq!(one, of(r#"{ "b":[1,{"d":null,"c":"x"}], "a":1 }"#));
        assert_eq!(one, of(r#"{"a":1.0,"b":[1e0,{"c":"x","d":null}]}"#));
        assert_eq!(of("[0,100]"), of("[-0,1e2]"));
        assert_ne!(of("[1]"), of("[1.5]"));
        assert_ne!(one, of(r#"{"a":1,"b":[{"c":"x","d":null},1]}"#));
        assert_ne!(one, of(r#"{"a":"1","b":[1,{"c":"x","d":null}]}"#));
        assert_ne!(one, fingerprint(&Method::POST, "/v1/carts", &json!({"a":1,"b":[1,{"c":"x","d":null}]})));
    }
}
