//! [`Audit`] over shards: scans that merge the pages of all shards.
//!
//! Guarantees: during a migration the rows of a merchant are in two databases; each is listed once, and sums are read
//! on the merchant's shard. The audit mark is stored in the first shard.

use async_trait::async_trait;
use base::Timestamp;
use futures::future::try_join_all;

use super::{ShardedOrders, locating::Thing, routes::call};
use crate::{
    audit::{Audit, AuditMark, AuditedEndpoint, OrderMoney, StockCount},
    domain::{EventId, MerchantId, OrderId},
    error::StoreError,
    postgres::PostgresOrders,
};

#[async_trait]
impl Audit for ShardedOrders {
    async fn all_orders(&self, after: Option<OrderId>, limit: u32) -> Result<Vec<OrderId>, StoreError> {
        let pages = self.stores().map(|store| store.all_orders(after, limit));
        Ok(merged(try_join_all(pages).await?, limit))
    }

    async fn touched_orders(
        &self,
        from: Timestamp,
        until: Timestamp,
        after: Option<EventId>,
        limit: u32,
    ) -> Result<Vec<(EventId, OrderId)>, StoreError> {
        let pages = self.stores().map(|store| store.touched_orders(from, until, after, limit));
        Ok(merged(try_join_all(pages).await?, limit))
    }

    async fn order_money(&self, order: OrderId) -> Result<Option<OrderMoney>, StoreError> {
        self.read_of(Thing::order(order), call!(order_money(order))).await
    }

    async fn stock_counts(
        &self,
        after: Option<(MerchantId, String)>,
        limit: u32,
    ) -> Result<Vec<StockCount>, StoreError> {
        let (mut after, mut found) = (after, Vec::new());
        // Copies are dropped after they were listed, so a page may need more than one round.
        loop {
            let pages =
                try_join_all(self.stores().map(|store| store.stock_counts(after.clone(), limit))).await?;
            let is_last = pages.iter().all(|page| page.len() < limit as usize);
            let numbered = pages.into_iter().enumerate();
            let mut all: Vec<_> = numbered
                .flat_map(|(shard, page)| page.into_iter().map(move |count| (shard, count)))
                .collect();
            all.sort_by(|(_, a), (_, b)| (a.merchant, &a.sku).cmp(&(b.merchant, &b.sku)));
            all.truncate(limit as usize);
            after = all.last().map(|(_, count)| (count.merchant, count.sku.clone()));
            for (shard, count) in all {
                if self.locate(count.merchant).await? == Some(shard) {
                    found.push(count);
                }
            }
            if is_last || found.len() >= limit as usize {
                return Ok(found);
            }
        }
    }

    async fn audited_endpoints(&self, merchant: MerchantId) -> Result<Vec<AuditedEndpoint>, StoreError> {
        self.read(merchant, call!(audited_endpoints(merchant))).await
    }

    async fn repair_reservation(
        &self,
        merchant: MerchantId,
        sku: &str,
        at: Timestamp,
    ) -> Result<bool, StoreError> {
        self.write(merchant, call!(repair_reservation(merchant, sku, at))).await
    }

    async fn request_missing_refund(&self, order: OrderId, at: Timestamp) -> Result<bool, StoreError> {
        self.write_of(Thing::order(order), call!(request_missing_refund(order, at))).await
    }

    async fn audit_mark(&self) -> Result<Option<AuditMark>, StoreError> {
        self.store(0).audit_mark().await
    }

    async fn set_audit_mark(&self, mark: &AuditMark) -> Result<(), StoreError> {
        self.store(0).set_audit_mark(mark).await
    }
}

/// One page from the pages of all shards; entries that two of them contain appear once.
fn merged<T: Ord>(pages: Vec<Vec<T>>, limit: u32) -> Vec<T> {
    let mut all: Vec<T> = pages.into_iter().flatten().collect();
    all.sort_unstable();
    all.dedup();
    all.truncate(limit as usize);
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_merge_in_order_and_hold_each_once() {
        assert_eq!(merged(vec![vec![1, 3, 5], vec![2, 3, 9]], 4), [1, 2, 3, 5]);
    }
}
