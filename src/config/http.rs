//! Settings of the HTTP listener.

use std::{net::SocketAddr, time::Duration};

use ipnet::IpNet;

use super::reader::Reader;

/// Settings of the HTTP listener.
#[derive(Debug, Clone)]
pub(crate) struct Server {
    pub(crate) listen: SocketAddr,
    pub(crate) trusted_proxies: Vec<IpNet>,
    pub(crate) connections_max: usize,
    pub(crate) connections_per_address_max: usize,
    pub(crate) write: Duration,
    pub(crate) exchange: Duration,
    pub(crate) streams_max: usize,
    pub(crate) streams_per_merchant_max: usize,
    pub(crate) drain: Duration,
}

impl Server {
    pub(super) fn read(r: &mut Reader) -> Self {
        Self {
            listen: r.parsed("server", "listen", SocketAddr::from(([127, 0, 0, 1], 0))),
            trusted_proxies: r.networks("server", "trusted_proxies"),
            connections_max: r.within("server", "connections_max", 1..=100_000),
            connections_per_address_max: r.within("server", "connections_per_address_max", 1..=100_000),
            write: r.seconds("server", "write_seconds", 1),
            exchange: r.seconds("server", "exchange_seconds", 1),
            streams_max: r.within("server", "streams_max", 1..=100_000),
            streams_per_merchant_max: r.within("server", "streams_per_merchant_max", 1..=100_000),
            drain: r.seconds("server", "drain_seconds", 0),
        }
    }

    pub(super) fn check(&self, reader: &mut Reader) {
        if self.streams_per_merchant_max > self.streams_max {
            reader.fault("server", "streams_per_merchant_max", "must be at most server.streams_max");
        }
    }
}
