//! Network address of the client, as far as it can be trusted.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use axum::extract::ConnectInfo;
use http::{HeaderMap, request};
use ipnet::IpNet;

const FORWARDED_FOR: &str = "x-forwarded-for";
/// A hop that names no address.
const NO_ADDRESS: &str = "unknown";

/// The address that limits count by: IPv4 as it is, IPv6 by its /64, the network of one subscriber.
///
/// `X-Forwarded-For`, or where it is absent `Forwarded` (RFC 7239), is read from the right and only through trusted
/// proxies: everything left of the first untrusted address was written by the host at that address and may be forged. A
/// hop without an address (`unknown`, `_hidden`) ends the reading.
pub(crate) fn address(parts: &request::Parts, trusted: &[IpNet]) -> IpAddr {
    let peer = parts.extensions.get::<ConnectInfo<SocketAddr>>();
    let mut address =
        peer.map_or(IpAddr::V6(Ipv6Addr::UNSPECIFIED), |ConnectInfo(peer)| peer.ip()).to_canonical();
    let is_trusted = |address: IpAddr| trusted.iter().any(|net| net.contains(&address));
    for hop in hops(&parts.headers) {
        if !is_trusted(address) {
            break;
        }
        let Some(next) = address_of(hop) else { break };
        address = next;
    }
    by_subscriber(address)
}

/// The hops as proxies wrote them, from the nearest one to the client.
fn hops(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    let has_list = headers.contains_key(FORWARDED_FOR);
    let name = if has_list { FORWARDED_FOR } else { "forwarded" };
    let values = headers.get_all(name).iter().rev().map(|value| value.to_str().unwrap_or(NO_ADDRESS));
    // Empty elements of a list are ignored (RFC 9110, section 5.6.1.2).
    let elements = values.flat_map(|value| value.rsplit(',')).map(str::trim);
    let elements = elements.filter(|element| !element.is_empty());
    elements.map(move |element| if has_list { element } else { node_of(element) })
}

/// The node in an element of `Forwarded`, such as `for="[2001:db8::1]:4711";proto=https`.
fn node_of(element: &str) -> &str {
    let mut pairs = element.split(';').filter_map(|pair| pair.split_once('='));
    let node = pairs.find(|(name, _)| name.trim().eq_ignore_ascii_case("for"));
    node.map_or(NO_ADDRESS, |(_, value)| value.trim())
}

/// The address of a hop, which some balancers write with a port, in brackets, in quotes or with a zone.
fn address_of(hop: &str) -> Option<IpAddr> {
    let hop = hop.trim_matches('"');
    let host = match (hop.strip_prefix('['), hop.split_once(':')) {
        (Some(rest), _) => rest.split_once(']')?.0,
        // One colon stands before a port, several are those of an IPv6 address.
        (None, Some((host, port))) if !port.contains(':') => host,
        (None, _) => hop,
    };
    let host = host.split('%').next().unwrap_or_default();
    host.parse::<IpAddr>().ok().map(|address| address.to_canonical())
}

/// The address of a subscriber: IPv4 as it is, IPv6 by its /64.
pub(crate) fn by_subscriber(address: IpAddr) -> IpAddr {
    network(address, 32, 64)
}

/// The first bits of an address, of which IPv4 has 32 and IPv6 128.
pub(crate) fn network(address: IpAddr, v4_bits: u8, v6_bits: u8) -> IpAddr {
    let bits = if address.is_ipv4() { v4_bits } else { v6_bits };
    IpNet::new(address, bits).map_or(address, |net| net.network())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(peer: &str, forwarded: &[&str], trusted: &[&str]) -> String {
        seen_by(FORWARDED_FOR, peer, forwarded, trusted)
    }

    fn seen_by(header: &'static str, peer: &str, forwarded: &[&str], trusted: &[&str]) -> String {
        let mut request = http::Request::new(());
        let peer = SocketAddr::new(peer.parse().expect("an address"), 1);
        request.extensions_mut().insert(ConnectInfo(peer));
        for value in forwarded {
            request.headers_mut().append(header, value.parse().expect("a header value"));
        }
        let trusted: Vec<IpNet> = trusted.iter().map(|net| net.parse().expect("a network")).collect();
        address(&request.into_parts().0, &trusted).to_string()
    }

    #[test]
    fn forged_hops_are_not_believed() {
        assert_eq!(seen("203.0.113.9", &["1.1.1.1"], &[]), "203.0.113.9");
        assert_eq!(seen("10.0.0.1", &["1.1.1.1, 2.2.2.2"], &["10.0.0.0/8"]), "2.2.2.2");
        assert_eq!(seen("10.0.0.1", &["1.1.1.1, 2.2.2.2", "10.0.0.7"], &["10.0.0.0/8"]), "2.2.2.2");
        assert_eq!(seen("10.0.0.1", &["nonsense"], &["10.0.0.0/8"]), "10.0.0.1");
        assert_eq!(seen("10.0.0.1", &[], &["10.0.0.0/8"]), "10.0.0.1");
    }

    #[test]
    fn balancers_spellings_are_read() {
        for (written, expected) in [
            ("203.0.113.7:50123", "203.0.113.7"),
            (" 203.0.113.7 ", "203.0.113.7"),
            ("[2001:db8:1:2::3]:443", "2001:db8:1:2::"),
            ("[2001:db8:1:2::3]", "2001:db8:1:2::"),
            ("2001:DB8:1:2:0:0:0:3", "2001:db8:1:2::"),
            ("\"[2001:db8:1:2::3]:443\"", "2001:db8:1:2::"),
            ("fe80::1%eth0", "fe80::"),
            ("::ffff:203.0.113.7", "203.0.113.7"),
            ("[::ffff:203.0.113.7]:443", "203.0.113.7"),
            ("1.1.1.1, 203.0.113.7, ,", "203.0.113.7"),
            ("1.1.1.1, 203.0.113.7,10.0.0.2:80", "203.0.113.7"),
            ("1.1.1.1, unknown", "10.0.0.1"),
            ("1.1.1.1, _hidden, 10.0.0.2", "10.0.0.2"),
            ("1.1.1.1, [::1", "10.0.0.1"),
            ("1.1.1.1, 203.0.113.7:1:2", "10.0.0.1"),
            ("", "10.0.0.1"),
            (",,", "10.0.0.1"),
        ] {
            assert_eq!(seen("10.0.0.1", &[written], &["10.0.0.0/8"]), expected, "{written}");
        }
    }

    #[test]
    fn forwarded_is_read_where_no_other_header_tells() {
        for (written, expected) in [
            (&["for=203.0.113.7"][..], "203.0.113.7"),
            (&["For=\"[2001:db8:1:2::3]:4711\";proto=https;by=203.0.113.60"], "2001:db8:1:2::"),
            (&["proto=https ; FOR=203.0.113.7 ;host=a"], "203.0.113.7"),
            (&["for=1.1.1.1", "for=203.0.113.7, for=10.0.0.2"], "203.0.113.7"),
            (&["for=\"203.0.113.7:_port\""], "203.0.113.7"),
            (&["for=1.1.1.1, for=_hidden"], "10.0.0.1"),
            (&["for=1.1.1.1, proto=https"], "10.0.0.1"),
            (&["for=unknown"], "10.0.0.1"),
            (&["203.0.113.7"], "10.0.0.1"),
        ] {
            assert_eq!(seen_by("forwarded", "10.0.0.1", written, &["10.0.0.0/8"]), expected, "{written:?}");
        }
    }

    #[test]
    fn ipv6_counts_by_subscriber_and_mapped_addresses_as_ipv4() {
        assert_eq!(seen("2001:db8:1:2:3:4:5:6", &[], &[]), "2001:db8:1:2::");
        assert_eq!(seen("::ffff:203.0.113.9", &[], &[]), "203.0.113.9");
    }
}
