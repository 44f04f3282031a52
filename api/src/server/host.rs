//! Validation of the `Host` header (RFC 9112, section 3.2).

use http::{HeaderMap, HeaderValue, Version, header, uri::Authority};

/// Whether the request has a valid host: exactly one with HTTP/1.1, at most one with HTTP/1.0.
pub(super) fn is_valid(version: Version, headers: &HeaderMap) -> bool {
    let mut hosts = headers.get_all(header::HOST).iter();
    match (hosts.next(), hosts.next()) {
        (Some(host), None) => is_host(host),
        (None, _) => version < Version::HTTP_11,
        (Some(_), Some(_)) => false,
    }
}

/// `uri-host [":" port]` (RFC 9110, section 7.2); empty where the target has no authority.
fn is_host(value: &HeaderValue) -> bool {
    if value.is_empty() {
        return true;
    }
    let Ok(authority) = Authority::try_from(value.as_bytes()) else { return false };
    let port = authority.as_str().strip_prefix(authority.host());
    port.is_some_and(|rest| {
        rest.is_empty() || rest.strip_prefix(':').is_some_and(|port| port.bytes().all(|b| b.is_ascii_digit()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn valid(version: Version, hosts: &[&str]) -> bool {
        let mut headers = HeaderMap::new();
        for host in hosts {
            headers.append(header::HOST, host.parse().expect("a header value"));
        }
        is_valid(version, &headers)
    }

    #[test]
    fn one_valid_host_is_required_since_http_1_1() {
        for host in
            ["shop.example", "shop.example:8080", "shop.example:", "127.0.0.1:1", "[::1]:80", "[::1]", ""]
        {
            assert!(valid(Version::HTTP_11, &[host]), "{host}");
        }
        for host in
            ["a b", "user@shop.example", "a/b", "shop.example:8o", "a:1:2", "http://a", "a,b c", "[::1"]
        {
            assert!(!valid(Version::HTTP_11, &[host]), "{host}");
            assert!(!valid(Version::HTTP_10, &[host]), "{host}");
        }
        for twice in [["a", "a"], ["a", "b"]] {
            assert!(!valid(Version::HTTP_11, &twice) && !valid(Version::HTTP_10, &twice));
        }
        assert!(!valid(Version::HTTP_11, &[]) && valid(Version::HTTP_10, &[]));
    }
}
