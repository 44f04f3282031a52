//! Hosts that may be reached without TLS: this machine, and those named in `network.plain_hosts`.
//!
//! Guarantees: no password and no customer data leaves this machine unencrypted unless an operator has named the
//! destination (OWASP ASVS 5.0, V12.3). Over TLS the host name is verified. Messages about mistakes repeat no address,
//! because addresses hold passwords.

use std::net::IpAddr;

use ipnet::IpNet;
use secrecy::{ExposeSecret, SecretString};
use url::{Host, Url};

use super::reader::Reader;

/// The `sslmode` of PostgreSQL that requires TLS and verifies the server's name.
const VERIFIED: &str = "verify-full";

#[derive(Debug, Clone, Default)]
pub(crate) struct PlainHosts {
    names: Vec<String>,
    networks: Vec<IpNet>,
}

impl PlainHosts {
    pub(super) fn read(r: &mut Reader) -> Self {
        let mut hosts = Self::default();
        for text in r.value("network", "plain_hosts", Vec::<String>::new()) {
            match text.parse().or_else(|_| text.parse::<IpAddr>().map(IpNet::from)) {
                Ok(network) => hosts.networks.push(network),
                Err(_) if is_name(&text) => hosts.names.push(text.to_lowercase()),
                Err(_) => {
                    let why = format!("has \"{text}\": expected a host's name, an address or a network");
                    r.fault("network", "plain_hosts", &why);
                }
            }
        }
        hosts
    }

    /// Whether this host may be reached without TLS. A path is a socket of this machine.
    pub(crate) fn allow(&self, host: &str) -> bool {
        let host = host.trim_matches(['[', ']']).trim_end_matches('.').to_lowercase();
        match host.parse::<IpAddr>().map(|address| address.to_canonical()) {
            Ok(address) => address.is_loopback() || self.networks.iter().any(|net| net.contains(&address)),
            Err(_) => host == "localhost" || host.starts_with('/') || self.names.contains(&host),
        }
    }

    /// Reports a mistake unless connections to this host are encrypted or need not be.
    pub(super) fn check(
        &self,
        r: &mut Reader,
        setting: (&str, &str),
        host: &str,
        is_protected: bool,
        tls: &str,
    ) {
        if !is_protected && !self.allow(host) {
            let (section, key) = setting;
            let why =
                format!("leads off this machine without TLS: {tls}, or name the host in network.plain_hosts");
            r.fault(section, key, &why);
        }
    }

    /// The same for an address whose scheme tells whether it is encrypted. Malformed addresses are reported elsewhere.
    pub(super) fn check_url(&self, r: &mut Reader, setting: (&str, &str), url: &str, protected: &str) {
        let Ok(url) = url.parse::<Url>() else { return };
        let is_protected = url.scheme() == protected && url.fragment() != Some("insecure");
        let host = url.host_str().unwrap_or("/");
        self.check(r, setting, host, is_protected, &format!("begin it with {protected}://"));
    }

    /// Adds [`VERIFIED`] to a PostgreSQL address that is remote and names no `sslmode`.
    pub(super) fn postgres(&self, r: &mut Reader, setting: (&str, &str), url: &mut SecretString) {
        let Ok(mut parsed) = url.expose_secret().parse::<Url>() else { return };
        let last = |names: [&str; 2]| {
            let pairs = parsed.query_pairs().filter(|(name, _)| names.contains(&name.as_ref()));
            pairs.last().map(|(_, value)| value.into_owned())
        };
        let host = last(["host", "hostaddr"]).or_else(|| match parsed.host() {
            // A percent-encoded host is a socket path.
            Some(Host::Domain(name)) => Some(name.replace("%2F", "/").replace("%2f", "/")),
            host => host.map(|host| host.to_string()),
        });
        let Some(host) = host.filter(|host| !host.is_empty()) else {
            // The driver would take the host from the environment.
            r.fault(
                setting.0,
                setting.1,
                "names no host: put localhost, or ?host= and the folder of a socket",
            );
            return;
        };
        let mode = last(["sslmode", "ssl-mode"]);
        if mode.is_none() && !self.allow(&host) {
            parsed.query_pairs_mut().append_pair("sslmode", VERIFIED);
            *url = String::from(parsed).into();
            return;
        }
        let is_protected = mode.as_deref() == Some(VERIFIED);
        self.check(r, setting, &host, is_protected, "ask for sslmode=verify-full, which is the default");
    }
}

/// Whether the text is a host name of letters, digits, `-`, `_` and `.`; names of containers may hold `_`.
fn is_name(text: &str) -> bool {
    (1..=253).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'))
}

/// Host of a contact node, `host:port`.
pub(super) fn host_of_node(node: &str) -> &str {
    node.rsplit_once(':').map_or(node, |(host, _)| host)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hosts() -> PlainHosts {
        let networks = vec!["10.0.0.0/8".parse().expect("a network")];
        PlainHosts { names: vec!["db_1".to_owned()], networks }
    }

    #[test]
    fn this_machine_and_named_hosts_need_no_tls() {
        let hosts = hosts();
        for host in
            ["127.0.0.1", "127.9.9.9", "[::1]", "::ffff:127.0.0.1", "localhost", "LOCALHOST", "/run/pg"]
        {
            assert!(hosts.allow(host), "{host}");
        }
        for host in ["db_1", "DB_1.", "10.1.2.3", "::ffff:10.1.2.3"] {
            assert!(hosts.allow(host), "{host}");
        }
        for host in ["db_2", "db", "11.1.2.3", "localhost.evil.example", "127.0.0.1.evil.example", ""] {
            assert!(!hosts.allow(host), "{host}");
        }
    }
}
