//! Subjects of an order, by which unpaid orders and declined payments count.

use std::{fmt::Display, net::IpAddr, num::NonZeroU32};

use cache::{Claim, Quota};
use http::{HeaderMap, header};
use sha2::{Digest, Sha256};
use store::domain::{CustomerId, MerchantId};

use crate::config::CardTestingLimits;

const DEVICE_HEADER: &str = "orderworks-device";
const DEVICE_COOKIE: &str = "orderworks_device";
/// Characters of a device's id; other ids count as none.
const DEVICE_CHARS: std::ops::RangeInclusive<usize> = 16..=64;

/// Counters of one order. Each is a hash of its kind, the merchant and the subject: counters hold neither addresses nor
/// tokens of payment methods.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Subjects {
    address: [u8; 16],
    device: Option<[u8; 16]>,
    account: Option<[u8; 16]>,
    payment_method: [u8; 16],
}

/// A counter, by the name that clients see.
pub(super) struct Counter {
    pub(super) policy: &'static str,
    pub(super) claim: Claim,
}

impl Subjects {
    /// `address`: IPv6 by its /64. `payment_method`: the provider's token, the only thing known of a card before it is
    /// charged.
    pub(super) fn of(
        merchant: MerchantId,
        address: IpAddr,
        account: Option<CustomerId>,
        payment_method: &str,
        headers: &HeaderMap,
    ) -> Self {
        Self {
            address: hash("address", merchant, address),
            device: device(headers).map(|device| hash("device", merchant, device)),
            account: account.map(|account| hash("account", merchant, account)),
            payment_method: hash("payment method", merchant, payment_method),
        }
    }

    /// All counters of an order that may have `allowed` unpaid ones before it. Those of unpaid orders come first, and
    /// only they count it: declines count when they come.
    pub(super) fn counters(&self, config: &CardTestingLimits, allowed: NonZeroU32) -> Vec<Counter> {
        let unpaid = |policy, hash| Counter { policy, claim: claim(Counted::Unpaid, hash, config, allowed) };
        let declined = |policy, hash, most| {
            let claim = Claim { counts: false, ..claim(Counted::Declined, hash, config, most) };
            Counter { policy, claim }
        };
        let mut counters = vec![unpaid("unpaid-ip", &self.address)];
        counters.extend(self.device.iter().map(|hash| unpaid("unpaid-device", hash)));
        counters.extend(self.account.iter().map(|hash| unpaid("unpaid-customer", hash)));
        let of_account = |hash| declined("declined-customer", hash, config.declines_per_customer);
        counters.extend(self.account.iter().map(of_account));
        let most = config.declines_per_payment_method;
        counters.push(declined("declined-payment-method", &self.payment_method, most));
        counters
    }

    /// What an unpaid order has taken.
    pub(super) fn unpaid(&self, config: &CardTestingLimits) -> Vec<Claim> {
        let of = |hash| claim(Counted::Unpaid, hash, config, config.unpaid_with_proof);
        std::iter::once(&self.address).chain(&self.device).chain(&self.account).map(of).collect()
    }

    /// What a declined payment takes.
    pub(super) fn declined(&self, config: &CardTestingLimits) -> Vec<Claim> {
        let of = |hash, most| claim(Counted::Declined, hash, config, most);
        let of_account = self.account.iter().map(|hash| of(hash, config.declines_per_customer));
        let of_method = of(&self.payment_method, config.declines_per_payment_method);
        of_account.chain([of_method]).collect()
    }
}

/// What a counter counts; one subject may have a counter of each.
#[derive(Clone, Copy)]
enum Counted {
    Unpaid,
    Declined,
}

/// A call that counts.
fn claim(counted: Counted, hash: &[u8; 16], config: &CardTestingLimits, burst: NonZeroU32) -> Claim {
    let name = match counted {
        Counted::Unpaid => "unpaid",
        Counted::Declined => "declined",
    };
    let quota = Quota { interval: config.forget_one_after, burst: burst.get() };
    Claim { key: format!("{name}:{}", hex::encode(hash)), quota, counts: true }
}

/// 128 bits keep all subjects apart.
fn hash(kind: &str, merchant: MerchantId, subject: impl Display) -> [u8; 16] {
    let hash = Sha256::digest(format!("{kind} {merchant} {subject}"));
    let mut short = [0; 16];
    short.copy_from_slice(&hash[..16]);
    short
}

/// The id that a storefront keeps on the customer's device, from its header or, on the API's own pages, its cookie.
/// Anybody may send any id, or none: it adds a counter and never replaces one.
fn device(headers: &HeaderMap) -> Option<&str> {
    let of_header = headers.get(DEVICE_HEADER).and_then(|value| value.to_str().ok());
    let of_cookie = || {
        let cookies = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
        let mut pairs =
            cookies.flat_map(|value| value.split(';')).filter_map(|pair| pair.trim().split_once('='));
        pairs.find(|(name, _)| *name == DEVICE_COOKIE).map(|(_, id)| id)
    };
    let usable = |id: &&str| {
        DEVICE_CHARS.contains(&id.len())
            && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
    };
    of_header.or_else(of_cookie).filter(usable)
}

#[cfg(test)]
mod tests {
    use base::Ambient;

    use super::*;

    /// Policy, key and whether it counts, of each counter.
    fn shown(subjects: Subjects) -> Vec<(&'static str, String, bool)> {
        let config = CardTestingLimits::default();
        let counters = subjects.counters(&config, config.unpaid_per_customer);
        counters.into_iter().map(|Counter { policy, claim }| (policy, claim.key, claim.counts)).collect()
    }

    #[test]
    fn a_customer_and_a_payment_method_are_the_same_from_any_address_and_not_at_another_merchant() {
        let ambient = Ambient::system();
        let (merchant, other) = (MerchantId::fresh(&ambient), MerchantId::fresh(&ambient));
        let account = Some(CustomerId::fresh(&ambient));
        let of = |merchant, address: &str| {
            let address = address.parse().expect("an address");
            shown(Subjects::of(merchant, address, account, "pm_1", &HeaderMap::new()))
        };
        let (here, there) = (of(merchant, "198.51.100.1"), of(merchant, "2001:db8::"));
        let kinds: Vec<_> = here.iter().map(|(policy, _, counts)| (*policy, *counts)).collect();
        let expected = [
            ("unpaid-ip", true),
            ("unpaid-customer", true),
            ("declined-customer", false),
            ("declined-payment-method", false),
        ];
        assert_eq!(kinds, expected);
        assert!(here[0] != there[0] && here[1..] == there[1..], "{here:?} {there:?}");
        assert!(of(other, "198.51.100.1").iter().all(|counter| !here.contains(counter)));
        let distinct: std::collections::HashSet<_> = here.iter().map(|(_, key, _)| key).collect();
        assert_eq!(distinct.len(), here.len(), "an unpaid order is no decline");
    }

    #[test]
    fn what_an_unpaid_order_gives_back_is_what_it_took() {
        let (ambient, config) = (Ambient::system(), CardTestingLimits::default());
        let mut headers = HeaderMap::new();
        headers.insert(DEVICE_HEADER, "0123456789abcdef".parse().expect("a header value"));
        let (merchant, account) = (MerchantId::fresh(&ambient), Some(CustomerId::fresh(&ambient)));
        let address = "198.51.100.1".parse().expect("an address");
        let subjects = Subjects::of(merchant, address, account, "pm_1", &headers);
        let counted = shown(subjects).into_iter().filter(|(_, _, counts)| *counts);
        let given: Vec<_> = subjects.unpaid(&config).into_iter().map(|claim| claim.key).collect();
        assert_eq!(counted.map(|(_, key, _)| key).collect::<Vec<_>>(), given);
    }

    #[test]
    fn a_device_is_known_by_header_or_cookie() {
        let seen = |name: &'static str, value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(name, value.parse().expect("a header value"));
            device(&headers).map(str::to_owned)
        };
        let id = "0123456789abcdef";
        assert_eq!(seen(DEVICE_HEADER, id).as_deref(), Some(id));
        assert_eq!(seen("cookie", &format!("a=b; {DEVICE_COOKIE}={id}; c=d")).as_deref(), Some(id));
        for bad in ["short", "0123456789abcde/", &"x".repeat(65)] {
            assert_eq!(seen(DEVICE_HEADER, bad), None, "{bad}");
        }
        assert_eq!(seen("cookie", &format!("{DEVICE_COOKIE}2={id}")), None);
    }
}
