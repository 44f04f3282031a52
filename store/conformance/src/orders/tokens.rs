//! Cases of order tokens: stored with the order, replaced and revoked by its merchant only.

use std::sync::Arc;

use store::{
    OrderStore,
    domain::{Order, OrderId, OrderStatus, OrderToken},
    orders::{NewOrder, PlaceOutcome},
};

use super::OrdersFixture;

pub async fn a_token_is_replaced_and_revoked(store: Arc<dyn OrderStore>) {
    let world = OrdersFixture::new(store).await;
    world.product("mug", 250, 5).await;
    let (order, beside) = (world.placed(&[("mug", 1)]).await, world.placed(&[("mug", 1)]).await);
    let other = world.neighbour().await;
    world.drain().await;
    world.time.tick();
    for token in [Some(world.token()), None, None, Some(world.token()), Some(world.token())] {
        assert!(world.replace(order.id, token).await);
        let expected = Order { token, ..order.clone() };
        assert_eq!(world.read(order.id).await, expected, "nothing else has changed");
        let shown = world.store.order(world.merchant, order.id).await.expect("reads");
        assert_eq!(shown, Some(expected), "at once, wherever it is looked for");
        assert!(!other.replace(order.id, Some(other.token())).await, "another merchant's");
        assert_eq!(world.read(order.id).await.token, token);
    }
    assert!(!world.replace(OrderId::fresh(&world.time.ambient), Some(world.token())).await);
    assert_eq!(world.read(beside.id).await, beside);
    assert!(world.drain().await.is_empty(), "nothing is told");
    // An order placed without a token can be given one.
    let bare = NewOrder { account: None, token: None, ..world.new_order(&[("mug", 1)]) };
    let PlaceOutcome::Placed { order: bare, .. } = world.place(bare).await else { panic!("not placed") };
    assert_eq!((bare.account, bare.token), (None, None));
    assert_eq!(world.read(bare.id).await, *bare);
    let token = Some(world.token());
    assert!(world.replace(bare.id, token).await);
    assert_eq!(world.read(bare.id).await.token, token);
}

pub async fn a_token_outlives_transitions(store: Arc<dyn OrderStore>) {
    let world = OrdersFixture::new(store).await;
    world.product("mug", 250, 5).await;
    let placed = world.placed(&[("mug", 1)]).await;
    world.pay(placed.id).await;
    world.fulfil(placed.id).await;
    let order = world.read(placed.id).await;
    assert_eq!(order.status, OrderStatus::Fulfilled);
    assert_eq!((order.account, order.token), (placed.account, placed.token));
}

impl OrdersFixture {
    async fn replace(&self, id: OrderId, token: Option<OrderToken>) -> bool {
        self.store.replace_order_token(self.merchant, id, token).await.expect("answers")
    }
}
