//! The allowances of all callers.

use std::{net::IpAddr, sync::Arc, time::Duration};

use cache::RateLimits;
use http::HeaderMap;
use sha2::{Digest, Sha256};
use store::{
    customers::email_key,
    domain::MerchantId,
    merchants::{KeyRecord, KeyScope},
};

use super::{limiter::Limiter, table::Caller};
use crate::{config::ApiConfig, problem::Result};

/// Interval at which idle callers are removed.
pub(crate) const SWEEP_INTERVAL: Duration = Duration::from_secs(30);
/// Key lookups per second of one address, and as many at once. Found keys are cached, so only guesses reach this limit.
const KEY_LOOKUPS_PER_SECOND: std::num::NonZeroU32 = std::num::NonZeroU32::new(100).unwrap();
/// Requests to send an event again, per second of one secret key, and as many at once.
const RESENDS_PER_SECOND: std::num::NonZeroU32 = std::num::NonZeroU32::new(10).unwrap();

/// Webhooks of the payment provider per second from one address, and as many at once. A rejected one is sent again.
const PROVIDER_WEBHOOKS_PER_SECOND: std::num::NonZeroU32 = std::num::NonZeroU32::new(200).unwrap();

/// New places in waiting rooms per minute from one address, and as many at once.
const NEW_PLACES_PER_MINUTE: std::num::NonZeroU32 = std::num::NonZeroU32::new(60).unwrap();
/// Orders that one place in a waiting room serves at once; then one a minute.
const ORDERS_PER_PLACE: std::num::NonZeroU32 = std::num::NonZeroU32::new(5).unwrap();

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_mins(1);
const DAY: Duration = Duration::from_hours(24);

pub(crate) struct Limiters {
    key_lookups: Limiter,
    orders_by_secret_key: Limiter,
    orders_by_merchant: Limiter,
    orders_by_publishable_key: Limiter,
    orders_by_ip: Limiter,
    pub(super) invalid_orders: Limiter,
    pub(super) carts_by_ip: Limiter,
    pub(super) new_carts_by_ip: Limiter,
    pub(super) new_carts_by_merchant: Limiter,
    pub(super) sign_in_by_ip: Limiter,
    sign_in_by_account: Limiter,
    pub(crate) reads: ByCaller,
    writes: ByCaller,
    writes_by_merchant: Limiter,
    provider_webhooks: Limiter,
    pub(super) searches: ByCaller,
    resends: Limiter,
    new_places: Limiter,
    orders_by_place: Limiter,
}

/// A limit of customers by address, and of the merchant by secret key.
pub(crate) struct ByCaller {
    ip: Limiter,
    key: Limiter,
}

impl ByCaller {
    pub(crate) async fn take(&self, key: &KeyRecord, address: IpAddr) -> Result<()> {
        let taken = match key.scope {
            KeyScope::Secret => self.key.take(Caller::Key(key.id)).await,
            KeyScope::Publishable => self.ip.take(Caller::Address(address)).await,
        };
        taken.map(drop)
    }

    /// Takes a request that needs no key.
    pub(super) async fn take_at(&self, address: IpAddr) -> Result<()> {
        self.ip.take(Caller::Address(address)).await.map(drop)
    }
}

impl Limiters {
    /// `shared`: counters over all processes, for every limit; `None` where this process counts alone.
    pub(crate) fn new(config: &ApiConfig, shared: Option<&Arc<dyn RateLimits>>) -> Self {
        let (checkout, sign_in) = (config.checkout, config.sign_in);
        let (carts, reads, writes) = (config.carts, config.reads, config.writes);
        let every = |name, interval, burst| Limiter::new(name, interval, burst).over(shared);
        let per = |name, span, number| Limiter::per(name, span, number).over(shared);
        let by_ip = |name| every(name, SECOND / checkout.per_ip_per_second.get(), checkout.burst);
        let per_key = SECOND / checkout.per_key_per_second.get();
        let per_merchant = SECOND / checkout.per_merchant_per_second.get();
        let at_once = checkout.per_merchant_per_second.max(checkout.burst);
        let sign_in_per_ip = MINUTE / sign_in.per_ip_per_minute.get();
        let sign_in_per_account = MINUTE / sign_in.per_account_per_minute.get();
        Self {
            key_lookups: per("key-lookup", SECOND, KEY_LOOKUPS_PER_SECOND),
            orders_by_secret_key: every("checkout-key", per_key, checkout.burst),
            orders_by_merchant: every("checkout-merchant", per_merchant, at_once),
            orders_by_publishable_key: per("checkout-key", SECOND, checkout.per_publishable_key_per_second),
            orders_by_ip: by_ip("checkout-ip"),
            invalid_orders: per("checkout-invalid", MINUTE, checkout.invalid_per_ip_per_minute),
            carts_by_ip: by_ip("cart-ip"),
            new_carts_by_ip: per("new-cart-ip", MINUTE, carts.new_per_ip_per_minute),
            new_carts_by_merchant: per("new-cart-merchant", DAY, carts.new_per_merchant_per_day),
            sign_in_by_ip: every("sign-in-ip", sign_in_per_ip, sign_in.burst),
            sign_in_by_account: every("sign-in-account", sign_in_per_account, sign_in.burst),
            reads: ByCaller {
                ip: per("read-ip", SECOND, reads.per_ip_per_second),
                key: per("read-key", SECOND, reads.per_key_per_second),
            },
            writes: ByCaller {
                ip: per("write-ip", SECOND, writes.per_ip_per_second),
                key: per("write-key", SECOND, writes.per_key_per_second),
            },
            writes_by_merchant: per("write-merchant", SECOND, writes.per_merchant_per_second),
            provider_webhooks: per("provider-webhook", SECOND, PROVIDER_WEBHOOKS_PER_SECOND),
            searches: ByCaller {
                ip: per("search-ip", SECOND, reads.searches_per_ip_per_second),
                key: per("search-key", SECOND, reads.searches_per_key_per_second),
            },
            resends: per("resend-key", SECOND, RESENDS_PER_SECOND),
            new_places: per("new-place-ip", MINUTE, NEW_PLACES_PER_MINUTE),
            orders_by_place: every("place-orders", MINUTE, ORDERS_PER_PLACE),
        }
    }

    fn all(&self) -> [&Limiter; 22] {
        // Without `..`: a limit that is left out of the list is an unused variable, which the lints refuse.
        let Self {
            key_lookups,
            orders_by_secret_key,
            orders_by_merchant,
            orders_by_publishable_key,
            orders_by_ip,
            invalid_orders,
            carts_by_ip,
            new_carts_by_ip,
            new_carts_by_merchant,
            sign_in_by_ip,
            sign_in_by_account,
            reads,
            writes,
            writes_by_merchant,
            provider_webhooks,
            searches,
            resends,
            new_places,
            orders_by_place,
        } = self;
        [
            key_lookups,
            orders_by_secret_key,
            orders_by_merchant,
            orders_by_publishable_key,
            orders_by_ip,
            invalid_orders,
            carts_by_ip,
            new_carts_by_ip,
            new_carts_by_merchant,
            sign_in_by_ip,
            sign_in_by_account,
            &reads.ip,
            &reads.key,
            &writes.ip,
            &writes.key,
            writes_by_merchant,
            provider_webhooks,
            &searches.ip,
            &searches.key,
            resends,
            new_places,
            orders_by_place,
        ]
    }

    /// Takes a webhook of the payment provider, whose signature is not verified yet.
    pub(crate) async fn take_provider_webhook(&self, address: IpAddr) -> Result<()> {
        self.provider_webhooks.take(Caller::Address(address)).await.map(drop)
    }

    /// Takes a lookup of a key that is not cached from the address's allowance.
    pub(crate) async fn take_key_lookup(&self, address: IpAddr) -> Result<()> {
        self.key_lookups.take(Caller::Address(address)).await.map(drop)
    }

    /// Takes a request to send an event again from the allowance of its key.
    pub(crate) async fn take_resend(&self, key: &KeyRecord) -> Result<()> {
        self.resends.take(Caller::Key(key.id)).await.map(drop)
    }

    /// Takes a new place in a waiting room from the allowance of the address.
    pub(crate) async fn take_new_place(&self, address: IpAddr) -> Result<()> {
        self.new_places.take(Caller::Address(address)).await.map(drop)
    }

    /// Takes an order from the allowance of the place in a waiting room that its shopper was admitted by: a place that
    /// is passed on serves no crowd.
    pub(crate) async fn take_order_of_place(
        &self,
        merchant: MerchantId,
        number: u64,
        nonce: [u8; 8],
    ) -> Result<()> {
        let place = Sha256::new().chain_update(merchant.0).chain_update(number.to_be_bytes());
        let place = Caller::Account(place.chain_update(nonce).finalize().into());
        self.orders_by_place.take(place).await.map(drop)
    }

    /// Takes a password attempt from the allowance that an address has for an account, which need not exist. Attempts
    /// from elsewhere do not count: they would lock the account's owner out (OWASP Authentication Cheat Sheet).
    pub(crate) async fn take_sign_in(
        &self,
        merchant: MerchantId,
        email: &str,
        address: IpAddr,
    ) -> Result<()> {
        self.sign_in_by_account.take(account_at(merchant, email, address)).await.map(drop)
    }

    /// Ends the count of attempts after the right password.
    pub(crate) async fn signed_in(&self, merchant: MerchantId, email: &str, address: IpAddr) {
        self.sign_in_by_account.forget(account_at(merchant, email, address)).await;
    }

    /// Takes a write that no other limit counts: from the allowances of a secret key and of its merchant, or from that
    /// of the address.
    pub(crate) async fn take_write(&self, key: &KeyRecord, address: IpAddr) -> Result<()> {
        self.writes.take(key, address).await?;
        match key.scope {
            KeyScope::Secret => self.writes_by_merchant.take(Caller::Merchant(key.merchant)).await.map(drop),
            KeyScope::Publishable => Ok(()),
        }
    }

    /// Takes a valid order: from the allowances of a secret key and of its merchant, or of an address and its
    /// publishable key.
    pub(super) async fn take_order(&self, key: &KeyRecord, address: IpAddr) -> Result<HeaderMap> {
        let by_key = Caller::Key(key.id);
        match key.scope {
            KeyScope::Secret => {
                let fields = self.orders_by_secret_key.take_told(by_key).await?;
                self.orders_by_merchant.take(Caller::Merchant(key.merchant)).await?;
                Ok(fields)
            }
            KeyScope::Publishable => {
                let fields = self.orders_by_ip.take_told(Caller::KeyAt(key.id, address)).await?;
                self.orders_by_publishable_key.take(by_key).await?;
                Ok(fields)
            }
        }
    }

    /// Requests rejected since the start, by limit.
    pub(crate) fn refused(&self) -> impl Iterator<Item = (&'static str, u64)> {
        self.all().into_iter().map(|limiter| (limiter.name, limiter.refused()))
    }

    pub(crate) fn sweep(&self) {
        self.all().into_iter().for_each(Limiter::sweep);
    }
}

fn account_at(merchant: MerchantId, email: &str, address: IpAddr) -> Caller {
    Caller::Account(Sha256::digest(format!("{merchant} {address} {}", email_key(email))).into())
}
