//! Query plans that the migrations promise, over realistic tables. A statement that starts to scan a large table, or
//! months that its id excludes, fails here and not in production.

use std::collections::BTreeSet;

use base::{Timestamp, postgres::PostgresConfig, testing::scratch::Scratch};
use sqlx::{AssertSqlSafe, ConnectOptions, Executor, PgConnection, PgPool, Row};
use store_postgres::statements;

use super::needs_postgres;
use crate::util::postgres::{migrated, open, pool};

/// Tables with more rows count as large.
const LARGE_ROWS: f32 = 1000.0;

/// SQL functions that generate arguments.
const FUNCTIONS: &str = "
    CREATE FUNCTION made(at timestamptz, n bigint) RETURNS uuid IMMUTABLE LANGUAGE sql AS $$
        SELECT (lpad(to_hex((extract(epoch FROM at) * 1000)::bigint), 12, '0') || '7' || substr(md5(n::text), 1, 3)
            || '8' || substr(md5(n::text), 4, 15))::uuid $$;
    CREATE FUNCTION merchant(n bigint) RETURNS uuid IMMUTABLE LANGUAGE sql AS $$
        SELECT made('2020-01-01', CASE WHEN n % 10 < 8 THEN 0 ELSE n % 2 + 1 END) $$;
    CREATE FUNCTION moment(n bigint) RETURNS timestamptz STABLE LANGUAGE sql AS $$
        SELECT date_trunc('month', now()) + interval '1 day' - interval '85 days' * (1 - n / 40000.0) $$;
    CREATE FUNCTION ids(a bigint, b bigint) RETURNS uuid[] STABLE LANGUAGE sql AS $$
        SELECT array_agg(made(moment(n), n)) FROM generate_series(a, b) AS n $$;
    CREATE FUNCTION positions(a bigint, b bigint) RETURNS bigint[] STABLE LANGUAGE sql AS $$
        SELECT array_agg(n) FROM generate_series(a, b) AS n $$";

/// Three past months, so that there are several partitions to exclude; three merchants, of which one owns most rows.
const FILL: &str = r#"
    INSERT INTO merchants SELECT DISTINCT merchant(n), 'Shop', now() FROM generate_series(0, 20) AS n;
    INSERT INTO products SELECT merchant(n), 'sku-' || n, 'Product ' || n, NULL, 'category-' || n % 40, 100, 'EUR',
        100, 0, 5, 0, now() FROM generate_series(0, 5000) AS n;
    UPDATE products SET search_words = ' product w' || sku || ' ' WHERE sku <> 'sku-1';
    INSERT INTO product_words SELECT merchant_id, unnest(ARRAY['product', 'w' || sku]), sku FROM products;
    INSERT INTO orders (id, merchant_id, status, currency, total_minor, lines, customer_email, customer_name,
            payment_method, event_sequence, captured_minor, payment_id, shipment_id, shipped_at, created_at, updated_at)
        SELECT made(moment(n), n), merchant(n), CASE WHEN n % 50 = 0 THEN 'pending' ELSE 'fulfilled' END, 'EUR', 100,
            '[]', 'ada@example.com', 'Ada', 'pm_card_visa', 3, 100, made(moment(n), n), made(moment(n), n), moment(n),
            moment(n), moment(n) FROM generate_series(1, 40000) AS n;
    INSERT INTO idempotency_keys SELECT merchant(n), 'key-' || n, decode(repeat('00', 32), 'hex'), made(moment(n), n),
        '{}', moment(n) FROM generate_series(1, 20000) AS n;
    INSERT INTO outbox SELECT made(moment(n), n), nextval('outbox_position'), merchant(n), made(moment(n / 2), n / 2),
        'order.paid', made(moment(n / 2), n / 2), n % 2 + 1, moment(n), '{}', NULL FROM generate_series(2, 40000) AS n;
    INSERT INTO outbox_unsent (position, id, subject, at) SELECT position, id, subject, at FROM outbox
        WHERE position > 20000;
    INSERT INTO mails SELECT made(moment(n), n), 'order_confirmed', '<m>', moment(n)
        FROM generate_series(1, 40000) AS n;
    INSERT INTO refunds SELECT made(moment(n), n), made(moment(n), n), 10, moment(n), moment(n)
        FROM generate_series(1, 40000) AS n;
    INSERT INTO customers SELECT made(moment(n), n), merchant(n), n || '@example.com', n || '@example.com', 'Ada', '$',
        CASE WHEN n % 2 = 0 THEN 'key-' || n END, moment(n) FROM generate_series(1, 20000) AS n;
    INSERT INTO verifications SELECT merchant(n), made(moment(n), n), 'registration', n || '@example.com',
        n || '@example.com', 'Ada', '$', CASE WHEN n % 2 = 0 THEN 'key-' || n END, sha256(n::text::bytea), moment(n),
        moment(n), moment(n), moment(n) FROM generate_series(1, 20000) AS n;
    INSERT INTO customer_mails SELECT made(moment(n), n), 'welcome', '<m>', moment(n)
        FROM generate_series(1, 20000) AS n;
    INSERT INTO webhook_endpoints SELECT merchant(n), made(moment(n), n), 'https://example.com', '"all"', 's', true,
        moment(n) FROM generate_series(1, 6000) AS n;
    INSERT INTO webhook_attempts SELECT made(moment(n % 60), n % 60), made(moment(n), n), 1, moment(n),
        made(moment(n), n), 10, 200, NULL FROM generate_series(1, 40000) AS n;
    ANALYZE"#;

/// Types and values of each statement's arguments.
const ARGUMENTS: &[(&str, &str, &str)] = &[
    ("admission::OPEN", "uuid, bigint", "made(moment(20000), 0), 50000"),
    ("admission::UNPAID", "uuid, bigint, bigint", "made(moment(20000), 0), 100, 10"),
    ("admission::UNSENT", "text", "'set aside'"),
    ("admission::ENDED", "timestamptz, bigint", "moment(39000), 500"),
    ("admission::ROOMS", "bigint", "1000"),
    ("admission::ROOM", "uuid", "merchant(1)"),
    ("order_flow::LIST", "uuid, uuid, bigint", "merchant(1), made(moment(39000), 1), 21"),
    (
        "order_flow::LIST_BY_STATUS",
        "uuid, uuid, bigint, text",
        "merchant(1), made(moment(39000), 1), 21, 'pending'",
    ),
    (
        "order_flow::LIST_OF_CUSTOMER",
        "uuid, uuid, bigint, text, uuid",
        "merchant(1), made(moment(39000), 1), 21, NULL, made(moment(39000), 39000)",
    ),
    ("order_row::BY_ID", "uuid", "made(moment(39000), 39000)"),
    ("order_row::OF_MERCHANT", "uuid, uuid", "made(moment(39000), 39000), merchant(39000)"),
    (
        "order_flow::REPLACE_TOKEN",
        "uuid, uuid, bytea, timestamptz",
        "made(moment(39000), 39000), merchant(39000), decode(repeat('00', 32), 'hex'), now()",
    ),
    ("order_flow::EXPIRE", "timestamptz, bigint", "moment(100), 1000"),
    (
        "transitions::STALE",
        "uuid, timestamptz, uuid, bigint, timestamptz",
        "made(moment(20000), 0), moment(20000), made(moment(10000), 0), 100, moment(10000)",
    ),
    (
        "transitions::EXPIRE",
        "uuid, text, timestamptz, timestamptz",
        "made(moment(39000), 39000), 'expired', now(), moment(10000)",
    ),
    ("audit::ALL", "uuid, bigint", "made(moment(20000), 0), 500"),
    ("audit::TOUCHED", "uuid, uuid, bigint", "made(moment(38000), 0), made(moment(39000), 0), 500"),
    ("audit::MONEY", "uuid", "made(moment(39000), 39000)"),
    ("audit::REFUNDS", "uuid", "made(moment(39000), 39000)"),
    ("audit::COMMANDS", "uuid, uuid", "made(moment(39000), 39000), made(moment(38000), 0)"),
    ("audit::STOCK", "uuid, text, bigint", "merchant(8), 'sku-200', 100"),
    ("audit::SET_RESERVED", "uuid, text, timestamptz", "merchant(1), 'sku-1', now()"),
    ("audit::OPEN", "uuid, uuid, bigint", "merchant(8), made(moment(20000), 0), 500"),
    ("audit::ENDPOINTS", "uuid", "merchant(8)"),
    ("order_records::ORDERS", "uuid[]", "ids(39000, 39127)"),
    ("order_records::STORED", "uuid[]", "ids(39000, 39127)"),
    ("order_records::STATUSES", "uuid[]", "ids(39000, 39127)"),
    ("order_records::REFUNDS", RECORDS, RECORDS_OF),
    ("order_records::MAILS", RECORDS, RECORDS_OF),
    ("order_records::EVENTS", RECORDS, RECORDS_OF),
    ("order_records::COMMANDS", RECORDS, RECORDS_OF),
    ("order_records::ATTEMPTS", RECORDS, RECORDS_OF),
    (
        "outbox::CLAIM",
        "text, timestamptz, timestamptz, bigint",
        "'relay', now() + interval '30 s', now(), 256",
    ),
    (
        "outbox::TAKEN",
        "uuid[], uuid, uuid",
        "ids(39000, 39255), made(moment(39000), 39000), \
         made(moment(39255), 39255)",
    ),
    ("outbox::MARK_SENT", "bigint[]", "positions(21000, 21255)"),
    ("outbox::EVENTS", "uuid, bigint, bigint", "merchant(1), 39000, 21"),
    ("outbox::POSITION_OF", "uuid, uuid", "made(moment(39000), 39000), merchant(39000)"),
    ("outbox::BY_ID", "uuid", "made(moment(39000), 39000)"),
    ("outbox::KNOWN", "uuid", "made(moment(39000), 39000)"),
    ("outbox::ORDER_EVENTS", "uuid, bigint, uuid", "made(moment(19500), 19500), 0, made(moment(19000), 0)"),
    ("outbox::LIST", "bigint", "100"),
    ("outbox::BACKLOG", "bigint", "250000"),
    ("outbox_insert::WRITE", MESSAGES, MESSAGE),
    (
        "place_order::STORE",
        "timestamptz, uuid[], uuid[], uuid[], text[], uuid[], bigint[], text[], text[], uuid, text, uuid[], \
         bigint[], text[], text[], text[], text[], text[], text[], text[], text[], bytea[], text[], uuid[], bytea[], timestamptz[], \
         text[]",
        "now(), ARRAY[made(now(), 1)], ARRAY[merchant(1)], ARRAY[made(now(), 1)], ARRAY['order.placed'], \
         ARRAY[made(now(), 1)], ARRAY[1], ARRAY['{}'], ARRAY[NULL], merchant(1), 'EUR', ARRAY[made(now(), 1)], \
         ARRAY[100], ARRAY['[]'], ARRAY['e'], ARRAY['n'], ARRAY['pm'], ARRAY[NULL], ARRAY[NULL], ARRAY[NULL], ARRAY['k'], \
         ARRAY[decode(repeat('00', 32), 'hex')], ARRAY['{}'], ARRAY[made(now(), 1)], ARRAY[decode(repeat('00', 32), 'hex')], \
         ARRAY[now()], ARRAY[NULL]",
    ),
    ("place_order::RECORDED", "uuid, text", "merchant(1), 'key-1'"),
    (
        "stock::RESERVE",
        "uuid, text[], bigint[], text, text[], timestamptz",
        "merchant(1), ARRAY['sku-1', 'sku-2'], ARRAY[1, 1], 'EUR', ARRAY['new', 'newer'], now()",
    ),
    ("stock::HOLD", HOLD, "merchant(1), ARRAY['sku-1', 'sku-2'], ARRAY[1, 1], 'EUR', now()"),
    ("reservations::LOCK", "uuid, uuid, timestamptz", "merchant(1), made(now(), 1), now()"),
    ("reservations::WRITE", "uuid, uuid, text, timestamptz", "merchant(1), made(now(), 1), '[]', now()"),
    ("reservations::TAKE", "uuid, uuid, timestamptz", "merchant(1), made(now(), 1), NULL"),
    ("reservations::TAKE_ALL", "uuid, uuid[]", "merchant(1), ids(39000, 39010)"),
    ("reservations::ENDED", "timestamptz, timestamptz, uuid, bigint", "now(), now(), made(now(), 1), 100"),
    ("stock::RELEASE", STOCK, "merchant(1), ARRAY['sku-1', 'sku-2'], ARRAY[1, 1], now()"),
    ("stock::SHIP", STOCK, "merchant(1), ARRAY['sku-1', 'sku-2'], ARRAY[1, 1], now()"),
    ("stock::LOOK", "uuid, text[]", "merchant(1), ARRAY['sku-1', 'sku-2']"),
    ("refunds::KNOWN", "uuid, uuid", "made(moment(39000), 39000), made(moment(39000), 39000)"),
    ("refunds::SUMS", "uuid", "made(moment(39000), 39000)"),
    ("mails::OF_ORDER", "uuid", "made(moment(39000), 39000)"),
    ("mails::OF_CUSTOMER", "uuid", "made(moment(19000), 19000)"),
    ("customers::BY_ID", "uuid", "made(moment(19000), 19000)"),
    ("customers::BY_EMAIL", "uuid, text", "merchant(19000), '19000@example.com'"),
    ("customers::FORGET", "uuid, uuid, text", "made(moment(19000), 19000), merchant(19000), '{}'"),
    ("erasures::OPEN_ORDERS", "uuid, uuid", "merchant(39000), made(moment(19000), 19000)"),
    ("erasures::ERASABLE", "uuid, uuid, bigint", "merchant(39000), made(moment(19000), 19000), 501"),
    ("erasures::ERASE_ORDERS", "uuid, uuid[]", "merchant(39000), ids(39000, 39010)"),
    ("erasures::ERASE_EVENTS", "uuid[], uuid[]", "ids(19000, 19010), ids(18000, 18010)"),
    ("erasures::RECORD_OF", "uuid, uuid", "merchant(39000), made(moment(19000), 19000)"),
    ("verifications::BY_ID", "uuid, uuid", "merchant(19000), made(moment(19000), 19000)"),
    ("verifications::BY_KEY", "uuid, text", "merchant(19000), 'key-19000'"),
    ("verifications::BY_TOKEN", "uuid, bytea", "merchant(19000), sha256('19000')"),
    ("verifications::OF_EMAIL", "uuid, text", "merchant(19000), '19000@example.com'"),
    ("verifications::EXPIRE", "timestamptz, bigint", "moment(100), 500"),
    ("catalog::ONE", "uuid, text", "merchant(1), 'sku-1'"),
    ("catalog::CATEGORIES", "uuid, bigint", "merchant(8), 1000"),
    ("product_lists::LIST", PRODUCTS, PRODUCTS_OF),
    ("product_lists::LIST_BY_CATEGORY", PRODUCTS, PRODUCTS_OF),
    ("product_lists::BY_PRICE", BY_PRICE, BY_PRICE_OF),
    ("product_lists::BY_PRICE_DESCENDING", BY_PRICE, BY_PRICE_OF),
    ("product_lists::OF_CATEGORY_BY_PRICE", BY_PRICE, BY_PRICE_OF),
    ("product_lists::OF_CATEGORY_BY_PRICE_DESCENDING", BY_PRICE, BY_PRICE_OF),
    ("product_lists::FOUND", FOUND, FOUND_OF),
    (
        "product_lists::FOUND_DESCENDING",
        "uuid, text, bigint, text[], text, text, bigint, bigint, boolean, text, text, bigint",
        "merchant(1), '', 21, ARRAY['% w1%'], NULL, NULL, 0, 1000, false, 'w1', 'w2', 0",
    ),
    ("product_lists::CANDIDATES", "uuid, text, text, bigint", "merchant(1), 'w1', 'w2', 2001"),
    ("product_lists::FACETS", PRODUCTS, PRODUCTS_OF),
    ("product_lists::FACETS_OF_CATEGORY", PRODUCTS, PRODUCTS_OF),
    (
        "product_lists::FACETS_FOUND",
        "uuid, text, bigint, text[], text, text, bigint, bigint, boolean, text, text",
        "merchant(1), '', 21, ARRAY['% w1%'], NULL, NULL, 0, 1000, false, 'w1', 'w2'",
    ),
    ("product_words::ADD", "uuid, text, text[]", "merchant(1), 'sku-1', ARRAY['a', 'b']"),
    ("product_words::REMOVE", "uuid, text, text[]", "merchant(1), 'sku-1', ARRAY['a', 'b']"),
    ("product_words::WITHOUT", "bigint", "200"),
    (
        "product_words::FILL",
        "uuid[], text[], text[], text[]",
        "ARRAY[merchant(1)], ARRAY['sku-1'], ARRAY['Product 1'], ARRAY[' product ']",
    ),
    ("webhooks::ONE", "uuid, uuid", "merchant(100), made(moment(100), 100)"),
    ("webhooks::BY_ID", "uuid", "made(moment(100), 100)"),
    ("webhooks::LIST", "uuid, uuid, bigint", "merchant(8), made(moment(900), 1), 21"),
    ("webhooks::ENABLED", "uuid", "merchant(8)"),
    ("webhooks::ATTEMPTS_OF_ORDER", "uuid, uuid", "made(moment(39000), 39000), made(moment(38000), 0)"),
    ("webhooks::DELIVERED", "uuid, uuid", "made(moment(40), 40), made(moment(39040), 39040)"),
    (
        "router::OWNER",
        "uuid, uuid, uuid, uuid",
        "made(moment(39000), 39000), made(moment(100), 100), made(moment(39000), 1), made(moment(19000), 19000)",
    ),
];
const PRODUCTS: &str = "uuid, text, bigint, text[], text, text, bigint, bigint, boolean";
const PRODUCTS_OF: &str = "merchant(1), 'sku-200', 21, NULL, 'category-1', NULL, 0, 1000, true";
const BY_PRICE: &str = "uuid, text, bigint, text[], text, text, bigint, bigint, boolean, bigint";
const BY_PRICE_OF: &str = "merchant(1), 'sku-200', 21, NULL, 'category-1', 'EUR', 0, 1000, false, 50";
const FOUND: &str =
    "uuid, text, bigint, text[], text, text, bigint, bigint, boolean, text, text, bigint, bigint";
const FOUND_OF: &str = "merchant(1), '', 21, ARRAY['% w1%'], NULL, NULL, 0, 1000, false, 'w1', 'w2', 0, 1";
const MESSAGES: &str = "timestamptz, uuid[], uuid[], uuid[], text[], uuid[], bigint[], text[], text[]";
const MESSAGE: &str = "now(), ARRAY[made(now(), 1)], ARRAY[merchant(1)], ARRAY[made(now(), 1)], \
                       ARRAY['order.placed'], ARRAY[made(now(), 1)], ARRAY[1], ARRAY['{}'], ARRAY[NULL]";
const STOCK: &str = "uuid, text[], bigint[], timestamptz";
const HOLD: &str = "uuid, text[], bigint[], text, timestamptz";
const RECORDS: &str = "uuid[], uuid[], bigint";
const RECORDS_OF: &str = "ids(19000, 19127), ids(18000, 18127), 1001";

/// Statements that may read a whole table: they list the waiting rooms, or read a merchant's endpoints, which are a
/// third of their table here.
const READ_WHOLE: [&str; 3] = ["admission::ROOMS", "webhooks::ENABLED", "audit::ENDPOINTS"];
/// Statements that name a row by its id and so read one month.
const BY_ID: [&str; 11] = [
    "audit::MONEY",
    "audit::REFUNDS",
    "order_row::BY_ID",
    "order_row::OF_MERCHANT",
    "outbox::TAKEN",
    "outbox::POSITION_OF",
    "outbox::BY_ID",
    "refunds::KNOWN",
    "refunds::SUMS",
    "mails::OF_ORDER",
    "webhooks::DELIVERED",
];

#[tokio::test]
async fn no_statement_scans_a_large_table_or_months_its_id_rules_out() {
    needs_postgres!();
    let database = migrated().await;
    let pool = pool(&database).await;
    fill(&database, &pool).await;
    let large = large(&pool).await;
    assert!(large.contains("outbox_unsent") && large.iter().any(|t| t.starts_with("orders_y")), "{large:?}");
    let named: BTreeSet<&str> = ARGUMENTS.iter().map(|(name, ..)| *name).collect();
    let known: BTreeSet<&str> = statements::ALL.iter().map(|(name, _)| *name).collect();
    assert_eq!(named, known, "every statement is looked at");
    let mut connection = as_the_store_does(&database).await;
    let mut wrong = Vec::new();
    for (name, sql) in statements::ALL {
        // Both kinds of plan, since the server chooses between them by estimates: custom for these arguments, and
        // generic.
        for mode in ["force_custom_plan", "force_generic_plan"] {
            let plan = explain(&mut connection, name, sql, mode).await;
            let walked = tables(&plan, "Seq Scan on ").into_iter().filter(|table| large.contains(table));
            let walked: BTreeSet<_> = walked.collect();
            if !(walked.is_empty() || READ_WHOLE.contains(name)) {
                wrong.push(format!("{name} ({mode}) walks {walked:?}:\n{plan}"));
            }
            let read = tables(&plan, " on ").into_iter().filter(|table| table.contains("_y")).count();
            if BY_ID.contains(name) && read != 1 {
                wrong.push(format!("{name} ({mode}) reads {read} months:\n{plan}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

#[tokio::test]
async fn a_plan_made_while_tables_are_empty_does_not_scan_them() {
    needs_postgres!();
    let database = migrated().await;
    let pool = pool(&database).await;
    pool.execute(FUNCTIONS).await.expect("creates");
    pool.execute("ANALYZE").await.expect("analyzes");
    let mut connection = as_the_store_does(&database).await;
    let mut wrong = Vec::new();
    for (name, sql) in statements::ALL.iter().filter(|(name, _)| !READ_WHOLE.contains(name)) {
        let plan = explain(&mut connection, name, sql, "force_generic_plan").await;
        // Nor does it filter all rows of a merchant: the keys of a list must be looked up by index.
        let sifts = plan.lines().any(|line| line.contains("Filter: ") && line.contains(" = ANY ($"));
        if sifts || plan.contains("Seq Scan on ") {
            wrong.push(format!("{name}:\n{plan}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

async fn as_the_store_does(database: &Scratch) -> PgConnection {
    let config = PostgresConfig { by_index: true, ..database.config() };
    config.pool_options().expect("an address").connect().await.expect("connects")
}

async fn fill(database: &Scratch, pool: &PgPool) {
    let sql = "SELECT (extract(epoch FROM date_trunc('month', now()) - interval '3 months') * 1000)::bigint";
    let start: i64 = sqlx::query_scalar(sql).fetch_one(pool).await.expect("a time");
    let start = Timestamp::from_millisecond(start).expect("a time");
    open(&database.config()).await.create_partitions(start, 3).await.expect("creates");
    pool.execute(FUNCTIONS).await.expect("creates");
    pool.execute(FILL).await.expect("fills");
}

async fn large(pool: &PgPool) -> BTreeSet<String> {
    let sql = "SELECT relname::text FROM pg_class WHERE relkind = 'r' AND reltuples > $1";
    let names = sqlx::query_scalar(sql).bind(LARGE_ROWS).fetch_all(pool).await;
    names.expect("lists tables").into_iter().collect()
}

/// The plan of a statement; nothing is executed.
async fn explain(connection: &mut PgConnection, name: &str, sql: &str, mode: &str) -> String {
    let (_, types, values) = ARGUMENTS.iter().find(|(n, ..)| *n == name).expect("has arguments");
    let types = if types.is_empty() { String::new() } else { format!("({types})") };
    let values = if values.is_empty() { String::new() } else { format!("({values})") };
    run(connection, format!("SET plan_cache_mode = {mode}; PREPARE looked_at{types} AS {sql}")).await;
    let explain = AssertSqlSafe(format!("EXPLAIN EXECUTE looked_at{values}"));
    let rows = connection.fetch_all(sqlx::raw_sql(explain)).await.expect("explains");
    run(connection, "DEALLOCATE looked_at; RESET plan_cache_mode".to_owned()).await;
    rows.iter().map(|row| row.get::<String, _>(0)).collect::<Vec<_>>().join("\n")
}

async fn run(connection: &mut PgConnection, sql: String) {
    connection.execute(sqlx::raw_sql(AssertSqlSafe(sql))).await.expect("runs");
}

/// The names of tables that follow these words in the plan.
fn tables(plan: &str, words: &str) -> BTreeSet<String> {
    let table = |line: &str| Some(line.split_once(words)?.1.split(' ').next()?.to_owned());
    plan.lines().filter_map(table).collect()
}
