//! The policy of addresses over the corpus of its fuzz target, and over addresses that are drawn.

use std::net::Ipv4Addr;

use proptest::{prelude::*, sample::select};
use webhooks::UrlPolicy;

#[path = "../../../fuzz/checks/drawn.rs"]
mod drawn;
#[path = "../../../fuzz/checks/corpus.rs"]
mod entries;
#[path = "../../../fuzz/checks/url_guard.rs"]
mod url_guard;

/// Networks that are not public, each with the length of its prefix.
const PRIVATE: [([u8; 4], u32); 9] = [
    ([0, 0, 0, 0], 8),
    ([10, 0, 0, 0], 8),
    ([100, 64, 0, 0], 10),
    ([127, 0, 0, 0], 8),
    ([169, 254, 0, 0], 16),
    ([172, 16, 0, 0], 12),
    ([192, 168, 0, 0], 16),
    ([198, 18, 0, 0], 15),
    ([224, 0, 0, 0], 4),
];
const NOTATIONS: u8 = 10;

/// An address as a URL may write it.
fn written(address: u32, notation: u8) -> String {
    let dotted = Ipv4Addr::from(address).to_string();
    let [a, b, c, d] = address.to_be_bytes();
    match notation {
        0 => dotted,
        1 => address.to_string(),
        2 => format!("0x{address:X}"),
        3 => format!("0{address:o}"),
        4 => format!("0x{a:x}.0x{b:x}.0x{c:x}.0x{d:x}"),
        5 => format!("{a}.{}", address & 0x00ff_ffff),
        6 => format!("[::ffff:{dotted}]"),
        7 => format!("[64:ff9b::{dotted}]"),
        8 => dotted.bytes().fold(String::new(), |text, byte| format!("{text}%{byte:02x}")),
        _ => dotted.replace('.', "\u{3002}").replace('1', "\u{ff11}"),
    }
}

#[test]
fn accepted_addresses_may_be_dialled() {
    entries::each("url_guard", url_guard::check);
}

#[test]
fn drawn_addresses_that_are_accepted_may_be_dialled() {
    let schemes = select(["https://", "https:", "HTTPS:\\\\", "http://", "file://", "//", ""].to_vec());
    let users = select(["", "", "", "a@", "a:b@", "@", "example.com#@"].to_vec());
    let hosts = prop_oneof![
        (any::<u32>(), 0..NOTATIONS).prop_map(|(address, notation)| written(address, notation)),
        "[a-z0-9.-]{1,30}",
        "[0-9a-fx.:\\[\\]%]{1,30}",
        ".{0,12}",
    ];
    let ports = select(["", ":443", ":8443", ":80", ":0443", ":65536", ":"].to_vec());
    let urls = (schemes, users, hosts, ports, "[ -~]{0,20}")
        .prop_map(|(scheme, user, host, port, rest)| format!("{scheme}{user}{host}{port}/{rest}"));
    drawn::each(&urls, |url| url_guard::check(url.as_bytes()));
}

#[test]
fn drawn_private_addresses_are_refused_in_every_notation() {
    let addresses = (select(PRIVATE.to_vec()), any::<u32>(), 0..NOTATIONS);
    let hosts = addresses.prop_map(|((network, prefix), rest, notation)| {
        written(u32::from_be_bytes(network) | (rest & (u32::MAX >> prefix)), notation)
    });
    drawn::each(&(hosts, select(["", ":443", ":8443"].to_vec())), |(host, port)| {
        let url = format!("https://{host}{port}/hook");
        assert!(UrlPolicy { allow_loopback: false }.check(&url).is_err(), "{url}");
    });
}
