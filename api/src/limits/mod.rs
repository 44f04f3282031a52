//! Rate limits: the allowances (`limiters`) and the extractors that apply them (`callers`).
//!
//! | limit | counts by | applies to |
//! |---|---|---|
//! | `checkout-key` | secret key; publishable key at a far higher rate | valid orders |
//! | `checkout-merchant` | merchant, over all its secret keys | valid orders |
//! | `checkout-ip` | publishable key and address | valid orders |
//! | `checkout-invalid` | key and address | invalid orders |
//! | `cart-ip`, `new-cart-ip`, `new-cart-merchant` | address, merchant | carts and their changes, new carts |
//! | `sign-in-ip`, `sign-in-account` | address, mail address | requests that hash or check passwords |
//! | `read-ip`, `read-key` | address with a publishable key, secret key | reads |
//! | `search-ip`, `search-key` | the same | lists of products with `q`, `in_stock` or a price, and facets |
//! | `write-ip`, `write-key` | the same | writes that no other limit counts |
//! | `write-merchant` | merchant, over all its secret keys | the same |
//! | `provider-webhook` | address | webhooks of the payment provider, before they are read |
//! | `resend-key` | secret key | requests to send an event again |
//! | `new-place-ip` | address | new places in waiting rooms |
//! | `place-orders` | place in a waiting room | orders of the shopper who was admitted by it |
//! | `key-lookup` | address | keys that are not cached |
//!
//! Guarantees: memory stays bounded whatever addresses call ([`table`]); a rejected request has no effect; a request
//! without a usable key gets its 401 before any limit applies. All customers of a storefront share its publishable key,
//! so their requests are counted by address, and only valid orders also by key. Each limit holds in this process and,
//! where processes share counters, over all of them ([`shared_quota`]); without the server of the counters each process
//! applies it alone. `docs/RATE_LIMITS.md` describes all limits.

mod callers;
mod limiter;
mod limiters;
mod shared_quota;
mod table;

pub(crate) use callers::{
    Admitted, CartCaller, CheckoutCaller, FacetCaller, NewCartCaller, PasswordCaller, RoomCaller,
    SearchCaller, Visitor,
};
pub(crate) use limiter::{rate_fields, seconds_ceil, with_rate};
pub(crate) use limiters::{Limiters, SWEEP_INTERVAL};
