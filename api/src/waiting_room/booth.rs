//! Booth of places: shoppers who come at the same time take their places in one write.
//!
//! Guarantees: places are numbered in the order in which shoppers came to this process; each is given out once. One
//! write per merchant is under way at a time, for all who have come meanwhile, so a rush of shoppers costs the store as
//! many writes as it answers, not one each. At most [`COMING_MAX`] wait for a place; more are told to come again.
//! A place whose shopper has gone away meanwhile is lost, and is passed over when it is admitted.

use std::{
    collections::BTreeMap,
    mem,
    sync::{Arc, Mutex, PoisonError},
};

use store::{OrderStore, admission::PLACES_MAX, domain::MerchantId};
use tokio::sync::oneshot;

use crate::problem::{Kind, Problem, Result};

/// Shoppers who wait for the number of their place at most; each is some 100 bytes.
const COMING_MAX: usize = 50_000;
/// Seconds after which a shopper should come again.
const AGAIN_SECONDS: u64 = 2;

/// A shopper who comes, and where the number goes: `None` when the merchant has no room.
type Coming = (MerchantId, oneshot::Sender<Option<u64>>);

pub(super) struct Booth {
    orders: Arc<dyn OrderStore>,
    coming: Mutex<Vec<Coming>>,
    /// Held by the task that writes.
    turn: tokio::sync::Mutex<()>,
}

impl Booth {
    pub(super) fn new(orders: Arc<dyn OrderStore>) -> Self {
        Self { orders, coming: Mutex::default(), turn: tokio::sync::Mutex::default() }
    }

    /// Takes the next place; `None` when the merchant has no room.
    ///
    /// # Errors
    /// 503 when too many come at once, or the store gives no answer.
    pub(super) async fn take(self: &Arc<Self>, merchant: MerchantId) -> Result<Option<u64>> {
        let (reply, answer) = oneshot::channel();
        if !self.come(merchant, reply) {
            let detail = "too many shoppers come at once; come again in a moment";
            return Err(Problem::new(Kind::UNAVAILABLE, detail).retry_after(AGAIN_SECONDS));
        }
        // In a task of its own: a shopper who goes away must not take the others' places along.
        let booth = Arc::clone(self);
        tokio::spawn(async move {
            let _turn = booth.turn.lock().await;
            booth.serve().await;
        });
        answer.await.map_err(|_| {
            let detail = "no place was taken; come again in a moment";
            Problem::new(Kind::UNAVAILABLE, detail).retry_after(AGAIN_SECONDS)
        })
    }

    fn come(&self, merchant: MerchantId, reply: oneshot::Sender<Option<u64>>) -> bool {
        let mut coming = self.coming.lock().unwrap_or_else(PoisonError::into_inner);
        let has_room = coming.len() < COMING_MAX;
        if has_room {
            coming.push((merchant, reply));
        }
        has_room
    }

    /// Gives a place to each who has come. Those of a write that failed get no answer.
    async fn serve(&self) {
        let coming = mem::take(&mut *self.coming.lock().unwrap_or_else(PoisonError::into_inner));
        let mut by_merchant: BTreeMap<MerchantId, Vec<oneshot::Sender<Option<u64>>>> = BTreeMap::new();
        for (merchant, reply) in coming {
            by_merchant.entry(merchant).or_default().push(reply);
        }
        for (merchant, mut replies) in by_merchant {
            while !replies.is_empty() {
                let count = replies.len().min(usize::try_from(PLACES_MAX).unwrap_or(usize::MAX));
                let later = replies.split_off(count);
                self.take_all(merchant, mem::replace(&mut replies, later)).await;
            }
        }
    }

    async fn take_all(&self, merchant: MerchantId, replies: Vec<oneshot::Sender<Option<u64>>>) {
        let count = u32::try_from(replies.len()).unwrap_or(u32::MAX);
        match self.orders.take_places(merchant, count).await {
            Ok(first) => {
                for (number, reply) in (0..).zip(replies) {
                    // A shopper who has gone away takes no place; the number is passed over.
                    let _ = reply.send(first.map(|first| first + number));
                }
            }
            Err(error) => {
                tracing::error!(merchant.id = %merchant, %error, "places in a waiting room not taken");
            }
        }
    }
}
