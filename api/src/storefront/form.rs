//! Forms of the storefront: their fields, and whose form it is.
//!
//! Guarantees: a handler gets the fields of a form only where a page of this host has sent it; the form of another site
//! gets a page that says so, and does nothing.

use std::collections::BTreeMap;

use axum::{
    extract::{FromRequest, FromRequestParts, Request},
    response::{IntoResponse, Response},
};
use base::form_origin::FormOrigin;
use url::form_urlencoded;

use super::{html, visit::Visit};
use crate::{input::receive, state::ApiState};

/// Longest form, in bytes.
const FORM_BYTES_MAX: usize = 16 * 1024;

/// The fields of a form, by name.
pub(super) struct FormFields(BTreeMap<String, String>);

impl FromRequest<ApiState> for FormFields {
    type Rejection = Response;

    async fn from_request(request: Request, state: &ApiState) -> Result<Self, Response> {
        let (mut parts, body) = request.into_parts();
        if FormOrigin::of(&parts.headers) != FormOrigin::Same {
            let visit = Visit::from_request_parts(&mut parts, state).await;
            return Err(visit.map_or_else(IntoResponse::into_response, |visit| html::of_other_site(&visit)));
        }
        let bytes = receive(&parts.headers, body, FORM_BYTES_MAX, state.config.body_timeout).await;
        bytes.map(|bytes| Self::parse(&bytes)).map_err(IntoResponse::into_response)
    }
}

impl FormFields {
    /// A field that comes twice counts by its last value.
    fn parse(body: &[u8]) -> Self {
        Self(form_urlencoded::parse(body).into_owned().collect())
    }

    /// A field without the blanks around it; empty where there is none.
    pub(super) fn get(&self, name: &str) -> &str {
        self.exact(name).trim()
    }

    /// A field as it was typed, for passwords.
    pub(super) fn exact(&self, name: &str) -> &str {
        self.0.get(name).map(String::as_str).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_read_without_the_blanks_around_them() {
        let fields = FormFields::parse(b"name=+Ada+&password=+x+&name=Eve");
        assert_eq!((fields.get("name"), fields.get("none")), ("Eve", ""));
        assert_eq!((fields.get("password"), fields.exact("password")), ("x", " x "));
    }
}
