//! Rate limits: the key that each request is counted by, and the extractors that apply the limits.
//!
//! | limit | counts by | applies to |
//! |---|---|---|
//! | `checkout-key` | secret key; publishable key at a far higher rate | valid orders, over all processes |
//! | `checkout-ip` | publishable key and address | valid orders |
//! | `checkout-invalid` | key and address | invalid orders |
//! | `cart-ip`, `new-cart-ip`, `new-cart-merchant` | address, merchant | changes of carts, new carts |
//! | `sign-in-ip`, `sign-in-account` | address, mail address | requests that hash or check passwords |
//! | `read-ip`, `read-key` | address with a publishable key, secret key | reads |
//! | `search-ip`, `search-key` | the same | reads by `?q=`, which scan a merchant's catalog |
//! | `key-lookup` | address | keys that are not cached |
//!
//! Guarantees: memory stays bounded whatever addresses call ([`table`]); a rejected request has no effect; a request
//! without a usable key gets its 401 before any limit applies. All customers of a storefront share its publishable key,
//! so their requests are counted by address, and only valid orders also by key. All limits but `checkout-key` hold per
//! process.

mod limiter;
mod table;

use std::{net::IpAddr, time::Duration};

use axum::extract::FromRequestParts;
use cache::RateLimits;
use http::{HeaderMap, request};
use sha2::{Digest, Sha256};
use store::{
    customers::email_key,
    domain::MerchantId,
    merchants::{KeyRecord, KeyScope},
    orders::IdempotencyKey,
};

use self::{
    limiter::{Limiter, RateFields},
    table::Caller,
};
use crate::{
    auth,
    config::ApiConfig,
    input::{Body, required_idempotency_key},
    problem::Problem,
    state::ApiState,
};

/// Interval at which idle callers are removed.
pub(crate) const SWEEP_INTERVAL: Duration = Duration::from_secs(30);
/// Key lookups per second of one address, and as many at once. Found keys are cached, so only guesses reach this limit.
const KEY_LOOKUPS_PER_SECOND: std::num::NonZeroU32 = std::num::NonZeroU32::new(100).unwrap();

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_mins(1);
const DAY: Duration = Duration::from_hours(24);

pub(crate) struct Limiters {
    key_lookups: Limiter,
    orders_by_secret_key: Limiter,
    orders_by_publishable_key: Limiter,
    orders_by_ip: Limiter,
    invalid_orders: Limiter,
    carts_by_ip: Limiter,
    new_carts_by_ip: Limiter,
    new_carts_by_merchant: Limiter,
    sign_in_by_ip: Limiter,
    sign_in_by_account: Limiter,
    reads: ByCaller,
    searches: ByCaller,
}

/// A limit of customers by address, and of the merchant by secret key.
struct ByCaller {
    ip: Limiter,
    key: Limiter,
}

impl ByCaller {
    fn take(&self, key: &KeyRecord, address: IpAddr) -> Result<(), Problem> {
        let taken = match key.scope {
            KeyScope::Secret => self.key.take(Caller::Key(key.id)),
            KeyScope::Publishable => self.ip.take(Caller::Address(address)),
        };
        taken.map(drop)
    }
}

impl Limiters {
    pub(crate) fn new(config: &ApiConfig) -> Self {
        let (checkout, sign_in) = (config.checkout, config.sign_in);
        let (carts, reads) = (config.carts, config.reads);
        let by_ip = |name| Limiter::new(name, SECOND / checkout.per_ip_per_second.get(), checkout.burst);
        let per_key = SECOND / checkout.per_key_per_second.get();
        let sign_in_per_ip = MINUTE / sign_in.per_ip_per_minute.get();
        let sign_in_per_account = MINUTE / sign_in.per_account_per_minute.get();
        Self {
            key_lookups: Limiter::per("key-lookup", SECOND, KEY_LOOKUPS_PER_SECOND),
            orders_by_secret_key: Limiter::new("checkout-key", per_key, checkout.burst),
            orders_by_publishable_key: Limiter::per(
                "checkout-key",
                SECOND,
                checkout.per_publishable_key_per_second,
            ),
            orders_by_ip: by_ip("checkout-ip"),
            invalid_orders: Limiter::per("checkout-invalid", MINUTE, checkout.invalid_per_ip_per_minute),
            carts_by_ip: by_ip("cart-ip"),
            new_carts_by_ip: Limiter::per("new-cart-ip", MINUTE, carts.new_per_ip_per_minute),
            new_carts_by_merchant: Limiter::per("new-cart-merchant", DAY, carts.new_per_merchant_per_day),
            sign_in_by_ip: Limiter::new("sign-in-ip", sign_in_per_ip, sign_in.burst),
            sign_in_by_account: Limiter::new("sign-in-account", sign_in_per_account, sign_in.burst),
            reads: ByCaller {
                ip: Limiter::per("read-ip", SECOND, reads.per_ip_per_second),
                key: Limiter::per("read-key", SECOND, reads.per_key_per_second),
            },
            searches: ByCaller {
                ip: Limiter::per("search-ip", SECOND, reads.searches_per_ip_per_second),
                key: Limiter::per("search-key", SECOND, reads.searches_per_key_per_second),
            },
        }
    }

    fn all(&self) -> [&Limiter; 14] {
        [
            &self.key_lookups,
            &self.orders_by_secret_key,
            &self.orders_by_publishable_key,
            &self.orders_by_ip,
            &self.invalid_orders,
            &self.carts_by_ip,
            &self.new_carts_by_ip,
            &self.new_carts_by_merchant,
            &self.sign_in_by_ip,
            &self.sign_in_by_account,
            &self.reads.ip,
            &self.reads.key,
            &self.searches.ip,
            &self.searches.key,
        ]
    }

    /// Takes a lookup of a key that is not cached from the address's allowance.
    pub(crate) fn take_key_lookup(&self, address: IpAddr) -> Result<(), Problem> {
        self.key_lookups.take(Caller::Address(address)).map(drop)
    }

    /// Takes a read from the allowance of the address or the secret key.
    pub(crate) fn take_read(&self, key: &KeyRecord, address: IpAddr) -> Result<(), Problem> {
        self.reads.take(key, address)
    }

    /// Takes a password attempt from the allowance of an account, which need not exist.
    pub(crate) fn take_sign_in(&self, merchant: MerchantId, email: &str) -> Result<(), Problem> {
        let account = Sha256::digest(format!("{merchant} {}", email_key(email)));
        self.sign_in_by_account.take(Caller::Account(account.into())).map(drop)
    }

    /// Takes a valid order from the allowances of the key and, with a publishable key, of the address.
    async fn take_order(
        &self,
        caller: &CheckoutCaller,
        shared: &dyn RateLimits,
    ) -> Result<RateFields, Problem> {
        let key = &caller.key;
        let (by_key, name) = (Caller::Key(key.id), format!("checkout:{}", key.id));
        match key.scope {
            KeyScope::Secret => self.orders_by_secret_key.take_shared(by_key, &name, shared).await,
            KeyScope::Publishable => {
                let fields = self.orders_by_ip.take_told(Caller::KeyAt(key.id, caller.address))?;
                self.orders_by_publishable_key.take_shared(by_key, &name, shared).await?;
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

/// An authenticated caller of checkout, before its request is read; see [`Self::admit`].
pub(crate) struct CheckoutCaller {
    key: KeyRecord,
    address: IpAddr,
}

/// A valid request within the limits.
pub(crate) struct Admitted<T> {
    pub(crate) key: KeyRecord,
    pub(crate) idempotency: IdempotencyKey,
    pub(crate) body: T,
    pub(crate) rate: RateFields,
}

impl CheckoutCaller {
    /// Counts a valid request against the caller's allowance, and an invalid one against a small allowance of its own.
    ///
    /// # Errors
    /// The faults of the request, or a 429 when the allowance is used up.
    pub(crate) async fn admit<T>(
        self,
        state: &ApiState,
        headers: &HeaderMap,
        body: Result<Body<T>, Problem>,
    ) -> Result<Admitted<T>, Problem> {
        let read = required_idempotency_key(headers, self.key.scope).and_then(|key| Ok((key, body?)));
        match read {
            Ok((key, Body { value: body, fingerprint })) => {
                let rate = state.limiters.take_order(&self, &*state.limits).await?;
                Ok(Admitted { key: self.key, idempotency: IdempotencyKey { key, fingerprint }, body, rate })
            }
            Err(fault) => {
                let caller = Caller::KeyAt(self.key.id, self.address);
                Err(state.limiters.invalid_orders.take_told(caller)?.onto(fault))
            }
        }
    }
}

impl FromRequestParts<ApiState> for CheckoutCaller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut request::Parts, state: &ApiState) -> Result<Self, Problem> {
        let key = auth::authenticate(parts, state).await?;
        Ok(Self { key, address: state.client_ip(parts) })
    }
}

/// A caller of a list that can be searched: authenticated, within the read limit and, for a search, the search limit.
pub(crate) struct SearchCaller(pub(crate) KeyRecord);

impl FromRequestParts<ApiState> for SearchCaller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut request::Parts, state: &ApiState) -> Result<Self, Problem> {
        let auth::AnyKey(key) = auth::AnyKey::from_request_parts(parts, state).await?;
        let query = parts.uri.query().unwrap_or_default();
        if url::form_urlencoded::parse(query.as_bytes()).any(|(name, _)| name == "q") {
            let address = state.client_ip(parts);
            state.limiters.searches.take(&key, address)?;
        }
        Ok(Self(key))
    }
}

/// A caller of carts: authenticated, within the address limit.
pub(crate) struct CartCaller(pub(crate) KeyRecord);

impl FromRequestParts<ApiState> for CartCaller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut request::Parts, state: &ApiState) -> Result<Self, Problem> {
        known(parts, state, &state.limiters.carts_by_ip).await.map(Self)
    }
}

/// A caller that creates a cart: authenticated, within the limits of address and merchant.
pub(crate) struct NewCartCaller(pub(crate) KeyRecord);

impl FromRequestParts<ApiState> for NewCartCaller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut request::Parts, state: &ApiState) -> Result<Self, Problem> {
        let key = known(parts, state, &state.limiters.new_carts_by_ip).await?;
        state.limiters.new_carts_by_merchant.take(Caller::Merchant(key.merchant))?;
        Ok(Self(key))
    }
}

/// A caller whose request hashes or checks a password: authenticated, within the address limit.
pub(crate) struct PasswordCaller(pub(crate) KeyRecord);

impl FromRequestParts<ApiState> for PasswordCaller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut request::Parts, state: &ApiState) -> Result<Self, Problem> {
        known(parts, state, &state.limiters.sign_in_by_ip).await.map(Self)
    }
}

/// The key record of the request, within the limit of its address.
async fn known(parts: &request::Parts, state: &ApiState, by_ip: &Limiter) -> Result<KeyRecord, Problem> {
    let key = auth::authenticate(parts, state).await?;
    by_ip.take(Caller::Address(state.client_ip(parts)))?;
    Ok(key)
}
