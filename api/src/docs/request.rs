//! Request of a form, and whose form it is.
//!
//! Guarantees: a request carries the key that the form names, from the process, and nothing else of the visitor's
//! headers. A request of another site is told apart by what browsers send with it.

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
};

use axum::{
    body::Body,
    extract::{ConnectInfo, Request},
};
use base::form_origin::FormOrigin;
use http::{HeaderMap, header, request::Parts, uri::Authority};
use secrecy::ExposeSecret;
use url::{Position, Url, form_urlencoded};

use super::reference::{Key, Operation};
use crate::config::DocsKeys;

/// The fields of a form, by name.
pub(super) struct FormValues(BTreeMap<String, String>);

impl FormValues {
    /// A field that comes twice counts by its last value.
    pub(super) fn parse(body: &[u8]) -> Self {
        Self(form_urlencoded::parse(body).into_owned().collect())
    }

    pub(super) fn get(&self, name: &str) -> &str {
        self.0.get(name).map(String::as_str).unwrap_or_default()
    }

    /// The request; `None` where a value cannot be part of one.
    pub(super) fn request(&self, operation: &Operation, keys: &DocsKeys, visitor: &Parts) -> Option<Request> {
        let mut request =
            http::Request::builder().method(operation.method.as_str()).uri(self.address(operation)?);
        let key = match (operation.key, self.get("key")) {
            (Key::None, _) | (Key::Any, "none") => None,
            (Key::Any, "publishable") => Some(&keys.publishable),
            _ => Some(&keys.secret),
        };
        if let Some(key) = key {
            request = request.header(header::AUTHORIZATION, format!("Bearer {}", key.expose_secret()));
        }
        for parameter in operation.parameters.iter().filter(|parameter| parameter.place == "header") {
            let value = self.get(&parameter.field.name);
            if !value.is_empty() {
                request = request.header(parameter.field.name.as_str(), value);
            }
        }
        let body = if operation.body_example.is_empty() {
            Body::empty()
        } else {
            request = request.header(header::CONTENT_TYPE, "application/json");
            Body::from(self.get("body").to_owned())
        };
        let mut request = request.body(body).ok()?;
        // Limits count by the visitor's address.
        if let Some(peer) = visitor.extensions.get::<ConnectInfo<SocketAddr>>() {
            request.extensions_mut().insert(*peer);
        }
        Some(request)
    }

    /// Path and query.
    fn address(&self, operation: &Operation) -> Option<String> {
        // Only path and query are used.
        let mut url = Url::parse("http://localhost/").ok()?;
        let mut path = url.path_segments_mut().ok()?;
        path.clear();
        for segment in operation.path.trim_start_matches('/').split('/') {
            let name = segment.strip_prefix('{').and_then(|segment| segment.strip_suffix('}'));
            path.push(name.map_or(segment, |name| self.get(name)));
        }
        drop(path);
        for parameter in operation.parameters.iter().filter(|parameter| parameter.place == "query") {
            let value = self.get(&parameter.field.name);
            if !value.is_empty() {
                url.query_pairs_mut().append_pair(&parameter.field.name, value);
            }
        }
        Some(url[Position::BeforePath..].to_owned())
    }
}

/// Whether a page of this host has sent the form, to a name of this machine: a stranger's name may be led to this
/// address, and its pages would then be of the same site.
pub(super) fn is_of_this_site(headers: &HeaderMap) -> bool {
    let host = headers.get(header::HOST).and_then(|value| value.to_str().ok());
    host.is_some_and(is_of_this_machine) && FormOrigin::of(headers) == FormOrigin::Same
}

fn is_of_this_machine(host: &str) -> bool {
    let Ok(authority) = host.parse::<Authority>() else { return false };
    let name = authority.host().trim_start_matches('[').trim_end_matches(']');
    name.eq_ignore_ascii_case("localhost") || name.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn forms_of_other_sites_and_strange_names_are_told_apart() {
        let is_ours = |pairs: &[(&'static str, &'static str)]| {
            let mut headers = HeaderMap::new();
            for (name, value) in pairs {
                headers.insert(*name, HeaderValue::from_static(value));
            }
            is_of_this_site(&headers)
        };
        let (same, host) = (("sec-fetch-site", "same-origin"), ("host", "127.0.0.1:8080"));
        for ours in ["127.0.0.1:8080", "localhost:8080", "[::1]:8080", "LOCALHOST"] {
            assert!(is_ours(&[same, ("host", ours)]), "{ours}");
        }
        assert!(is_ours(&[("origin", "http://127.0.0.1:8080"), host]));
        for strange in ["evil.example", "127.0.0.1.evil.example", "10.0.0.1:8080", "localhost.evil.example"] {
            assert!(!is_ours(&[same, ("host", strange)]), "{strange}");
        }
        for other in ["cross-site", "same-site", "none"] {
            assert!(!is_ours(&[("sec-fetch-site", other), host]), "{other}");
        }
        assert!(!is_ours(&[("origin", "http://evil.example"), host]));
        assert!(!is_ours(&[("origin", "null"), host]));
        assert!(!is_ours(&[host]) && !is_ours(&[same]));
    }

    #[test]
    fn values_stay_within_their_part_of_the_address() {
        let reference = crate::docs::reference::Reference::of(&serde_json::json!({
            "tags": [{"name": "t"}],
            "paths": {"/v1/things/{id}": {"get": {"operationId": "o", "tags": ["t"], "parameters": [
                {"name": "id", "in": "path", "required": true, "schema": {"type": "string"}},
                {"name": "q", "in": "query", "schema": {"type": "string"}},
            ]}}},
        }));
        let operation = reference.operation("t", "o").expect("is there");
        let address = |form: &str| FormValues::parse(form.as_bytes()).address(operation).expect("an address");
        assert_eq!(address("id=a%2Fb%3Fc%23d&q=x%26limit%3D1"), "/v1/things/a%2Fb%3Fc%23d?q=x%26limit%3D1");
        assert_eq!(address("id=1&q="), "/v1/things/1");
    }
}
