//! Network address of the client, as far as it can be trusted.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use axum::extract::ConnectInfo;
use http::request;
use ipnet::IpNet;

/// The address that limits count by: IPv4 as it is, IPv6 by its /64, the network of one subscriber.
///
/// `X-Forwarded-For` is read from the right and only through trusted proxies: everything left of the first untrusted
/// address was written by the host at that address and may be forged.
pub(crate) fn address(parts: &request::Parts, trusted: &[IpNet]) -> IpAddr {
    let peer = parts.extensions.get::<ConnectInfo<SocketAddr>>();
    let mut address =
        peer.map_or(IpAddr::V6(Ipv6Addr::UNSPECIFIED), |ConnectInfo(peer)| peer.ip()).to_canonical();
    let is_trusted = |address: IpAddr| trusted.iter().any(|net| net.contains(&address));
    let forwarded = parts.headers.get_all("x-forwarded-for").iter().rev();
    let hops = forwarded.flat_map(|value| value.to_str().unwrap_or_default().rsplit(','));
    for hop in hops {
        if !is_trusted(address) {
            break;
        }
        let Ok(next) = hop.trim().parse::<IpAddr>() else { break };
        address = next.to_canonical();
    }
    by_subscriber(address)
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
        let mut request = http::Request::new(());
        let peer = SocketAddr::new(peer.parse().expect("an address"), 1);
        request.extensions_mut().insert(ConnectInfo(peer));
        for value in forwarded {
            request.headers_mut().append("x-forwarded-for", value.parse().expect("a header value"));
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
    fn ipv6_counts_by_subscriber_and_mapped_addresses_as_ipv4() {
        assert_eq!(seen("2001:db8:1:2:3:4:5:6", &[], &[]), "2001:db8:1:2::");
        assert_eq!(seen("::ffff:203.0.113.9", &[], &[]), "203.0.113.9");
    }
}
