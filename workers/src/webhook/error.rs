//! Why no answer came, as a stable code: the words of resolvers and sockets would tell a merchant about our network.

use std::error::Error;

use super::resolver::{BlockedAddress, NotResolved};

pub(super) fn code(error: &reqwest::Error) -> &'static str {
    if has::<BlockedAddress>(error) {
        "blocked_address"
    } else if error.is_timeout() {
        "timeout"
    } else if has::<NotResolved>(error) {
        "dns"
    } else if has::<rustls::Error>(error) {
        "tls"
    } else if error.is_connect() {
        "connect"
    } else if error.is_builder() {
        "bad_url"
    } else {
        "connection_lost"
    }
}

/// Whether the chain holds a `T`, also one wrapped in an `io::Error`, whose `source` skips what it wraps.
fn has<T: Error + 'static>(error: &(dyn Error + 'static)) -> bool {
    let mut next = Some(error);
    while let Some(error) = next {
        let wrapped = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
        if error.is::<T>() || wrapped.is_some_and(<dyn Error + Send + Sync>::is::<T>) {
            return true;
        }
        next = error.source();
    }
    false
}
