//! Merchants of the rows of the table, and the callers that flood a limit.
//!
//! Guarantees: each row has a merchant and addresses of its own, so that no request of another row counts for it.

use base::Ambient;
use reqwest::StatusCode;
use sha2::{Digest, Sha256};
use store::{
    domain::{KeyId, MerchantId},
    merchants::{KeyRecord, KeyScope, Merchants},
};
use store_postgres::PostgresOrders;

use super::table::{Callers, Limit, Room};
use crate::{
    admission::{until_visited, visit},
    merchants::stocked,
    util::{Client, TestServers},
};

/// Callers of each process at once.
pub(super) const CALLERS: usize = 3;
/// A key that no merchant has.
const GUESS: &str = "owk_sec_0000000000000000000000000000000000000000";

/// One caller of one process.
pub(super) struct Caller {
    client: Client,
    headers: Vec<(&'static str, String)>,
}

impl Caller {
    /// Sends the request of a row; returns the limit that refused it.
    pub(super) async fn call(&self, limit: &Limit, idempotency_key: &str) -> Option<String> {
        let own = self.headers.iter().map(|(name, value)| (*name, value.as_str()));
        let headers: Vec<_> = own.chain([("idempotency-key", idempotency_key)]).collect();
        let (method, body) = (limit.method.clone(), limit.body.as_ref());
        let (status, body) = self.client.send_with(method, limit.path, &headers, body).await;
        if status != StatusCode::TOO_MANY_REQUESTS {
            assert!(!status.is_server_error(), "{}: {status} {body}", limit.name);
            return None;
        }
        let violated = body["violated-policies"][0].as_str();
        Some(violated.unwrap_or_else(|| panic!("{}: {body}", limit.name)).to_owned())
    }
}

/// The merchants of a deployment.
pub(super) struct Shops<'a> {
    stage: &'a TestServers,
    orders: PostgresOrders,
    ambient: Ambient,
    client: Client,
    opened: u8,
}

impl<'a> Shops<'a> {
    pub(super) async fn of(stage: &'a TestServers) -> Self {
        let (orders, client) = (stage.orders().await, Client::new("", ""));
        Self { stage, orders, ambient: Ambient::system(), client, opened: 0 }
    }

    /// Opens a shop for one row; returns the callers, those of the first process first.
    pub(super) async fn callers(&mut self, limit: &Limit, bases: &[String]) -> Vec<Caller> {
        self.opened += 1;
        let merchant = MerchantId::fresh(&self.ambient);
        self.orders.ensure_merchant(merchant, "A shop", self.ambient.now()).await.expect("stores");
        let public = self.key(merchant, KeyScope::Publishable).await;
        let callers = bases.len() * CALLERS;
        let keys = if limit.callers == Callers::Secrets { callers } else { 1 };
        let mut secrets = Vec::new();
        for _ in 0..keys {
            secrets.push(self.key(merchant, KeyScope::Secret).await);
        }
        let client = self.client.at(&bases[0]).with_key(&secrets[0]);
        if limit.body.as_ref().is_some_and(|body| body["items"].is_array()) {
            stocked(&client, "CUP").await;
        }
        let place = match limit.room {
            Room::Off => None,
            Room::Entered | Room::Passed => Some(self.sale(merchant, &client.with_key(&public), bases).await),
        };
        let caller = |n: usize| {
            let key: &str = match limit.callers {
                Callers::Secret => &secrets[0],
                Callers::Secrets => &secrets[n],
                Callers::Public | Callers::PublicApart => &public,
                Callers::Strangers => GUESS,
            };
            let host = if limit.callers == Callers::PublicApart { n + 1 } else { 0 };
            let carried = place.clone().filter(|_| limit.room == Room::Passed);
            let mut headers = vec![("x-forwarded-for", format!("10.0.{}.{host}", self.opened))];
            headers.extend(carried.map(|place| ("orderworks-place", place)));
            Caller { client: client.at(&bases[n / CALLERS]).with_key(key), headers }
        };
        (0..callers).map(caller).collect()
    }

    async fn key(&self, merchant: MerchantId, scope: KeyScope) -> String {
        let prefix = if scope == KeyScope::Secret { "owk_sec" } else { "owk_pub" };
        let key = format!("{prefix}_{}", self.ambient.uuid().simple());
        let record = KeyRecord { id: KeyId::fresh(&self.ambient), merchant, scope };
        let hash = Sha256::digest(key.as_bytes()).into();
        self.orders.ensure_key(&record, hash, self.ambient.now()).await.expect("stores");
        key
    }

    /// Switches the sale mode on; returns a place that every process has admitted.
    async fn sale(&self, merchant: MerchantId, storefront: &Client, bases: &[String]) -> String {
        self.stage.command(&[], &["merchant", "sale", &merchant.to_string(), "on"]).await;
        until_visited(storefront, "none", "waiting").await;
        let visit = visit(storefront, &[]).await;
        let place = visit["place"].as_str().expect("a place");
        for base in bases {
            until_visited(&storefront.at(base), place, "admitted").await;
        }
        place.to_owned()
    }
}
