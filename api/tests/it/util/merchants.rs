//! Merchants of a test, and their keys.

use base::Ambient;
use sha2::{Digest, Sha256};
use store::{
    domain::{KeyId, MerchantId},
    merchants::{KeyRecord, KeyScope, Merchants},
};
use store_sqlite::SqliteOrders;

pub(crate) struct Merchant {
    pub(crate) id: MerchantId,
    pub(crate) public: String,
    pub(crate) secret: String,
}

impl Merchant {
    /// A new merchant with a key of each kind.
    pub(super) async fn create(orders: &SqliteOrders, ambient: &Ambient, name: &str) -> Self {
        let id = MerchantId::fresh(ambient);
        orders.ensure_merchant(id, name, ambient.now()).await.expect("a merchant");
        let public = key(orders, ambient, id, KeyScope::Publishable).await;
        Self { id, public, secret: key(orders, ambient, id, KeyScope::Secret).await }
    }
}

/// A new key of a merchant.
pub(super) async fn key(
    orders: &SqliteOrders,
    ambient: &Ambient,
    merchant: MerchantId,
    scope: KeyScope,
) -> String {
    let prefix = if scope == KeyScope::Secret { "owk_sec" } else { "owk_pub" };
    let key = format!("{prefix}_{}", ambient.uuid().simple());
    let record = KeyRecord { id: KeyId::fresh(ambient), merchant, scope };
    orders.ensure_key(&record, Sha256::digest(&key).into(), ambient.now()).await.expect("a key");
    key
}
