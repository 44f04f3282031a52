//! Tests of engines, and of databases as shards.

use super::*;

fn topology(config: &Config) -> &PostgresTopology {
    match &config.engines.orders {
        OrdersEngine::Postgres(topology) => topology,
        OrdersEngine::Sqlite { .. } => panic!("orders in files"),
    }
}

#[test]
fn shards_are_checked_as_a_whole_and_their_addresses_hidden() {
    let sharded = |urls: &str, pins: &str| {
        with_env(&[
            ("ORDERWORKS_ENGINES_ORDERS", "postgres"),
            ("ORDERWORKS_POSTGRES_URL", "postgres://u:canary@db/jobs"),
            ("ORDERWORKS_SHARDS_URLS", urls),
            ("ORDERWORKS_SHARDS_PINS", pins),
        ])
    };
    let merchant = "mer_01900000-0000-7000-8000-000000000000";
    let urls = "{ a = \"postgres://u:canary@a/o\", b = \"postgres://u:canary@b/o\" }";
    let config = sharded(urls, &format!("{{ {merchant} = \"b\" }}")).expect("valid");
    assert_eq!(config.engines.orders.shard_pools("x", 3).map(|pools| pools.len()), Some(2));
    let PostgresTopology { server: _, shards } = topology(&config);
    assert_eq!(shards.as_ref().map(|shards| shards.sharding.pins.len()), Some(1));
    let shown = toml::to_string(&config.shown).expect("toml");
    assert!(shown.contains("[hidden]") && !format!("{shown}{config:?}").contains("canary"), "{shown}");

    let urls = "{ A = \"postgres://u:canary@a/o\", b = \"postgres://u:canary@a/o\", c = 7 }";
    let pins = format!("{{ {merchant} = \"z\", mer_x = \"b\" }}");
    let error = sharded(urls, &pins).expect_err("invalid").to_string();
    for word in ["\"A\"", "one address", "\"c\"", "shard z", "mer_x"] {
        assert!(error.contains(word), "{word} is missing in: {error}");
    }
    assert!(!error.contains("canary"), "{error}");
    let error = sharded("canary", "{}").expect_err("no table").to_string();
    assert!(error.contains("shards.urls") && !error.contains("canary"), "{error}");
    assert!(with_env(&[("ORDERWORKS_SHARDS_URLS", "{ a = \"postgres://a/o\" }")]).is_err(), "no engine");
}

#[test]
fn each_server_in_use_needs_its_address() {
    let servers = [
        ("ORDERS", "postgres", "postgres.url must be set when engines.orders is \"postgres\""),
        ("PAYMENTS", "cassandra", "cassandra.nodes "),
        ("QUEUE", "rabbitmq", "rabbitmq.url must be set when engines.queue is \"rabbitmq\""),
        ("CACHE", "redis", "redis.url must be set when engines.cache is \"redis\""),
    ];
    for (contract, engine, told) in servers {
        let error = with_env(&[(&format!("ORDERWORKS_ENGINES_{contract}"), engine)]).expect_err(engine);
        assert!(error.to_string().contains(told), "{error}");
        let error =
            with_env(&[(&format!("ORDERWORKS_ENGINES_{contract}"), "canary")]).expect_err("no engine");
        assert!(
            error
                .to_string()
                .contains(&format!("expected `{}`", if contract == "CACHE" { "memory" } else { "sqlite" })),
            "{error}"
        );
    }
}

#[test]
fn settings_of_engines_that_are_not_in_use_are_checked() {
    let settings = [
        ("postgres.api_connections", "0"),
        ("shards.pins", "{ mer_x = \"a\" }"),
        ("cassandra.money", "some"),
        ("rabbitmq.url", "amqp://broker.example/"),
        ("redis.command_timeout_ms", "0"),
    ];
    let environment = settings
        .map(|(name, value)| (format!("ORDERWORKS_{}", name.to_uppercase().replace('.', "_")), value));
    let environment = environment.each_ref().map(|(name, value)| (name.as_str(), *value));
    let error = with_env(&environment).expect_err("invalid").to_string();
    for (name, _) in settings {
        assert!(error.contains(name), "{name} is missing in: {error}");
    }
}

#[test]
fn the_folder_of_the_command_line_wins_for_every_file() {
    let environment = [("ORDERWORKS_DATA_FOLDER".to_owned(), "/named".to_owned())].into_iter();
    let Config { folder, engines, .. } =
        Config::assemble(None, Some(Path::new("/given")), environment).expect("valid");
    assert_eq!(folder, Path::new("/given"));
    let Engines { orders, payments, queue, cache } = engines;
    assert!(matches!(orders, OrdersEngine::Sqlite { folder: its } if its == folder));
    assert!(matches!(payments, PaymentsEngine::Sqlite { folder: its } if its == folder));
    assert!(matches!(queue, QueueEngine::Sqlite { folder: its } if its == folder));
    assert!(matches!(cache, CacheEngine::Memory { folder: its } if its == folder));
}

#[test]
fn a_broker_keeps_its_jobs_where_the_orders_are() {
    let broker = [("ORDERWORKS_ENGINES_QUEUE", "rabbitmq"), ("ORDERWORKS_RABBITMQ_URL", "amqp://127.0.0.1/")];
    let store =
        |more: &[(&str, &str)]| match with_env(&[&broker, more].concat()).expect("valid").engines.queue {
            QueueEngine::RabbitMq { store, .. } => store,
            QueueEngine::Sqlite { .. } => panic!("a queue in a file"),
        };
    assert!(matches!(store(&[]), OrdersEngine::Sqlite { .. }));
    let postgres =
        [("ORDERWORKS_ENGINES_ORDERS", "postgres"), ("ORDERWORKS_POSTGRES_URL", "postgres://127.0.0.1/db")];
    assert!(matches!(store(&postgres), OrdersEngine::Postgres(_)));
}

#[test]
fn shards_may_have_replicas_and_a_pooler() {
    let sharded = |more: &[(&str, &str)]| {
        let urls = "{ a = \"postgres://u:canary@a/o\", b = \"postgres://u:canary@b/o\" }";
        let basis = [
            ("ORDERWORKS_ENGINES_ORDERS", "postgres"),
            ("ORDERWORKS_POSTGRES_URL", "postgres://u:canary@db/jobs"),
            ("ORDERWORKS_SHARDS_URLS", urls),
        ];
        with_env(&[&basis, more].concat())
    };
    let config = sharded(&[
        ("ORDERWORKS_SHARDS_PGBOUNCER", "true"),
        ("ORDERWORKS_SHARDS_DIRECT_URLS", "{ b = \"postgres://u:canary@direct/o\" }"),
        (
            "ORDERWORKS_SHARDS_REPLICA_URLS",
            "{ a = [\"postgres://u:canary@r1/o\", \"postgres://u:canary@r2/o\"] }",
        ),
    ])
    .expect("valid");
    let PostgresTopology { server: _, shards } = topology(&config);
    let databases = shards.as_ref().expect("shards").databases("x", 3);
    let [a, b] = ["a", "b"].map(|name| &databases[name]);
    assert_eq!((a.replicas.len(), b.replicas.len()), (2, 0));
    assert!(a.replicas.iter().all(|replica| replica.pgbouncer && replica.pool_max == 3), "{a:?}");
    assert_eq!((a.primary.direct_url.is_some(), b.primary.direct_url.is_some()), (false, true));
    let shown = toml::to_string(&config.shown).expect("toml");
    assert!(!format!("{shown}{config:?}{databases:?}").contains("canary"), "{shown}");

    let error = sharded(&[
        ("ORDERWORKS_POSTGRES_REPLICA_URLS", "[\"postgres://u:canary@r/jobs\"]"),
        ("ORDERWORKS_SHARDS_DIRECT_URLS", "{ c = \"postgres://u:canary@direct/o\" }"),
        ("ORDERWORKS_SHARDS_REPLICA_URLS", "{ d = [\"postgres://u:canary@r/o\"] }"),
    ])
    .expect_err("invalid")
    .to_string();
    for word in ["set shards.replica_urls", "direct_urls has \"c\"", "replica_urls has \"d\""] {
        assert!(error.contains(word), "{word} is missing in: {error}");
    }
    let form = sharded(&[("ORDERWORKS_SHARDS_REPLICA_URLS", "{ a = \"canary\" }")]).expect_err("no list");
    let form = form.to_string();
    assert!(form.contains("shards.replica_urls") && !format!("{error}{form}").contains("canary"), "{form}");
}
