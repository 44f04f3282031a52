//! Reservations of carts that end.

use store::{
    domain::CartId,
    reservations::{NewReservation, ReserveOutcome},
};
use workers::jobs::{ExpireReservations, RESERVATIONS_SLICE};

use super::*;

const MINUTES: Duration = Duration::from_mins(10);

async fn reserve(test: &TestHousekeeping) -> CartId {
    let (cart, at) = (CartId::fresh(&test.ambient), test.ambient.now());
    let reservation = NewReservation {
        merchant: test.merchant,
        cart,
        currency: "EUR".parse().expect("a currency"),
        lines: vec![NewLine { sku: "cup".to_owned(), quantity: 1 }],
        expires_at: later(at, MINUTES),
        at,
    };
    let reserved = test.parts.orders.reserve_cart(reservation).await.expect("answers");
    assert!(matches!(reserved, ReserveOutcome::Reserved { .. }), "{reserved:?}");
    cart
}

#[tokio::test]
async fn more_than_a_slice_of_ended_reservations_is_released_and_running_ones_stay() {
    let (test, clock) = TestHousekeeping::open(None).await;
    for _ in 0..=RESERVATIONS_SLICE {
        reserve(&test).await;
    }
    clock.advance(MINUTES);
    let running = reserve(&test).await;
    test.run(&ExpireReservations {}).await.expect("runs");
    assert_eq!(test.stock().await, (2_000, 1));
    let is_there = test.parts.orders.release_cart(test.merchant, running, test.ambient.now()).await;
    assert!(is_there.expect("answers"));
    assert_eq!(test.stock().await, (2_000, 0));
}

#[tokio::test]
async fn a_reservation_that_cannot_be_released_keeps_no_other() {
    let (test, clock) = TestHousekeeping::open(None).await;
    let broken = reserve(&test).await;
    let url = format!("sqlite://{}", test.folder.path().join("orders.db").display());
    let mut file = sqlx::SqliteConnection::connect(&url).await.expect("opens");
    let plant = "UPDATE cart_reservations SET lines = '7'";
    sqlx::query(plant).execute(&mut file).await.expect("plants");
    clock.advance(Duration::from_millis(1));
    let whole = reserve(&test).await;
    clock.advance(MINUTES);
    test.run(&ExpireReservations {}).await.expect("runs");
    let release = |cart| test.parts.orders.release_cart(test.merchant, cart, test.ambient.now());
    assert!(!release(whole).await.expect("answers"), "it is released");
    assert!(release(broken).await.is_err(), "it is still there");
}
