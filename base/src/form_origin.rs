//! Origin of a form that a browser sends: a page of the same host, or another site.
//!
//! Guarantees: decides by `Sec-Fetch-Site` (W3C Fetch Metadata), which no page can set, and by `Origin` equal to `Host`
//! where a browser is too old for it. Neither authenticates a caller nor says what a request without these header
//! fields may do.

use http::HeaderMap;

/// The origin of a request, by the header fields that browsers send with a form.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FormOrigin {
    /// A page of the host that the request is sent to.
    Same,
    /// Another site, or no page at all.
    Other,
    /// Neither header field is there: a program, or a browser older than both.
    Unknown,
}

impl FormOrigin {
    /// The origin of the request with these header fields. A value that is not visible ASCII counts as none.
    pub fn of(headers: &HeaderMap) -> Self {
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        let is_same = match (text("sec-fetch-site"), text("origin"), text("host")) {
            (Some(site), _, _) => site == "same-origin",
            (None, Some(origin), Some(host)) => {
                origin.split_once("://").is_some_and(|(_, authority)| authority == host)
            }
            (None, Some(_), None) => false,
            (None, None, _) => return Self::Unknown,
        };
        if is_same { Self::Same } else { Self::Other }
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn origin(pairs: &[(&'static str, &'static str)]) -> FormOrigin {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.insert(*name, HeaderValue::from_static(value));
        }
        FormOrigin::of(&headers)
    }

    #[test]
    fn forms_of_other_sites_are_told_apart() {
        let (own, host) = (("origin", "https://shop.example"), ("host", "shop.example"));
        assert_eq!(origin(&[("sec-fetch-site", "same-origin")]), FormOrigin::Same);
        assert_eq!(origin(&[own, host]), FormOrigin::Same);
        assert_eq!(
            origin(&[("origin", "http://127.0.0.1:8081"), ("host", "127.0.0.1:8081")]),
            FormOrigin::Same
        );
        for other in ["cross-site", "same-site", "none", ""] {
            assert_eq!(origin(&[("sec-fetch-site", other), own, host]), FormOrigin::Other, "{other}");
        }
        for other in ["https://evil.example", "https://shop.example:444", "shop.example", "null", ""] {
            assert_eq!(origin(&[("origin", other), host]), FormOrigin::Other, "{other}");
        }
        assert_eq!(origin(&[own]), FormOrigin::Other);
    }

    #[test]
    fn a_request_without_the_header_fields_has_no_known_origin() {
        assert_eq!(origin(&[("host", "shop.example")]), FormOrigin::Unknown);
        assert_eq!(origin(&[]), FormOrigin::Unknown);
    }
}
