//! Ids of orders that are being placed in this process.
//!
//! Orders are listed by id, and an id is drawn before its order is committed. A list ends below the ids under way, so a
//! reader who walks from the newest order down to the last known one misses none that this process places. Orders of
//! other processes are listed as they come.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use base::{Ambient, ids::Uuid};
use store::domain::{MerchantId, OrderId};

/// The bits of a `UUIDv7` that are neither time nor version nor variant.
const RANDOM_BITS: u128 = (0xfff << 64) | ((1 << 62) - 1);

#[derive(Default)]
pub(crate) struct Placements(Mutex<Drawn>);

struct Drawn {
    newest: OrderId,
    under_way: BTreeSet<(MerchantId, OrderId)>,
}

impl Default for Drawn {
    fn default() -> Self {
        Self { newest: OrderId(Uuid::nil()), under_way: BTreeSet::new() }
    }
}

/// An order under way; it has ended when this is dropped.
pub(crate) struct Placement {
    pub(crate) id: OrderId,
    merchant: MerchantId,
    placements: Arc<Placements>,
}

impl Placements {
    pub(crate) fn begin(self: &Arc<Self>, merchant: MerchantId, ambient: &Ambient) -> Placement {
        let mut drawn = self.drawn();
        // Above all that were drawn before: ids of one millisecond have no order.
        let id = OrderId::fresh(ambient).max(successor(drawn.newest));
        drawn.newest = id;
        drawn.under_way.insert((merchant, id));
        Placement { id, merchant, placements: Arc::clone(self) }
    }

    /// The id below which every order of the merchant that this process has begun has ended.
    pub(crate) fn listed_below(&self, merchant: MerchantId, ambient: &Ambient) -> OrderId {
        let mut drawn = self.drawn();
        let oldest = drawn.under_way.range((merchant, OrderId(Uuid::nil()))..).next();
        if let Some((_, id)) = oldest.filter(|(of, _)| *of == merchant) {
            return *id;
        }
        // Those of other processes are listed up to now, and the ids drawn here from now on are above.
        let now = Uuid::from_u128(OrderId::fresh(ambient).0.as_u128() | RANDOM_BITS);
        drawn.newest = drawn.newest.max(OrderId(now));
        successor(drawn.newest)
    }

    fn drawn(&self) -> MutexGuard<'_, Drawn> {
        // Each change is one insertion or removal.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The next id, in the next millisecond if there is none in this one.
fn successor(OrderId(id): OrderId) -> OrderId {
    let bits = id.as_u128();
    let next = if bits & RANDOM_BITS == RANDOM_BITS { (bits & !RANDOM_BITS) + (1 << 80) } else { bits + 1 };
    OrderId(Uuid::from_u128(next))
}

impl Drop for Placement {
    fn drop(&mut self) {
        self.placements.drawn().under_way.remove(&(self.merchant, self.id));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_ends_below_the_orders_under_way() {
        let (ambient, _clock) = Ambient::steered(1, Ambient::system().now());
        let (placements, merchant) = (Arc::new(Placements::default()), MerchantId::fresh(&ambient));
        let other = MerchantId::fresh(&ambient);
        let begun: Vec<_> = (0..100).map(|_| placements.begin(merchant, &ambient)).collect();
        assert!(begun.is_sorted_by(|one, next| one.id < next.id), "within one millisecond, too");
        let (first, last) = (begun[0].id, begun[99].id);
        assert_eq!(placements.listed_below(merchant, &ambient), first);
        assert!(placements.listed_below(other, &ambient) > last, "each merchant has a list of its own");
        drop(begun);
        let below = placements.listed_below(merchant, &ambient);
        assert!(below > last && below > OrderId::fresh(&ambient), "of this process and of others");
        let next = placements.begin(merchant, &ambient);
        assert!(next.id >= below && next.id.0.get_version_num() == 7, "{}", next.id);
    }
}
