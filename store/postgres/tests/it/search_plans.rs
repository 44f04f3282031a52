//! Query plans of lists and searches over 200,000 products of one merchant: each statement reads the index that is made
//! for it. What is read in the order of its index is not sorted by the plan for a page of known size, which the server
//! chooses: its generic plan expects a tenth of all rows, and costs far more.

use base::{Ambient, postgres::PostgresConfig};
use sqlx::{AssertSqlSafe, ConnectOptions, Executor, PgConnection, Row};
use store::{
    catalog::{Catalog, ProductFilter, ProductSort},
    domain::{MerchantId, PageRequest},
};
use store_postgres::{PostgresOrders, statements};

use super::needs_postgres;
use crate::util::postgres::{migrated, open, pool};

/// Each product has a word that all have, one that ten have, one of its own and its number, and of each the rest from
/// each letter on: about twenty rows, as products have them. Rows of words are neither logged nor indexed one by one:
/// that would take minutes.
const FILL: &str = "
    INSERT INTO merchants (id, name, created_at) VALUES ('00000000-0000-7000-8000-000000000001', 'Shop', now());
    INSERT INTO products (merchant_id, sku, name, category, price_minor, currency, on_hand, reserved, low_stock_at,
            updated_at, search_words)
        SELECT '00000000-0000-7000-8000-000000000001'::uuid, 'sku-' || n, 'Product', 'category-' || n % 40, n % 5000, 'EUR',
            n % 3, 0, 0, now(), (
                SELECT string_agg(' ' || substr(word, start), '') || ' '
                FROM unnest(ARRAY['product', 'few' || n % 20000 || 'f', 'one' || n || 'o', n::text]) AS word
                CROSS JOIN LATERAL generate_series(1, greatest(length(word) - 2, 1)) AS start)
        FROM generate_series(1, 200000) AS n;
    ALTER TABLE product_words SET UNLOGGED;
    ALTER TABLE product_words DROP CONSTRAINT product_words_pkey;
    INSERT INTO product_words (merchant_id, word, sku)
        SELECT merchant_id, unnest(string_to_array(btrim(search_words), ' ')), sku FROM products;
    ALTER TABLE product_words ADD PRIMARY KEY (merchant_id, word, sku);
    ANALYZE";
const MERCHANT: &str = "'00000000-0000-7000-8000-000000000001'";

const FILTERED: &str = "uuid, text, bigint, text[], text, text, bigint, bigint, boolean";
const ANY_CATEGORY: &str = "'sku-5', 21, NULL, NULL, NULL, 0, 999999999999, true";
const ONE_CATEGORY: &str = "'sku-5', 21, ARRAY['% product%'], 'category-1', NULL, 0, 999999999999, false";
const IN_EURO: &str = "'sku-5', 21, NULL, NULL, 'EUR', 100, 4000, false, 200";
const CATEGORY_IN_EURO: &str = "'sku-5', 21, NULL, 'category-1', 'EUR', 100, 4000, false, 200";
const FEW: &str = "'', 21, ARRAY['% few123%'], NULL, NULL, 0, 999999999999, false, 'few123', 'few124'";

/// Statement, types after those of a filter, values after the merchant, index.
const FILTERED_PLANS: [(&str, &str, &str, &str); 11] = [
    ("product_lists::LIST", "", ANY_CATEGORY, "products_pkey"),
    ("product_lists::LIST_BY_CATEGORY", "", ONE_CATEGORY, "products_by_category"),
    ("product_lists::BY_PRICE", ", bigint", IN_EURO, "products_by_price"),
    ("product_lists::BY_PRICE_DESCENDING", ", bigint", IN_EURO, "products_by_price"),
    ("product_lists::OF_CATEGORY_BY_PRICE", ", bigint", CATEGORY_IN_EURO, "products_by_category_price"),
    (
        "product_lists::OF_CATEGORY_BY_PRICE_DESCENDING",
        ", bigint",
        CATEGORY_IN_EURO,
        "products_by_category_price",
    ),
    ("product_lists::FACETS", "", ANY_CATEGORY, "products_pkey"),
    ("product_lists::FACETS_OF_CATEGORY", "", ONE_CATEGORY, "products_by_category"),
    ("product_lists::FACETS_FOUND", ", text, text", FEW, "product_words_pkey"),
    ("product_lists::FOUND", ", text, text, bigint, bigint", FEW, "product_words_pkey"),
    ("product_lists::FOUND_DESCENDING", ", text, text, bigint", FEW, "product_words_pkey"),
];
/// The same of statements without a filter, with all their types. Categories stand in two indexes.
const OTHER_PLANS: [(&str, &str, &str, &str); 2] = [
    (
        "product_lists::CANDIDATES",
        "uuid, text, text, bigint",
        "'few123', 'few124', 2001",
        "product_words_pkey",
    ),
    ("catalog::CATEGORIES", "uuid, bigint", "1000", "products_by_category|products_by_category_price"),
];

#[tokio::test]
async fn lists_and_searches_of_200_000_products_read_their_index() {
    needs_postgres!();
    let database = migrated().await;
    pool(&database).await.execute(FILL).await.expect("fills");
    let config = PostgresConfig { by_index: true, ..database.config() };
    let mut connection = config.pool_options().expect("an address").connect().await.expect("connects");
    let rows = "SELECT reltuples::bigint FROM pg_class WHERE relname = 'product_words'";
    let rows: i64 = sqlx::query_scalar(rows).fetch_one(&mut connection).await.expect("is analyzed");
    assert!(rows > 18 * 200_000, "{rows}");
    let filtered = FILTERED_PLANS
        .map(|(name, types, values, index)| (name, format!("{FILTERED}{types}"), values, index));
    let others = OTHER_PLANS.map(|(name, types, values, index)| (name, types.to_owned(), values, index));
    let mut wrong = Vec::new();
    for (name, types, values, index) in filtered.into_iter().chain(others) {
        let (_, sql) = statements::ALL.iter().find(|(known, _)| *known == name).expect("a statement");
        // What FOUND and FOUND_DESCENDING have beside the range of words.
        let more = match name {
            "product_lists::FOUND" => ", 0, 1",
            "product_lists::FOUND_DESCENDING" => ", 999999999999",
            _ => "",
        };
        for mode in ["force_custom_plan", "force_generic_plan"] {
            let prepare = format!("SET plan_cache_mode = {mode}; PREPARE planned ({types}) AS {sql}");
            run(&mut connection, prepare).await;
            let plan = explain(&mut connection, &format!("planned ({MERCHANT}, {values}{more})")).await;
            run(&mut connection, "DEALLOCATE planned".to_owned()).await;
            let is_in_order = !["FOUND", "FACETS", "CATEGORIES"].iter().any(|sorts| name.contains(sorts));
            let sorts = plan.contains("Sort Key") && is_in_order && mode == "force_custom_plan";
            // Grouping would read all products of the merchant.
            let groups = name == "catalog::CATEGORIES" && (plan.contains("Group") || plan.contains("Hash"));
            if sorts || groups || plan.contains("Seq Scan") || !reads(&plan, index) {
                wrong.push(format!("{name} ({mode}):\n{plan}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

/// Products as an earlier release stored them, in more than one batch.
const WITHOUT_WORDS: &str = "
    INSERT INTO merchants (id, name, created_at) VALUES ('00000000-0000-7000-8000-000000000001', 'Shop', now());
    INSERT INTO products (merchant_id, sku, name, category, price_minor, currency, low_stock_at, updated_at)
        SELECT '00000000-0000-7000-8000-000000000001'::uuid, 'sku-' || n, 'Pi\u{f1}ata ' || n, 'things', 1, 'EUR', 0, now()
        FROM generate_series(1, 450) AS n";

#[tokio::test]
async fn migrating_gives_the_products_of_an_earlier_release_their_words() {
    needs_postgres!();
    let database = migrated().await;
    pool(&database).await.execute(WITHOUT_WORDS).await.expect("fills");
    let store = open(&database.config()).await;
    let merchant = MerchantId("00000000-0000-7000-8000-000000000001".parse().expect("an id"));
    let found = async |text: &str| {
        let filter = ProductFilter { text: Some(text.to_owned()), ..ProductFilter::default() };
        let page = PageRequest { limit: 100, after: None };
        store.products(merchant, &filter, ProductSort::Sku, page).await.expect("reads").items.len()
    };
    assert_eq!(found("pinata").await, 0);
    PostgresOrders::migrate(&database.config(), Ambient::system()).await.expect("migrates");
    assert_eq!((found("pinata").await, found("pinata 450").await), (100, 1));
}

/// Whether the plan scans the index, or one of two, forwards or backwards, with or without its table.
fn reads(plan: &str, index: &str) -> bool {
    plan.lines().any(|line| {
        let scan = line.split_once(" using ").or_else(|| line.split_once("Bitmap Index Scan on "));
        let read = scan.and_then(|(_, of)| of.split_whitespace().next());
        read.is_some_and(|read| index.split('|').any(|index| index == read))
    })
}

async fn explain(connection: &mut PgConnection, execute: &str) -> String {
    let explain = AssertSqlSafe(format!("EXPLAIN (COSTS OFF) EXECUTE {execute}"));
    let rows = connection.fetch_all(sqlx::raw_sql(explain)).await.expect("explains");
    rows.iter().map(|row| row.get::<String, _>(0)).collect::<Vec<_>>().join("\n")
}

async fn run(connection: &mut PgConnection, sql: String) {
    connection.execute(sqlx::raw_sql(AssertSqlSafe(sql))).await.expect("runs");
}
