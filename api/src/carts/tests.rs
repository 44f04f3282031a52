//! Holding and releasing a cart, and the stored form of its lines.

use super::*;

#[test]
fn cart_opens_when_the_last_request_of_its_checkout_was_rejected() {
    let ambient = base::Ambient::system();
    let (now, order) = (ambient.now(), OrderId::fresh(&ambient));
    let mut cart = Cart::new(None, None);
    cart.hold(order, "k", [1; 32], now);
    cart.hold(OrderId::fresh(&ambient), "k", [1; 32], now);
    assert!(cart.release(order, "k") && cart.checkout.is_some(), "the other request is in flight");
    assert!(!cart.release(order, "another") && cart.checkout.is_some());
    assert!(cart.release(order, "k") && cart.checkout.is_none());
    // A request that never got its answer does not keep the cart beyond its hold.
    cart.hold(order, "k", [1; 32], now);
    cart.hold(order, "k", [1; 32], later(now, HOLD));
    assert!(cart.release(order, "k") && cart.checkout.is_none());
    cart.close(order, None, now);
    assert!(!cart.release(order, "") && cart.order() == Some(order));
}

#[test]
fn lines_are_kept_short_and_read_in_the_form_of_before() {
    let item = CartItem { sku: "mug".to_owned(), quantity: 2 };
    let kept = serde_json::to_string(&item).expect("JSON");
    assert_eq!(kept, r#"["mug",2]"#);
    for text in [&*kept, r#"{"sku":"mug","quantity":2}"#] {
        assert_eq!(serde_json::from_str::<CartItem>(text).expect("an item"), item);
    }
}
