//! Policy for webhook addresses, against server-side request forgery.
//!
//! Guarantees: [`UrlPolicy::check`] validates the form of a URL and a literal address in it, in whatever notation (the
//! `url` crate reads `0x7f.1`, `2130706433` and `0177.0.0.1` as the address they are); [`UrlPolicy::address_allowed`]
//! validates an address that a name resolved to. Does not resolve names: the HTTP client must filter **every** resolved
//! address with it on every attempt, follow no redirect and use no proxy.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{Ipv4Net, Ipv6Net};
use url::{Host, Url};

/// Longest accepted URL, in bytes.
pub const URL_LEN_MAX: usize = 2048;

/// Ports of public receivers.
const PORTS: [u16; 2] = [443, 8443];

/// Networks of the IANA IPv4 special-purpose registry (RFC 6890), multicast and reserved space.
const BLOCKED_V4: [Ipv4Net; 16] = [
    v4(0, 0, 0, 0, 8),
    v4(10, 0, 0, 0, 8),
    v4(100, 64, 0, 0, 10),
    v4(127, 0, 0, 0, 8),
    v4(169, 254, 0, 0, 16),
    v4(172, 16, 0, 0, 12),
    v4(192, 0, 0, 0, 24),
    v4(192, 0, 2, 0, 24),
    v4(192, 88, 99, 0, 24),
    v4(192, 168, 0, 0, 16),
    v4(198, 18, 0, 0, 15),
    v4(198, 51, 100, 0, 24),
    v4(203, 0, 113, 0, 24),
    v4(224, 0, 0, 0, 4),
    v4(240, 0, 0, 0, 4),
    v4(255, 255, 255, 255, 32),
];

/// Global unicast (RFC 4291, section 2.4). An allow list keeps loopback, link-local, unique local, multicast,
/// v4-mapped, v4-compatible and NAT64 addresses out; a block list could miss one.
const GLOBAL_V6: Ipv6Net = v6([0x2000, 0, 0], 3);

/// Blocked inside of [`GLOBAL_V6`]: IETF protocol assignments with Teredo, 6to4, documentation.
const BLOCKED_V6: [Ipv6Net; 4] =
    [v6([0x2001, 0, 0], 23), v6([0x2002, 0, 0], 16), v6([0x2001, 0x0db8, 0], 32), v6([0x3fff, 0, 0], 20)];

/// The policy of one installation.
#[derive(Clone, Copy, Debug)]
pub struct UrlPolicy {
    /// Accepts receivers on this machine, over plain http and on any port; for development.
    pub allow_loopback: bool,
}

/// Reason for rejecting a URL.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum UrlRefusal {
    #[error("the URL is longer than {URL_LEN_MAX} bytes")]
    TooLong,
    #[error("not an absolute URL")]
    Malformed,
    #[error("the URL must use https")]
    Scheme,
    #[error("the URL must not contain a user name or password")]
    UserInfo,
    #[error("the URL must not contain a fragment")]
    Fragment,
    #[error("the URL has no host")]
    Host,
    #[error("the port must be 443 or 8443")]
    Port,
    #[error("the host is not a public address")]
    Address,
}

impl UrlRefusal {
    /// A stable code for answers and logs.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::TooLong => "url_too_long",
            Self::Malformed => "url_malformed",
            Self::Scheme => "url_scheme",
            Self::UserInfo => "url_userinfo",
            Self::Fragment => "url_fragment",
            Self::Host => "url_host",
            Self::Port => "url_port",
            Self::Address => "url_blocked_address",
        }
    }
}

impl UrlPolicy {
    /// Parses a URL and validates its form and a literal address in it.
    pub fn check(&self, url: &str) -> Result<Url, UrlRefusal> {
        if url.len() > URL_LEN_MAX {
            return Err(UrlRefusal::TooLong);
        }
        // The parser drops tabs and line breaks and trims blanks; the URL that is shown must be the one that is
        // requested.
        if url.bytes().any(|byte| byte <= b' ' || byte == 0x7f) {
            return Err(UrlRefusal::Malformed);
        }
        let parsed = Url::parse(url).map_err(|error| match error {
            url::ParseError::EmptyHost => UrlRefusal::Host,
            _ => UrlRefusal::Malformed,
        })?;
        if !matches!(parsed.scheme(), "https" | "http") {
            return Err(UrlRefusal::Scheme);
        }
        if !parsed.username().is_empty() || parsed.password().is_some() {
            return Err(UrlRefusal::UserInfo);
        }
        if parsed.fragment().is_some() {
            return Err(UrlRefusal::Fragment);
        }
        self.check_target(&parsed)?;
        Ok(parsed)
    }

    /// Whether a connection to this address may be made.
    pub fn address_allowed(&self, ip: IpAddr) -> bool {
        if ip.is_loopback() {
            return self.allow_loopback;
        }
        match ip {
            IpAddr::V4(ip) => !BLOCKED_V4.iter().any(|net| net.contains(&ip)),
            IpAddr::V6(ip) => GLOBAL_V6.contains(&ip) && !BLOCKED_V6.iter().any(|net| net.contains(&ip)),
        }
    }

    fn check_target(self, url: &Url) -> Result<(), UrlRefusal> {
        let host = url.host().ok_or(UrlRefusal::Host)?;
        let loopback = is_loopback(&host);
        let allowed = match host {
            Host::Ipv4(ip) => self.address_allowed(ip.into()),
            Host::Ipv6(ip) => self.address_allowed(ip.into()),
            Host::Domain(_) => !loopback || self.allow_loopback,
        };
        if !allowed {
            return Err(UrlRefusal::Address);
        }
        if url.scheme() != "https" && !loopback {
            return Err(UrlRefusal::Scheme);
        }
        let port = url.port_or_known_default().ok_or(UrlRefusal::Port)?;
        if self.allow_loopback || PORTS.contains(&port) { Ok(()) } else { Err(UrlRefusal::Port) }
    }
}

/// Names under `localhost` are the loopback by RFC 6761, section 6.3.
fn is_loopback(host: &Host<&str>) -> bool {
    match host {
        Host::Ipv4(ip) => ip.is_loopback(),
        Host::Ipv6(ip) => ip.is_loopback(),
        Host::Domain(name) => {
            let name = name.trim_end_matches('.');
            name == "localhost" || name.ends_with(".localhost")
        }
    }
}

const fn v4(a: u8, b: u8, c: u8, d: u8, prefix: u8) -> Ipv4Net {
    Ipv4Net::new_assert(Ipv4Addr::new(a, b, c, d), prefix)
}

const fn v6(head: [u16; 3], prefix: u8) -> Ipv6Net {
    Ipv6Net::new_assert(Ipv6Addr::new(head[0], head[1], head[2], 0, 0, 0, 0, 0), prefix)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PUBLIC: UrlPolicy = UrlPolicy { allow_loopback: false };
    const DEVELOPMENT: UrlPolicy = UrlPolicy { allow_loopback: true };

    #[test]
    fn public_receivers_are_accepted_by_both_policies() {
        for url in [
            "https://example.com/hooks?a=b",
            "https://example.com:8443/",
            "https://EXAMPLE.com:443",
            "https://bücher.example/",
            "https://93.184.216.34/x",
            "https://[2606:4700::1111]/x",
        ] {
            assert!(PUBLIC.check(url).is_ok(), "{url}");
            assert!(DEVELOPMENT.check(url).is_ok(), "{url}");
        }
        let international =
            PUBLIC.check("https://bücher.example/").map(|url| url.host_str().map(str::to_owned));
        assert_eq!(international, Ok(Some("xn--bcher-kva.example".to_owned())));
    }

    #[test]
    fn bad_forms_are_refused_by_both_policies() {
        let long = format!("https://example.com/{}", "a".repeat(URL_LEN_MAX));
        for (url, refusal) in [
            (long.as_str(), UrlRefusal::TooLong),
            ("", UrlRefusal::Malformed),
            ("/hooks", UrlRefusal::Malformed),
            ("https://exa\tmple.com/", UrlRefusal::Malformed),
            (" https://example.com/", UrlRefusal::Malformed),
            ("https://example.com:99999/", UrlRefusal::Malformed),
            ("https://", UrlRefusal::Host),
            ("http://example.com/", UrlRefusal::Scheme),
            ("ftp://example.com/", UrlRefusal::Scheme),
            ("file:///etc/passwd", UrlRefusal::Scheme),
            ("gopher://127.0.0.1:6379/", UrlRefusal::Scheme),
            ("https://user@example.com/", UrlRefusal::UserInfo),
            ("https://user:secret@example.com/", UrlRefusal::UserInfo),
            ("https://:secret@example.com/", UrlRefusal::UserInfo),
            ("https://example.com/#top", UrlRefusal::Fragment),
            ("https://example.com/#", UrlRefusal::Fragment),
        ] {
            assert_eq!(PUBLIC.check(url), Err(refusal), "{url}");
            assert_eq!(DEVELOPMENT.check(url), Err(refusal), "{url}");
        }
    }

    #[test]
    fn loopback_in_any_notation_is_for_development_only() {
        let hosts = "localhost LOCALHOST localhost. api.localhost 127.0.0.1 127.255.0.9 127.1 0x7f.1 0x7f000001 \
            2130706433 0177.0.0.1 [::1] [0:0:0:0:0:0:0:1] 127。0。0。1";
        for host in hosts.split_whitespace() {
            for url in [format!("https://{host}/"), format!("http://{host}:3000/x")] {
                assert_eq!(PUBLIC.check(&url), Err(UrlRefusal::Address), "{url}");
                assert!(DEVELOPMENT.check(&url).is_ok(), "{url}");
            }
        }
    }

    #[test]
    fn literal_private_addresses_are_refused_even_in_development() {
        for host in
            ["10.0.0.1", "0x0a.0.0.1", "167772161", "169.254.169.254", "0", "[::]", "[::ffff:127.0.0.1]"]
        {
            let url = format!("https://{host}/");
            assert_eq!(PUBLIC.check(&url), Err(UrlRefusal::Address), "{url}");
            assert_eq!(DEVELOPMENT.check(&url), Err(UrlRefusal::Address), "{url}");
        }
    }

    /// Notations known to pass filters that compare text. Each is rejected, either as an address or as malformed.
    #[test]
    fn no_notation_of_an_address_that_is_not_public_gets_past() {
        let hosts = "127.0.0.1 127.1 127.0.1 127.00.00.01 2130706433 0x7f000001 0x7f.0.0.1 0x7F.0x0.0x0.0x1 0177.0.0.1 \
            017700000001 00000177.1 0 0.0.0.0 0x0 127.0.0.1. 10.1 0xa.1 012.1 167772161 192.168.1 0xc0a80001 3232235521 \
            172.16.1 2886729729 169.254.169.254 169.254.43518 0xa9fea9fe 2852039166 0251.0376.0251.0376 100.64.1 \
            198.18.1 255.255.255.255 4294967295 [::] [::1] [0::1] [::127.0.0.1] [::ffff:127.0.0.1] [::ffff:7f00:1] \
            [::ffff:a9fe:a9fe] [::ffff:0:127.0.0.1] [64:ff9b::127.0.0.1] [64:ff9b::a9fe:a9fe] [64:ff9b:1::7f00:1] \
            [2002:7f00:1::] [2002:a9fe:a9fe::1] [2001:0:7f00:1::] [fe80::1] [fc00::1] [fd00:ec2::254] [fec0::1] [ff02::1] \
            localhost LocalHost localhost. a.localhost ①②⑦.⓪.⓪.① １２７.０.０.１ １２７。０。０。１ 127%2e0%2e0%2e1 %31%32%37.0.0.1 \
            ⓛⓞⓒⓐⓛⓗⓞⓢⓣ ｌｏｃａｌｈｏｓｔ ①⑥⑨.②⑤④.①⑥⑨.②⑤④ [fe80::1%25lo]";
        let (mut count, port) = (0, ":8443");
        for host in hosts.split_whitespace() {
            for url in [format!("https://{host}/"), format!("https://{host}{port}/x?y")] {
                let refusal = PUBLIC.check(&url).err();
                let is_refused = matches!(refusal, Some(UrlRefusal::Address | UrlRefusal::Malformed));
                assert!(is_refused, "{url}: {refusal:?}");
                count += 1;
            }
        }
        assert!(count >= 120, "{count}");
        for url in [
            "https://example.com@127.0.0.1/",
            "https://127.0.0.1@example.com/",
            "https://example.com:443@127.0.0.1/",
            r"https://127.0.0.1\@example.com/",
            r"https:\\127.0.0.1\",
            "https:127.0.0.1/",
            "https:///127.0.0.1/",
            "https://127.0.0.1#@example.com/",
            "https://127.0.0.1\r\nhost: example.com/",
            "//127.0.0.1/",
        ] {
            assert!(PUBLIC.check(url).is_err(), "{url}");
        }
    }

    #[test]
    fn ports_are_fixed_outside_development() {
        for url in ["https://example.com:80/", "https://example.com:22/", "https://93.184.216.34:6379/"] {
            assert_eq!(PUBLIC.check(url), Err(UrlRefusal::Port), "{url}");
        }
        assert!(DEVELOPMENT.check("https://example.com:9443/").is_ok());
    }

    const BLOCKED: &str = "0.0.0.0 0.255.255.255 10.0.0.0 10.255.255.255 100.64.0.1 100.127.255.255 \
        169.254.169.254 172.16.0.1 172.31.255.255 192.0.0.8 192.0.2.1 192.88.99.1 192.168.0.1 198.18.0.1 \
        198.19.255.255 198.51.100.7 203.0.113.7 224.0.0.1 239.255.255.255 240.0.0.1 255.255.255.255 \
        :: ::127.0.0.1 ::ffff:127.0.0.1 ::ffff:10.0.0.1 ::ffff:93.184.216.34 64:ff9b::7f00:1 64:ff9b:1::a00:1 \
        100::1 2001::1 2001:0:4136:e378:8000:63bf:3fff:fdd2 2001:10::1 2001:db8::1 2002:7f00:1:: 2002:a00:1::1 \
        3fff::1 5f00::1 fc00::1 fd12:3456::1 fe80::1 febf::1 fec0::1 ff02::1";
    const OPEN: &str = "1.1.1.1 9.255.255.255 11.0.0.0 100.63.255.255 100.128.0.0 128.0.0.1 169.253.0.1 \
        172.15.255.255 172.32.0.0 192.0.1.1 198.17.255.255 198.20.0.0 223.255.255.255 2001:200::1 \
        2001:4860:4860::8888 2606:4700::1111 2a00:1450::1";

    #[test]
    fn resolved_addresses() {
        let cases = [(BLOCKED, false, false), (OPEN, true, true), ("127.0.0.1 127.9.9.9 ::1", false, true)];
        for (list, public, development) in cases {
            for text in list.split_whitespace() {
                let ip: IpAddr = text.parse().expect("an address");
                assert_eq!(PUBLIC.address_allowed(ip), public, "{ip}");
                assert_eq!(DEVELOPMENT.address_allowed(ip), development, "{ip}");
            }
        }
    }

    #[test]
    fn codes_are_stable() {
        assert_eq!(UrlRefusal::Address.code(), "url_blocked_address");
        assert_eq!(UrlRefusal::Scheme.code(), "url_scheme");
    }
}
