//! Cases of tenancy: a merchant never reads or changes another merchant's data.

use std::sync::Arc;

use store::{
    OrderStore,
    catalog::{InventoryPut, ProductFilter, ProductSort},
    domain::{EventKind, OrderStatus, PageRequest},
    orders::{OrderFilter, PlaceOutcome, RefundRequested, Refusal, Transition},
    webhooks::EndpointChange,
};

use super::{OrdersFixture, refunds};

pub async fn a_foreign_merchant_reads_nothing(store: Arc<dyn OrderStore>) {
    let world = OrdersFixture::new(store).await;
    world.product("mug", 250, 5).await;
    let order = world.order_in(OrderStatus::Paid).await;
    let other = world.neighbour().await;
    assert_eq!(other.store.order(other.merchant, order.id).await.expect("reads"), None);
    let (all, paid) = (OrderFilter::default(), Some(OrderStatus::Paid));
    let filters = [
        all,
        OrderFilter { status: paid, ..all },
        OrderFilter { customer: order.account, ..all },
        OrderFilter { status: paid, customer: order.account },
    ];
    for filter in filters {
        // A foreign order as the cursor reveals nothing either.
        for after in [None, Some(order.id)] {
            let page = PageRequest { limit: 100, after };
            let orders = other.store.orders(other.merchant, filter, page).await.expect("reads");
            assert!(orders.items.is_empty() && !orders.has_more);
        }
    }
    let event = world.events(order.id).await[0].id;
    for after in [None, Some(event)] {
        let page = PageRequest { limit: 100, after };
        assert!(other.store.events(other.merchant, page).await.expect("reads").items.is_empty());
    }
    assert_eq!(other.store.product(other.merchant, "mug").await.expect("reads"), None);
    for text in [None, Some("mug".to_owned())] {
        let (filter, page) =
            (ProductFilter { text, ..ProductFilter::default() }, PageRequest { limit: 100, after: None });
        let products = other.store.products(other.merchant, &filter, ProductSort::Sku, page).await;
        assert!(products.expect("reads").items.is_empty());
        assert_eq!(other.store.facets(other.merchant, &filter).await.expect("reads").products, 0);
    }
    assert!(other.store.categories(other.merchant).await.expect("reads").is_empty());
}

pub async fn a_foreign_merchant_changes_nothing(store: Arc<dyn OrderStore>) {
    let world = OrdersFixture::new(store).await;
    world.product("mug", 250, 5).await;
    let other = world.neighbour().await;
    for status in OrderStatus::ALL {
        let before = world.order_in(status).await;
        let backlog = world.store.backlog().await.expect("reads");
        assert_eq!(other.cancel(before.id).await, Transition::NotFound, "{status}");
        for amount in [None, Some(1), Some(i64::MAX)] {
            let refund = refunds::request(&other, before.id, other.refund_id(), amount).await;
            assert_eq!(refund, RefundRequested::NotFound, "{status}");
        }
        assert_eq!(world.read(before.id).await, before);
        assert_eq!(world.store.backlog().await.expect("reads"), backlog);
    }
    assert_eq!(other.inventory("mug", 1).await, InventoryPut::NoSuchProduct);
}

pub async fn a_foreign_product_is_unknown(store: Arc<dyn OrderStore>) {
    let world = OrdersFixture::new(store).await;
    world.product("mug", 250, 5).await;
    let other = world.neighbour().await;
    let refused = other.place(other.new_order(&[("mug", 1)])).await;
    assert_eq!(refused, PlaceOutcome::Refused(vec![Refusal::UnknownSku { line: 0 }]));
    // The same sku of another merchant is another product.
    other.product("mug", 999, 2).await;
    assert_eq!(other.placed(&[("mug", 2)]).await.total_minor, 1998);
    assert_eq!((world.stock("mug").await, other.stock("mug").await), ((5, 0), (2, 2)));
    assert_eq!(world.placed(&[("mug", 1)]).await.total_minor, 250);
}

pub async fn endpoints_are_the_merchants_own(store: Arc<dyn OrderStore>) {
    let world = OrdersFixture::new(store).await;
    let other = world.neighbour().await;
    let id = world.create().await.expect("there is room");
    let before = world.store.endpoint_by_id(id).await.expect("reads");
    assert_eq!(other.store.endpoint(other.merchant, id).await.expect("reads"), None);
    let page = PageRequest { limit: 100, after: None };
    assert!(other.store.endpoints(other.merchant, page).await.expect("reads").items.is_empty());
    let change = EndpointChange {
        url: Some("https://attacker.example/".to_owned()),
        enabled: Some(false),
        ..EndpointChange::default()
    };
    assert_eq!(other.store.update_endpoint(other.merchant, id, change).await.expect("updates"), None);
    assert!(!other.store.delete_endpoint(other.merchant, id).await.expect("deletes"));
    for kind in EventKind::ALL {
        assert!(other.store.subscribers(other.merchant, kind).await.expect("reads").is_empty());
    }
    assert_eq!(world.store.endpoint_by_id(id).await.expect("reads"), before);
}
