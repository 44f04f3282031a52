//! The policy of webhook addresses.

use url::{Host, Url};
use webhooks::UrlPolicy;

/// An address that is accepted in public is https without user information, on a port of public receivers, and names a
/// host, or an address that may be dialled.
pub(crate) fn check(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let (public, development) = (UrlPolicy { allow_loopback: false }, UrlPolicy { allow_loopback: true });
    let Ok(url) = public.check(text) else { return };
    assert_eq!(url.scheme(), "https", "{text}");
    assert!(url.username().is_empty() && url.password().is_none() && url.fragment().is_none(), "{text}");
    assert!(matches!(url.port_or_known_default(), Some(443 | 8443)), "{text}");
    let is_allowed = match url.host() {
        Some(Host::Ipv4(ip)) => public.address_allowed(ip.into()),
        Some(Host::Ipv6(ip)) => public.address_allowed(ip.into()),
        Some(Host::Domain(name)) => {
            let name = name.trim_end_matches('.');
            name != "localhost" && !name.ends_with(".localhost")
        }
        None => false,
    };
    assert!(is_allowed, "{text}");
    assert!(development.check(text).is_ok(), "{text}");
    assert!(Url::parse(text).is_ok(), "{text}");
}
