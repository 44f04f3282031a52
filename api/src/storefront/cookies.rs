//! Cookies of the storefront: their names, how long they are kept, and what they may hold.
//!
//! Guarantees: no script reads them, other sites send them with plain links only, and over https browsers take them
//! from this host alone. A value is short and plain text; any other counts as none. They hold ids and tokens that the
//! API issued and checks itself, so a forged cookie gives nothing.

use std::time::Duration;

use http::{HeaderMap, HeaderValue, header};

/// Longest value, in bytes.
const VALUE_BYTES_MAX: usize = 2048;
/// Orders remembered, the latest first.
const ORDERS_MAX: usize = 5;
/// Between the parts of an order, and between orders.
const PART: char = '~';
const NEXT: char = '!';

/// A cookie of the storefront.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cookie {
    /// Id of the cart.
    Cart,
    /// Token of the customer's session.
    Session,
    /// The latest orders with their tokens, see [`KnownOrder`].
    Orders,
    /// Id of the device, by which unpaid orders are counted.
    Device,
    /// Place in the waiting room, see [`super::waiting`].
    Place,
    /// Language that was chosen by hand.
    Language,
}

impl Cookie {
    const fn name(self) -> &'static str {
        match self {
            Self::Cart => "orderworks_cart",
            Self::Session => "orderworks_session",
            Self::Orders => "orderworks_orders",
            Self::Device => "orderworks_device",
            Self::Place => "orderworks_place",
            Self::Language => "orderworks_language",
        }
    }

    /// The API ends carts and sessions by itself, at most so late.
    const fn kept_for(self) -> Duration {
        match self {
            Self::Cart => Duration::from_hours(14 * 24),
            Self::Session => Duration::from_hours(90 * 24),
            Self::Orders => Duration::from_hours(30 * 24),
            Self::Place => Duration::from_hours(24),
            Self::Device | Self::Language => Duration::from_hours(365 * 24),
        }
    }

    fn full_name(self, https: bool) -> String {
        let prefix = if https { "__Host-" } else { "" };
        format!("{prefix}{}", self.name())
    }

    /// Its value in a request.
    pub(super) fn read(self, headers: &HeaderMap, https: bool) -> Option<String> {
        let name = self.full_name(https);
        let sent = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
        let mut pairs =
            sent.flat_map(|value| value.split(';')).filter_map(|pair| pair.trim().split_once('='));
        let (_, value) = pairs.find(|(known, _)| *known == name)?;
        is_plain(value).then(|| value.to_owned())
    }

    /// The header that sets it; `None` for a value that it may not hold.
    pub(super) fn set(self, value: &str, https: bool) -> Option<HeaderValue> {
        if !is_plain(value) {
            return None;
        }
        self.header(value, self.kept_for().as_secs(), https)
    }

    /// The header that removes it.
    pub(super) fn clear(self, https: bool) -> Option<HeaderValue> {
        self.header("", 0, https)
    }

    fn header(self, value: &str, seconds: u64, https: bool) -> Option<HeaderValue> {
        let (name, secure) = (self.full_name(https), if https { "; Secure" } else { "" });
        let text = format!("{name}={value}; Path=/; Max-Age={seconds}; HttpOnly; SameSite=Lax{secure}");
        let mut header = HeaderValue::try_from(text).ok()?;
        header.set_sensitive(true);
        Some(header)
    }
}

fn is_plain(value: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'~' | b'!');
    (1..=VALUE_BYTES_MAX).contains(&value.len()) && value.bytes().all(allowed)
}

/// An order that was placed from this browser.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct KnownOrder {
    pub(super) id: String,
    /// Opens the order with personal data.
    pub(super) token: String,
    /// The cart that it was.
    pub(super) cart: String,
}

/// The orders in the value of [`Cookie::Orders`].
pub(super) fn known_orders(value: &str) -> Vec<KnownOrder> {
    let order = |text: &str| {
        let mut parts = text.split(PART).map(str::to_owned);
        Some(KnownOrder { id: parts.next()?, token: parts.next()?, cart: parts.next()? })
    };
    value.split(NEXT).filter_map(order).take(ORDERS_MAX).collect()
}

/// The value of [`Cookie::Orders`] with one more order.
pub(super) fn with_order(known: &[KnownOrder], new: KnownOrder) -> String {
    let former = known.iter().filter(|order| order.id != new.id);
    let texts: Vec<String> = std::iter::once(&new)
        .chain(former)
        .take(ORDERS_MAX)
        .map(|KnownOrder { id, token, cart }| format!("{id}{PART}{token}{PART}{cart}"))
        .collect();
    texts.join(&NEXT.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cookie_is_read_as_it_was_set_and_strange_values_are_not() {
        for https in [false, true] {
            let set = Cookie::Cart.set("cart_1-a", https).expect("plain");
            let text = set.to_str().expect("text");
            assert_eq!(text.starts_with("__Host-") && text.ends_with("; Secure"), https, "{text}");
            let pair = text.split(';').next().expect("a pair");
            let mut headers = HeaderMap::new();
            headers.insert(header::COOKIE, format!("a=b; {pair}").parse().expect("a header value"));
            assert_eq!(Cookie::Cart.read(&headers, https).as_deref(), Some("cart_1-a"));
            assert_eq!(Cookie::Cart.read(&headers, !https), None);
        }
        for strange in ["", "a b", "a;b", "a/../b", "\u{e9}", &"x".repeat(VALUE_BYTES_MAX + 1)] {
            assert_eq!(Cookie::Cart.set(strange, false), None, "{strange}");
        }
    }

    #[test]
    fn the_latest_orders_are_known_and_each_once() {
        let order = |n: u32| KnownOrder { id: format!("o{n}"), token: "t".to_owned(), cart: format!("c{n}") };
        let mut value = String::new();
        for n in 0..9 {
            value = with_order(&known_orders(&value), order(n));
        }
        value = with_order(&known_orders(&value), order(7));
        let ids: Vec<String> = known_orders(&value).into_iter().map(|order| order.id).collect();
        assert_eq!(ids, ["o7", "o8", "o6", "o5", "o4"]);
        assert!(known_orders("nonsense").is_empty() && known_orders("").is_empty());
    }
}
