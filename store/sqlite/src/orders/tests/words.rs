//! Words of products that an earlier release stored.

use store::{
    catalog::{Catalog, ProductFilter, ProductSort},
    domain::PageRequest,
};

use super::{super::SqliteOrders, TestMerchant};

async fn found(store: &SqliteOrders, shop: &TestMerchant, text: &str) -> usize {
    let filter = ProductFilter { text: Some(text.to_owned()), ..ProductFilter::default() };
    let page = PageRequest { limit: 100, after: None };
    store.products(shop.merchant, &filter, ProductSort::Sku, page).await.expect("reads").items.len()
}

#[tokio::test]
async fn products_of_an_earlier_release_get_their_words_when_the_file_is_opened() {
    let shop = TestMerchant::open().await;
    for n in 0..3 {
        shop.product(&format!("mug-{n}"), 1, -1).await;
    }
    assert_eq!(found(&shop.store, &shop, "mug").await, 3);
    for sql in ["UPDATE products SET search_words = NULL WHERE sku <> 'mug-0'", "DELETE FROM product_words"] {
        shop.store.run(sqlx::query(sql)).await.expect("changes");
    }
    assert_eq!(found(&shop.store, &shop, "mug").await, 0);
    let path = shop.folder.path().join("orders.db");
    let again = SqliteOrders::open(&path, shop.ambient.clone()).await.expect("opens");
    assert_eq!((found(&again, &shop, "mug").await, found(&again, &shop, "product 2").await), (2, 1));
}
