//! Query plans of lists and searches of products: in a file whose content the planner knows nothing of, and in one with
//! 20,000 products that was analyzed. The other statements are in `plans`.

use super::{
    super::{SqliteOrders, catalog, product_lists, product_words},
    TestMerchant,
    plans::steps_in,
};

/// Each product has a word that all have, one that ten have, and one of its own.
const PRODUCTS: &str = "
    WITH RECURSIVE numbers (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < 20000)
    INSERT INTO products (merchant_id, sku, name, category, price_minor, currency, on_hand, low_stock_at, updated_at,
        search_words)
    SELECT ?1, 'sku-' || n, 'Product', 'category-' || (n % 40), n % 5000, 'EUR', n % 3, 0, 0,
        ' product few' || (n % 2000) || 'f one' || n || 'o ' FROM numbers";
/// Of each word the rest from each letter on, as products have them: 17 rows each.
const WORDS: &str = r#"
    WITH RECURSIVE starts (start) AS (SELECT 1 UNION ALL SELECT start + 1 FROM starts WHERE start < 10),
        words (word, sku) AS (
            SELECT value, sku FROM products, json_each('["' || replace(trim(search_words), ' ', '","') || '"]'))
    INSERT INTO product_words (merchant_id, word, sku)
    SELECT ?1, substr(word, start), sku FROM words JOIN starts ON start <= length(word) - 2 ORDER BY 2, 3"#;

async fn filled() -> TestMerchant {
    let mut shop = TestMerchant::open().await;
    let merchant = shop.merchant.to_string();
    for sql in [PRODUCTS, WORDS] {
        let rows = shop.store.run(sqlx::query(sql).bind(merchant.clone())).await.expect("fills");
        assert!(rows >= 20_000, "{rows}");
    }
    shop.store.run(sqlx::query("ANALYZE")).await.expect("analyzes");
    // A connection reads the statistics when it is opened.
    let path = shop.folder.path().join("orders.db");
    shop.store = SqliteOrders::open(&path, shop.ambient.clone()).await.expect("opens");
    shop
}

#[tokio::test]
async fn lists_and_searches_read_their_index_whatever_the_planner_knows() {
    for shop in [TestMerchant::open().await, filled().await] {
        lists_of_products_scan_an_index_in_their_order(&shop).await;
        a_search_reads_the_products_of_a_word(&shop).await;
        categories_are_found_one_after_the_other(&shop).await;
    }
}

async fn lists_of_products_scan_an_index_in_their_order(shop: &TestMerchant) {
    let by_sku = "SEARCH products USING PRIMARY KEY (merchant_id=? AND sku>?)";
    assert_eq!(steps_in(shop, product_lists::LIST).await, [by_sku]);
    let by_category =
        "SEARCH products USING INDEX products_by_category (merchant_id=? AND category=? AND sku>?)";
    assert_eq!(steps_in(shop, product_lists::LIST_BY_CATEGORY).await, [by_category]);
    for (sql, index) in [
        (product_lists::BY_PRICE, "products_by_price (merchant_id=? AND currency=? AND "),
        (product_lists::BY_PRICE_DESCENDING, "products_by_price (merchant_id=? AND currency=? AND "),
        (
            product_lists::OF_CATEGORY_BY_PRICE,
            "products_by_category_price (merchant_id=? AND category=? AND currency=? AND ",
        ),
        (
            product_lists::OF_CATEGORY_BY_PRICE_DESCENDING,
            "products_by_category_price (merchant_id=? AND category=? AND currency=? AND ",
        ),
    ] {
        let steps = steps_in(shop, sql).await;
        let [step] = steps.as_slice() else { panic!("{steps:?}") };
        assert!(step.starts_with(&format!("SEARCH products USING INDEX {index}")), "{step}");
        assert!(step.contains("(price_minor,sku)"), "{step}");
    }
    assert_eq!(searches(shop, product_lists::FACETS).await, [by_sku]);
    assert_eq!(searches(shop, product_lists::FACETS_OF_CATEGORY).await, [by_category]);
}

async fn a_search_reads_the_products_of_a_word(shop: &TestMerchant) {
    let words = "SEARCH product_words USING PRIMARY KEY (merchant_id=? AND word>? AND word<?)";
    let each = "SEARCH products USING PRIMARY KEY (merchant_id=? AND sku=?)";
    for sql in [product_lists::FOUND, product_lists::FOUND_DESCENDING, product_lists::FACETS_FOUND] {
        assert_eq!(searches(shop, sql).await, [words, each]);
    }
    assert_eq!(searches(shop, product_lists::CANDIDATES).await, [words]);
    let removed = "SEARCH product_words USING PRIMARY KEY (merchant_id=? AND word=? AND sku=?)";
    assert!(steps_in(shop, product_words::REMOVE).await.iter().any(|step| step == removed));
}

/// Not all of a merchant's products are read for their categories.
async fn categories_are_found_one_after_the_other(shop: &TestMerchant) {
    let by_index =
        |key: &str| format!("SEARCH products USING COVERING INDEX products_by_category (merchant_id=?{key})");
    let (counted, next, first) = (" AND category=?", " AND category>?", "");
    assert_eq!(searches(shop, catalog::CATEGORIES).await, [counted, next, first].map(by_index));
}

/// The steps of a plan that read by a key or an index; none may read a table of products otherwise.
async fn searches(shop: &TestMerchant, sql: &str) -> Vec<String> {
    let mut steps = steps_in(shop, sql).await;
    assert!(!steps.iter().any(|step| step.starts_with("SCAN product")), "{steps:?}");
    steps.retain(|step| step.starts_with("SEARCH"));
    steps
}
