//! Failure codes of posts without an answer. The texts of resolvers and sockets stay inside: they would tell a merchant
//! about our network.

use std::error::Error;

use rustls::pki_types::InvalidDnsNameError;

use crate::resolver::{BlockedAddress, NotResolved};

/// The name does not resolve, or only to blocked addresses: one code, so that our internal names cannot be told from
/// names that do not exist.
pub(super) const UNREACHABLE_NAME: &str = "unreachable_name";
/// No whole answer within the deadline.
pub(super) const TIMEOUT: &str = "timeout";

pub(super) fn code(error: &reqwest::Error) -> &'static str {
    if has::<BlockedAddress>(error) || has::<NotResolved>(error) || has::<InvalidDnsNameError>(error) {
        UNREACHABLE_NAME
    } else if error.is_timeout() {
        TIMEOUT
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

/// Whether the chain holds a `T`, also one inside of `io::Error`s, whose `source` skips the error they wrap.
fn has<T: Error + 'static>(error: &(dyn Error + 'static)) -> bool {
    let mut next = Some(error);
    while let Some(error) = next {
        if error.is::<T>() {
            return true;
        }
        let wrapped = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
        next = wrapped.map_or_else(|| error.source(), |wrapped| Some(wrapped));
    }
    false
}
