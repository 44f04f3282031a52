//! Cases of stock reserved for carts.

use std::{sync::Arc, time::Duration};

use base::{Timestamp, time::later};
use store::{
    OrderStore,
    checkout::CheckoutSettings,
    domain::{CartId, EventKind, MerchantId},
    orders::{NewLine, NewOrder, PlaceOutcome, Refusal},
    reservations::{EndedReservation, NewReservation, ReserveOutcome},
};

use super::OrdersFixture;
use crate::race;

const MINUTES: Duration = Duration::from_mins(10);

impl OrdersFixture {
    fn cart(&self) -> CartId {
        self.time.tick();
        CartId::fresh(&self.time.ambient)
    }

    /// Reserves for ten minutes.
    async fn reserve(&self, cart: CartId, lines: &[(&str, u32)]) -> ReserveOutcome {
        let at = self.time.tick();
        let line = |&(sku, quantity): &(&str, u32)| NewLine { sku: sku.to_owned(), quantity };
        let reservation = NewReservation {
            merchant: self.merchant,
            cart,
            currency: "EUR".parse().expect("a currency"),
            lines: lines.iter().map(line).collect(),
            expires_at: later(at, MINUTES),
            at,
        };
        self.store.reserve_cart(reservation).await.expect("answers")
    }

    /// A new cart with these units reserved, and until when.
    async fn reserved(&self, lines: &[(&str, u32)]) -> (CartId, Timestamp) {
        let cart = self.cart();
        match self.reserve(cart, lines).await {
            ReserveOutcome::Reserved { until } => (cart, until),
            ReserveOutcome::Refused(refusals) => panic!("not reserved: {refusals:?}"),
        }
    }

    fn order_of(&self, cart: CartId, lines: &[(&str, u32)]) -> NewOrder {
        NewOrder { reservation: Some(cart), ..self.new_order(lines) }
    }

    async fn release_cart(&self, cart: CartId) -> bool {
        self.store.release_cart(self.merchant, cart, self.time.tick()).await.expect("answers")
    }

    async fn ended(&self, now: Timestamp) -> Vec<EndedReservation> {
        self.store.ended_reservations(now, None, 100).await.expect("reads")
    }

    async fn expire_cart(&self, cart: CartId, now: Timestamp) -> bool {
        self.store.expire_reservation(self.merchant, cart, now).await.expect("answers")
    }
}

pub async fn reserved_units_are_not_sold_to_others(store: Arc<dyn OrderStore>) {
    let world = OrdersFixture::new(store).await;
    world.product("mug", 250, 5).await;
    let (cart, _) = world.reserved(&[("mug", 3)]).await;
    assert_eq!(world.stock("mug").await, (5, 3));
    let short = PlaceOutcome::Refused(vec![Refusal::OutOfStock { line: 0, available: 2 }]);
    assert_eq!(world.place(world.new_order(&[("mug", 3)])).await, short);
    let other = world.cart();
    let short = ReserveOutcome::Refused(vec![Refusal::OutOfStock { line: 0, available: 2 }]);
    assert_eq!(world.reserve(other, &[("mug", 3)]).await, short, "nor reserved twice");
    world.placed(&[("mug", 2)]).await;
    assert_eq!(world.stock("mug").await, (5, 5));
    assert!(world.release_cart(cart).await);
    assert!(!world.release_cart(cart).await, "once");
    assert_eq!(world.stock("mug").await, (5, 2));
}

pub async fn an_order_takes_over_what_its_cart_has_reserved(store: Arc<dyn OrderStore>) {
    let world = OrdersFixture::new(store).await;
    world.product("mug", 250, 5).await;
    world.product("pen", 100, 5).await;
    let (cart, _) = world.reserved(&[("mug", 5), ("pen", 4)]).await;
    let new = world.order_of(cart, &[("mug", 5)]);
    let PlaceOutcome::Placed { order, .. } = world.place(new.clone()).await else { panic!("not placed") };
    assert_eq!((world.stock("mug").await, world.stock("pen").await), ((5, 5), (5, 0)));
    assert!(!world.release_cart(cart).await, "it is the order's now");
    assert!(matches!(world.place(new).await, PlaceOutcome::Replayed { .. }));
    assert_eq!(world.stock("mug").await, (5, 5));
    world.cancel(order.id).await;
    assert_eq!(world.stock("mug").await, (5, 0));
}

pub async fn a_rejected_order_leaves_the_reservation(store: Arc<dyn OrderStore>) {
    let world = OrdersFixture::new(store).await;
    world.product("mug", 250, 5).await;
    world.product("pen", 100, 1).await;
    let (cart, _) = world.reserved(&[("mug", 4)]).await;
    let rejected = world.place(world.order_of(cart, &[("mug", 4), ("pen", 2)])).await;
    assert_eq!(rejected, PlaceOutcome::Refused(vec![Refusal::OutOfStock { line: 1, available: 1 }]));
    let beyond = world.place(world.order_of(cart, &[("mug", 6)])).await;
    assert_eq!(
        beyond,
        PlaceOutcome::Refused(vec![Refusal::OutOfStock { line: 0, available: 5 }]),
        "its own too"
    );
    let agreed = NewOrder { expected_total_minor: Some(1), ..world.order_of(cart, &[("mug", 4)]) };
    let dearer = PlaceOutcome::Refused(vec![Refusal::PriceChanged { total_minor: 1000 }]);
    assert_eq!(world.place(agreed).await, dearer);
    assert_eq!(world.stock("mug").await, (5, 4));
    assert!(world.release_cart(cart).await);
}

pub async fn a_reservation_is_replaced_and_keeps_its_end(store: Arc<dyn OrderStore>) {
    let world = OrdersFixture::new(store).await;
    world.product("mug", 250, 5).await;
    world.product("pen", 100, 5).await;
    let (cart, until) = world.reserved(&[("mug", 4)]).await;
    world.time.pass(MINUTES / 2);
    let again = world.reserve(cart, &[("mug", 5), ("pen", 1)]).await;
    assert_eq!(again, ReserveOutcome::Reserved { until }, "asking again keeps nothing for longer");
    assert_eq!((world.stock("mug").await, world.stock("pen").await), ((5, 5), (5, 1)));
    let beyond = world.reserve(cart, &[("mug", 6), ("cup", 1)]).await;
    let refusals = vec![Refusal::OutOfStock { line: 0, available: 5 }, Refusal::UnknownSku { line: 1 }];
    assert_eq!(beyond, ReserveOutcome::Refused(refusals));
    assert_eq!((world.stock("mug").await, world.stock("pen").await), ((5, 5), (5, 1)), "as before");
    world.time.pass(MINUTES);
    let ReserveOutcome::Reserved { until: renewed } = world.reserve(cart, &[("pen", 2)]).await else {
        panic!("not reserved")
    };
    assert!(renewed > until, "it had ended, and its units were still there");
    assert_eq!((world.stock("mug").await, world.stock("pen").await), ((5, 0), (5, 2)));
}

pub async fn reservations_end(store: Arc<dyn OrderStore>) {
    let world = OrdersFixture::new(store).await;
    world.product("mug", 250, 9).await;
    let (first, until) = world.reserved(&[("mug", 2)]).await;
    let (second, later_until) = world.reserved(&[("mug", 3)]).await;
    assert!(world.ended(world.time.tick()).await.is_empty());
    let of = |cart, expires_at| EndedReservation { expires_at, cart, merchant: world.merchant };
    let (oldest, newest) = (of(first, until), of(second, later_until));
    assert_eq!(world.ended(until).await, [oldest]);
    assert_eq!(world.ended(later_until).await, [oldest, newest]);
    let rest = world.store.ended_reservations(later_until, Some(oldest), 1).await.expect("reads");
    assert_eq!(rest, [newest]);
    assert!(!world.expire_cart(second, until).await, "not yet");
    assert!(world.expire_cart(first, until).await);
    assert!(!world.expire_cart(first, until).await, "once");
    assert_eq!(world.stock("mug").await, (9, 3));
    // One that ended is the cart's own until it is released.
    let order = world.place(world.order_of(second, &[("mug", 3)])).await;
    assert!(matches!(order, PlaceOutcome::Placed { .. }));
    assert!(!world.expire_cart(second, later_until).await);
    assert_eq!(world.stock("mug").await, (9, 3));
}

pub async fn carts_race_for_the_last_units(store: Arc<dyn OrderStore>) {
    let world = OrdersFixture::new(store).await;
    world.product("mug", 250, 20).await;
    let answers = race(60, |i| {
        let world = world.clone();
        async move {
            let cart = world.cart();
            let is_reserved =
                matches!(world.reserve(cart, &[("mug", 1)]).await, ReserveOutcome::Reserved { .. });
            match i % 3 {
                // Ordered with or without a reservation.
                0 => {
                    let order = world.order_of(cart, &[("mug", 1)]);
                    matches!(world.place(order).await, PlaceOutcome::Placed { .. })
                }
                // Given up.
                1 => {
                    world.release_cart(cart).await;
                    false
                }
                _ => is_reserved,
            }
        }
    })
    .await;
    let taken = i64::try_from(answers.iter().filter(|is_taken| **is_taken).count()).expect("few");
    let (on_hand, reserved) = world.stock("mug").await;
    assert_eq!((on_hand, reserved), (20, taken), "every unit is reserved or free");
    assert!(reserved <= on_hand);
}

pub async fn one_cart_at_once_reserves_once(store: Arc<dyn OrderStore>) {
    let world = OrdersFixture::new(store).await;
    world.product("mug", 250, 50).await;
    world.product("pen", 100, 50).await;
    let cart = world.cart();
    race(16, |i| {
        let world = world.clone();
        // In different orders, so an engine that locks rows in the order of the lines would deadlock.
        let lines = if i % 2 == 0 { [("mug", 2), ("pen", 3)] } else { [("pen", 3), ("mug", 2)] };
        async move { world.reserve(cart, &lines).await }
    })
    .await;
    assert_eq!((world.stock("mug").await, world.stock("pen").await), ((50, 2), (50, 3)));
}

pub async fn random_reservations_never_oversell(store: Arc<dyn OrderStore>) {
    let world = OrdersFixture::seeded(store, 31).await;
    world.product("a", 100, 12).await;
    world.product("b", 100, 12).await;
    let carts: Vec<CartId> = (0..4).map(|_| world.cart()).collect();
    race(4, |task| {
        let (world, carts) = (world.clone(), carts.clone());
        async move {
            let mut rng = fastrand::Rng::with_seed(u64::from(task));
            for _ in 0..40 {
                let cart = carts[rng.usize(0..carts.len())];
                let lines = [("a", rng.u32(1..4)), ("b", rng.u32(1..4))];
                match rng.u8(0..6) {
                    0..3 => drop(world.reserve(cart, &lines).await),
                    3 => {
                        world.release_cart(cart).await;
                    }
                    4 => {
                        if let PlaceOutcome::Placed { order, .. } =
                            world.place(world.order_of(cart, &lines)).await
                        {
                            world.cancel(order.id).await;
                        }
                    }
                    _ => {
                        world.expire_cart(cart, later(world.time.tick(), MINUTES * 2)).await;
                    }
                }
                for sku in ["a", "b"] {
                    let (on_hand, reserved) = world.stock(sku).await;
                    assert!((0..=on_hand).contains(&reserved), "{sku}: {reserved} of {on_hand}");
                }
            }
        }
    })
    .await;
    for cart in carts {
        world.release_cart(cart).await;
    }
    assert_eq!(
        (world.stock("a").await, world.stock("b").await),
        ((12, 0), (12, 0)),
        "nothing is left behind"
    );
}

pub async fn the_audit_counts_what_carts_have_reserved(store: Arc<dyn OrderStore>) {
    let world = OrdersFixture::new(store).await;
    world.product("mug", 250, 9).await;
    world.reserved(&[("mug", 2)]).await;
    world.placed(&[("mug", 3)]).await;
    let counts = world.store.stock_counts(None, 10).await.expect("reads");
    let counts: Vec<_> = counts.iter().map(|count| (count.reserved, count.held)).collect();
    assert_eq!(counts, [(5, 5)]);
    let at = world.time.tick();
    assert!(
        !world.store.repair_reservation(world.merchant, "mug", at).await.expect("answers"),
        "it is right"
    );
}

pub async fn a_reservation_tells_nothing_and_its_order_does(store: Arc<dyn OrderStore>) {
    let world = OrdersFixture::new(store).await;
    let mut mug = OrdersFixture::data("mug", 250);
    mug.low_stock_at = 5;
    world.put(mug).await;
    world.inventory("mug", 6).await;
    let before = world.merchant_events().await.len();
    let (cart, _) = world.reserved(&[("mug", 2)]).await;
    assert_eq!(world.merchant_events().await.len(), before);
    let order = world.place(world.order_of(cart, &[("mug", 2)])).await;
    assert!(matches!(order, PlaceOutcome::Placed { .. }));
    let told = world.merchant_events().await.split_off(before);
    assert!(told.iter().any(|event| event.kind == EventKind::InventoryLow), "{told:?}");
}

pub async fn carts_are_the_merchants_own(store: Arc<dyn OrderStore>) {
    let world = OrdersFixture::new(store).await;
    let neighbour = world.neighbour().await;
    world.product("mug", 250, 9).await;
    neighbour.product("mug", 250, 9).await;
    let (cart, until) = world.reserved(&[("mug", 2)]).await;
    assert!(!neighbour.release_cart(cart).await);
    assert!(!neighbour.expire_cart(cart, until).await);
    let order = neighbour.place(neighbour.order_of(cart, &[("mug", 1)])).await;
    assert!(matches!(order, PlaceOutcome::Placed { .. }));
    assert_eq!((world.stock("mug").await, neighbour.stock("mug").await), ((9, 2), (9, 1)));
}

pub async fn choices_for_the_checkout_are_kept(store: Arc<dyn OrderStore>) {
    let world = OrdersFixture::new(store).await;
    let neighbour = world.neighbour().await;
    let (store, merchant) = (&world.store, world.merchant);
    let read = |of: MerchantId| store.checkout_settings(of);
    assert_eq!(read(merchant).await.expect("reads"), Some(CheckoutSettings::default()));
    let chosen = CheckoutSettings { reserve_minutes: Some(15), ..CheckoutSettings::default() };
    assert!(store.set_checkout_settings(merchant, &chosen).await.expect("sets"));
    assert_eq!(read(merchant).await.expect("reads"), Some(chosen));
    assert_eq!(read(neighbour.merchant).await.expect("reads"), Some(CheckoutSettings::default()));
    let unknown = MerchantId::fresh(&world.time.ambient);
    assert_eq!(read(unknown).await.expect("reads"), None);
    assert!(!store.set_checkout_settings(unknown, &CheckoutSettings::default()).await.expect("answers"));
}
