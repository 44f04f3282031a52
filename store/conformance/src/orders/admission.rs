//! Cases of the load of the installation and of waiting rooms.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use base::time::{earlier, later};
use store::{
    OrderStore,
    admission::{EndedOrder, LoadSpan, OrderLoad, RoomOrder, RoomProgress, STUCK_MAX, SaleMode, SaleSwitch},
    domain::{MerchantId, OrderId},
    order_view::OrderView,
    orders::{NewOrder, PlaceOutcome},
};

use super::OrdersFixture;
use crate::race;

impl OrdersFixture {
    /// The load of the last hour.
    async fn load(&self) -> OrderLoad {
        let hour_ago = earlier(self.time.ambient.now(), Duration::from_hours(1));
        let span = LoadSpan { ended_after: hour_ago, placed_after: hour_ago };
        self.store.order_load(span).await.expect("measures")
    }

    async fn place_many(&self, count: u32) -> Vec<OrderId> {
        let mut placed = Vec::new();
        for _ in 0..count {
            placed.push(self.placed(&[("mug", 1)]).await.id);
        }
        placed
    }

    async fn set_mode(&self, mode: SaleMode, key: [u8; 32]) -> bool {
        let at = self.time.tick();
        self.store.set_sale_mode(self.merchant, mode, key, at).await.expect("sets")
    }
}

fn mode(switch: SaleSwitch) -> SaleMode {
    SaleMode {
        switch,
        order: RoomOrder::Fifo,
        active_max: 100,
        per_minute_max: 60,
        active_seconds: 600,
        begins_at: None,
        opens_at: None,
        ends_at: None,
    }
}

pub async fn the_load_counts_open_orders_and_their_ends(store: Arc<dyn OrderStore>) {
    let world = OrdersFixture::new(store).await;
    world.product("mug", 250, 100).await;
    // The product's own messages wait, too.
    world.drain().await;
    assert_eq!(world.load().await, OrderLoad::default());
    let placed = world.place_many(4).await;
    world.pay(placed[0]).await;
    world.fulfil(placed[0]).await;
    world.pay(placed[1]).await;
    world.fail(placed[2]).await;
    world.store.note_debit(placed[3], world.time.tick()).await.expect("notes");
    let load = world.load().await;
    assert_eq!(load.open, 1, "the paid one; a debit waits for its bank: {load:?}");
    let ended: Vec<_> = load.ended.iter().map(|ended| (ended.order, ended.is_fulfilled)).collect();
    assert_eq!(ended, [(placed[2], false), (placed[0], true)], "the latest first");
    let EndedOrder { at, .. } = load.ended[0];
    let hour_ago = earlier(at, Duration::from_hours(1));
    let of = |ended_after, placed_after| world.store.order_load(LoadSpan { ended_after, placed_after });
    let later_ones = of(at, hour_ago).await.expect("measures");
    assert_eq!((later_ones.open, later_ones.ended), (1, Vec::new()));
    let later_ones = of(hour_ago, later(at, Duration::from_hours(1))).await.expect("measures");
    assert_eq!((later_ones.open, later_ones.ended.len()), (0, 2));
}

pub async fn a_stuck_order_is_no_backlog(store: Arc<dyn OrderStore>) {
    let world = OrdersFixture::new(store).await;
    world.product("mug", 250, 100).await;
    let placed = world.place_many(STUCK_MAX).await;
    assert_eq!(world.load().await.unpaid_since, None, "so few may wait for an operator");
    let more = world.place_many(2).await;
    let order = world.read(more[0]).await;
    assert_eq!(world.load().await.unpaid_since, Some(order.created_at), "beyond the oldest ones");
    world.cancel(placed[0]).await;
    let order = world.read(more[1]).await;
    assert_eq!(world.load().await.unpaid_since, Some(order.created_at), "a cancelled order waits no more");
}

pub async fn an_order_that_others_overtook_is_no_backlog(store: Arc<dyn OrderStore>) {
    let world = OrdersFixture::new(store).await;
    world.product("mug", 250, 100).await;
    let neighbour = world.neighbour().await;
    neighbour.product("mug", 250, 100).await;
    let placed = world.place_many(STUCK_MAX + 1).await;
    let of_neighbour = neighbour.place_many(1).await;
    neighbour.pay(of_neighbour[0]).await;
    assert!(world.load().await.unpaid_since.is_some(), "another merchant's orders overtake none");
    world.pay(placed[placed.len() - 1]).await;
    assert_eq!(world.load().await.unpaid_since, None);
}

pub async fn a_message_set_aside_is_no_backlog(store: Arc<dyn OrderStore>) {
    let world = OrdersFixture::new(store).await;
    world.product("mug", 250, 100).await;
    world.drain().await;
    assert_eq!(world.load().await.unsent_since, None);
    let first = world.placed(&[("mug", 1)]).await;
    assert!(world.load().await.unsent_since.is_some());
    let claimed = world.claim("relay", 10).await;
    let positions: Vec<_> = claimed.iter().map(|message| message.position).collect();
    let until = later(world.time.ambient.now(), Duration::from_hours(1));
    world.store.set_aside(&positions, until).await.expect("sets aside");
    world.cancel(first.id).await;
    assert_eq!(world.load().await.unsent_since, None, "the order's next message waits behind the first");
}

pub async fn an_accepted_order_is_known_by_its_key(store: Arc<dyn OrderStore>) {
    let world = OrdersFixture::new(store).await;
    world.product("mug", 250, 100).await;
    let estimated_fulfilment_at = Some(later(world.time.ambient.now(), Duration::from_mins(3)));
    let order = NewOrder { estimated_fulfilment_at, ..world.new_order(&[("mug", 1)]) };
    let again = order.clone();
    let recorded = |merchant: MerchantId| world.store.recorded_answer(merchant, &again.idempotency.key);
    assert_eq!(recorded(world.merchant).await.expect("reads"), None);
    let PlaceOutcome::Placed { order, body } = world.place(order).await else { panic!("not placed") };
    assert_eq!(body, OrderView::of_accepted(&order, estimated_fulfilment_at));
    assert!(body.contains("estimated_fulfilment_at"), "{body}");
    assert_eq!(recorded(world.merchant).await.expect("reads"), Some(body.clone()));
    let neighbour = world.neighbour().await.merchant;
    assert_eq!(recorded(neighbour).await.expect("reads"), None, "keys are the merchant's own");
    let later_estimate = NewOrder { estimated_fulfilment_at: None, ..again.clone() };
    assert_eq!(world.place(later_estimate).await, PlaceOutcome::Replayed { order: order.id, body });
}

pub async fn places_are_numbered_without_gaps(store: Arc<dyn OrderStore>) {
    let world = OrdersFixture::new(store).await;
    assert_eq!(world.store.take_places(world.merchant, 1).await.expect("answers"), None, "no room");
    assert!(world.set_mode(mode(SaleSwitch::On), [1; 32]).await);
    let taken = race(20, |_| {
        let world = world.clone();
        async move { world.store.take_places(world.merchant, 3).await.expect("takes").expect("a room") }
    })
    .await;
    let taken: BTreeSet<u64> = taken.into_iter().collect();
    assert_eq!(taken, (0..20).map(|n| n * 3).collect());
    let room = world.store.waiting_room(world.merchant).await.expect("reads").expect("a room");
    assert_eq!((room.taken, room.key, room.mode), (60, [1; 32], mode(SaleSwitch::On)));
    assert!(world.set_mode(mode(SaleSwitch::Off), [2; 32]).await);
    assert_eq!(world.store.take_places(world.merchant, 1).await.expect("answers"), None, "it is off");
}

pub async fn a_room_that_was_off_begins_with_another_key(store: Arc<dyn OrderStore>) {
    let world = OrdersFixture::new(store).await;
    let (store, merchant) = (&world.store, world.merchant);
    let rooms = || async { store.waiting_rooms().await.expect("reads") };
    assert_eq!(store.waiting_room(merchant).await.expect("reads"), None);
    assert!(world.set_mode(mode(SaleSwitch::On), [1; 32]).await);
    store.take_places(merchant, 5).await.expect("takes");
    assert!(world.set_mode(mode(SaleSwitch::ByLoad), [2; 32]).await);
    let room = rooms().await.remove(0);
    let known = (room.taken, room.key, room.mode.switch);
    assert_eq!(known, (5, [1; 32], SaleSwitch::ByLoad), "a change keeps the shoppers' places");
    assert!(world.set_mode(mode(SaleSwitch::Off), [3; 32]).await);
    assert_eq!(rooms().await, Vec::new());
    assert!(world.set_mode(mode(SaleSwitch::On), [4; 32]).await);
    let room = rooms().await.remove(0);
    assert_eq!((room.taken, room.key, room.progress), (0, [4; 32], RoomProgress::default()));
    let unknown = MerchantId::fresh(&world.time.ambient);
    let set = store.set_sale_mode(unknown, mode(SaleSwitch::On), [5; 32], world.time.tick());
    assert!(!set.await.expect("answers"));
}

pub async fn one_of_two_steps_counts(store: Arc<dyn OrderStore>) {
    let world = OrdersFixture::new(store).await;
    let (store, merchant) = (&world.store, world.merchant);
    assert!(world.set_mode(mode(SaleSwitch::On), [1; 32]).await);
    let room = store.waiting_room(merchant).await.expect("reads").expect("a room");
    let at = world.time.tick();
    let step = |admitted| {
        let progress = RoomProgress { admitted, history: vec![(1, admitted)], ..RoomProgress::default() };
        store.step_room(merchant, room.version, progress, at)
    };
    assert!(step(7).await.expect("steps"));
    assert!(!step(8).await.expect("answers"), "made by another process meanwhile");
    let after = store.waiting_room(merchant).await.expect("reads").expect("a room");
    assert_eq!((after.progress.admitted, after.progress.history), (7, vec![(1, 7)]));
    assert_eq!((after.version, after.stepped_at), (room.version + 1, at));
}
