//! Tests of the configuration: accepted and rejected settings, and that no message reveals a secret.

mod admission;
mod caches;
mod card_testing;
mod engines;
mod merchants_share;
mod scaling;
mod storefront;
mod traces;

use secrecy::ExposeSecret;
use url::Url;

use super::*;

fn with_env(pairs: &[(&str, &str)]) -> anyhow::Result<Config> {
    Config::assemble(None, None, pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())))
}

#[test]
fn the_shipped_defaults_are_valid() {
    let config = with_env(&[]).expect("valid");
    assert_eq!(config.listen.port(), 8080);
    assert_eq!(config.workers.queues, QUEUES.map(|(queue, jobs)| (queue.to_owned(), jobs)));
    assert!(!config.api.webhook_urls.allow_loopback);
}

#[test]
fn the_environment_wins_and_keeps_types() {
    let config = with_env(&[
        ("ORDERWORKS_SERVER_LISTEN", "127.0.0.1:9999"),
        ("ORDERWORKS_CHECKOUT_BURST", "7"),
        ("ORDERWORKS_WEBHOOKS_ALLOW_LOOPBACK", "true"),
        ("ORDERWORKS_SERVER_TRUSTED_PROXIES", "[\"10.0.0.0/8\"]"),
        ("ORDERWORKS_API_CORS_ORIGINS", "[\"https://shop.example\"]"),
    ])
    .expect("valid");
    assert_eq!(config.listen.port(), 9999);
    assert_eq!(config.api.checkout.burst.get(), 7);
    assert!(config.api.webhook_urls.allow_loopback);
    assert_eq!(config.server.trusted_proxies, ["10.0.0.0/8".parse().expect("a network")]);
    assert_eq!(config.api.cors_origins, ["https://shop.example".parse().expect("an origin")]);
    let refused = with_env(&[("ORDERWORKS_API_CORS_ORIGINS", "[\"shop.example\"]")]).expect_err("no origin");
    assert!(refused.to_string().contains("api.cors_origins"), "{refused}");
}

#[test]
fn the_amounts_of_the_provider_are_those_that_the_api_takes() {
    let takes = |pairs: &[(&str, &str)]| {
        let config = with_env(pairs).expect("valid");
        (config.api.provider_takes)(1001, "KWD".parse().expect("a currency"))
    };
    assert!(takes(&[]), "the sandbox takes any");
    let stripe = [
        ("ORDERWORKS_PAYMENTS_PROVIDER", "stripe"),
        ("ORDERWORKS_PAYMENTS_STRIPE_KEY", "rk_test_1"),
        ("ORDERWORKS_PAYMENTS_STRIPE_WEBHOOK_SECRETS", r#"["whsec_1"]"#),
    ];
    assert!(!takes(&stripe), "no thousandths of a dinar");
}

#[test]
fn shares_of_webhooks_are_a_quarter_of_the_slots_unless_set() {
    let shares = |pairs| with_env(pairs).expect("valid").webhook_shares();
    let (usual, set) = (
        shares(&[("ORDERWORKS_WORKERS_WEBHOOKS", "40")]),
        shares(&[("ORDERWORKS_WEBHOOKS_PER_MERCHANT", "16"), ("ORDERWORKS_WEBHOOKS_SLOW", "3")]),
    );
    assert_eq!((usual.per_merchant, usual.per_endpoint, usual.slow), (10, 2, 10));
    assert_eq!((set.per_merchant, set.per_endpoint, set.slow), (16, 2, 3));
    with_env(&[("ORDERWORKS_WEBHOOKS_PER_ENDPOINT", "0")]).expect_err("nothing would be delivered");
}

#[test]
fn jobs_have_no_limit_over_all_workers_unless_set() {
    let limits = |pairs: &[(&str, &str)]| {
        let config = with_env(pairs).expect("valid");
        (config.payments.concurrent_max, config.webhooks.per_endpoint_total)
    };
    let set =
        [("ORDERWORKS_PAYMENTS_CONCURRENT_MAX", "5"), ("ORDERWORKS_WEBHOOKS_PER_ENDPOINT_TOTAL", "10000")];
    assert_eq!((limits(&[]), limits(&set)), ((None, None), (Some(5), Some(10_000))));
    with_env(&[("ORDERWORKS_PAYMENTS_CONCURRENT_MAX", "10001")]).expect_err("too many");
}

#[test]
fn all_mistakes_are_told_at_once_by_name() {
    let error = with_env(&[
        ("ORDERWORKS_SERVER_LISTEN", "nonsense"),
        ("ORDERWORKS_CHECKOUT_BURST", "0"),
        ("ORDERWORKS_LOG_FORMAT", "xml"),
        ("ORDERWORKS_LOG_COLOUR", "yes"),
        ("ORDERWORKS_MAIL_TRANSPORT", "smtp"),
    ])
    .expect_err("invalid")
    .to_string();
    for name in ["server.listen", "checkout.burst", "log.format", "ORDERWORKS_LOG_COLOUR", "mail.smtp_url"] {
        assert!(error.contains(name), "{name} is missing in: {error}");
    }
}

#[test]
fn a_file_with_unknown_settings_or_bad_syntax_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("orderworks.toml");
    std::fs::write(&file, "[server]\nlisten = \"127.0.0.1:1\"\nlisen = 3\n[serve]\nx = 1\n").expect("writes");
    let error = Config::assemble(Some(&file), None, std::iter::empty()).expect_err("unknown").to_string();
    assert!(error.contains("server.lisen") && error.contains("serve"), "{error}");
    std::fs::write(&file, "[server\n").expect("writes");
    let error = Config::assemble(Some(&file), None, std::iter::empty()).expect_err("syntax").to_string();
    assert!(error.contains("orderworks.toml"), "{error}");
}

#[test]
fn stripes_settings_are_checked_without_telling_them() {
    let config = with_env(&[
        ("ORDERWORKS_PAYMENTS_PROVIDER", "stripe"),
        ("ORDERWORKS_PAYMENTS_STRIPE_KEY", "rk_live_canary"),
        ("ORDERWORKS_PAYMENTS_STRIPE_WEBHOOK_SECRETS", "[\"whsec_canary\", \"whsec_canary2\"]"),
    ])
    .expect("valid");
    assert_eq!(config.payments.stripe_url.as_ref().map(Url::as_str), Some("https://api.stripe.com/"));
    assert_eq!(config.payments.rate.map(|rate| rate.per_second.get()), Some(80));
    assert!(!format!("{config:?}").contains("canary"));
    let error = with_env(&[
        ("ORDERWORKS_PAYMENTS_STRIPE_KEY", "pk_canary"),
        ("ORDERWORKS_PAYMENTS_STRIPE_WEBHOOK_SECRETS", "[\"canary\"]"),
        ("ORDERWORKS_PAYMENTS_STRIPE_URL", "http://stripe.example"),
    ])
    .expect_err("invalid")
    .to_string();
    for name in ["payments.stripe_key", "payments.stripe_webhook_secrets", "payments.stripe_url"] {
        assert!(error.contains(name), "{name} is missing in: {error}");
    }
    let form = with_env(&[("ORDERWORKS_PAYMENTS_STRIPE_WEBHOOK_SECRETS", "whsec_canary")]);
    let form = form.expect_err("no list").to_string();
    assert!(!error.contains("canary") && !form.contains("canary"), "{error} {form}");
}

/// A value of the default's type that differs from the default.
fn another(value: &toml::Value) -> toml::Value {
    match value {
        toml::Value::Integer(number) => (number + 1).into(),
        toml::Value::Boolean(is_set) => (!is_set).into(),
        toml::Value::Array(_) => toml::Value::Array(vec!["10.0.0.0/8".into()]),
        toml::Value::Table(_) => toml::Table::from_iter([("other".to_owned(), 2.into())]).into(),
        _ => "other".into(),
    }
}

#[test]
fn every_setting_can_be_set_by_its_name_in_the_environment() {
    let defaults: toml::Table = DEFAULTS.parse().expect("TOML");
    let mut settings = 0;
    for (section, values) in &defaults {
        for (key, default) in values.as_table().expect("a section") {
            let name = format!("ORDERWORKS_{}_{}", section.to_uppercase(), key.to_uppercase());
            let value = another(default);
            let environment = std::iter::once((name.clone(), value.to_string().trim_matches('"').to_owned()));
            let reader = Reader::new(DEFAULTS, &[], None, environment).expect("read");
            assert_eq!(reader.shown()[section][key], value, "{name}");
            reader.finish(()).expect("a setting");
            settings += 1;
        }
    }
    assert!(settings > 60, "{settings}");
}

#[test]
fn a_misspelt_name_in_the_environment_is_refused() {
    for name in ["WEBHOOK_ALLOW_LOOPBACK", "SIGN_IN_BURTS", "SIGNIN_BURST", "LISTEN", "SERVERLISTEN", ""] {
        let error = with_env(&[(&format!("ORDERWORKS_{name}"), "1")]).expect_err(name).to_string();
        assert!(error.contains(name) && error.contains("no such setting"), "{error}");
    }
    with_env(&[("ORDERWORKS_CONFIG", "x"), ("ORDERWORKS_PUB_KEY", "x"), ("ORDERWORKS_TEST_REDIS_URL", "x")])
        .expect("none of them is a setting");
}

#[test]
fn no_mistake_tells_a_secret() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("orderworks.toml");
    let refused = |text: &str| {
        std::fs::write(&file, text).expect("writes");
        Config::assemble(Some(&file), None, std::iter::empty()).expect_err(text).to_string()
    };
    let error = refused("[server]\n[redis]\nurl = redis://:canary@cache.example\n");
    assert!(error.contains("line 3, column 7") && !error.contains("canary"), "{error}");
    for (section, key) in SECRETS {
        let error = refused(&format!("[{section}]\n{key} = [[\"canary\"]]\n"));
        assert!(error.contains(&format!("{section}.{key}")) && !error.contains("canary"), "{error}");
    }
    let url = "http://u:canary@provider.example:port";
    let error = with_env(&[("ORDERWORKS_PAYMENTS_PROVIDER_URL", url)]).expect_err("no port").to_string();
    assert!(error.contains("payments.provider_url") && !error.contains("canary"), "{error}");
}

#[test]
fn users_and_passwords_in_addresses_are_not_shown() {
    let config =
        with_env(&[("ORDERWORKS_PAYMENTS_PROVIDER_URL", "http://u:canary@127.0.0.1:9/")]).expect("valid");
    let shown = config.shown["payments"]["provider_url"].as_str().expect("text");
    assert_eq!(shown, "http://[hidden]@127.0.0.1:9/");
}

#[test]
fn a_secret_is_not_shown() {
    let config = with_env(&[
        ("ORDERWORKS_MAIL_TRANSPORT", "smtp"),
        ("ORDERWORKS_MAIL_SMTP_URL", "smtps://u:canary@mail.example:465"),
    ])
    .expect("valid");
    assert!(
        !format!("{:?}{}", config.shown, toml::to_string(&config.shown).expect("toml")).contains("canary")
    );
}

#[test]
fn bounds_of_connections_and_levels_of_queues_are_settings() {
    let config = with_env(&[
        ("ORDERWORKS_SERVER_IDLE_SECONDS", "620"),
        ("ORDERWORKS_SERVER_HEAD_SECONDS", "3"),
        ("ORDERWORKS_SERVER_BODY_SECONDS", "4"),
        ("ORDERWORKS_SERVER_BODY_KIB", "256"),
        ("ORDERWORKS_SERVER_REQUEST_SECONDS", "5"),
        ("ORDERWORKS_SERVER_READINESS_LEAD_SECONDS", "20"),
        ("ORDERWORKS_RECORDS_LEVELS", "{ webhooks = \"failures\" }"),
        ("ORDERWORKS_CACHE_MEMORY_MIB", "64"),
    ])
    .expect("valid");
    let (server, api) = (&config.server, &config.api);
    let bounds = [server.idle_timeout, server.head_timeout, api.body_timeout, api.request_timeout];
    assert_eq!(bounds.map(|bound| bound.as_secs()), [620, 3, 4, 5]);
    assert_eq!((api.body_bytes_max, config.readiness_lead.as_secs()), (256 * 1024, 20));
    assert_eq!(config.cache.bytes_max, 64 * 1024 * 1024);
    assert_eq!(config.records_levels.get("webhooks"), Some(&RecordLevel::Failures));
    for (name, value, told) in [
        ("SERVER_BODY_SECONDS", "40", "server.body_seconds must not be more than server.request_seconds"),
        (
            "SERVER_EXCHANGE_SECONDS",
            "20",
            "server.request_seconds must not be more than server.exchange_seconds",
        ),
        ("SERVER_IDLE_SECONDS", "0", "server.idle_seconds"),
        ("SERVER_BODY_KIB", "2", "server.body_kib"),
        ("CACHE_PRODUCT_MS", "99", "cache.product_ms"),
        ("CACHE_LIST_PAGE_SECONDS", "61", "cache.list_page_seconds"),
        ("SERVER_STREAMS_CHECK_MS", "4001", "server.streams_check_ms"),
        ("SERVER_READINESS_LEAD_SECONDS", "301", "server.readiness_lead_seconds"),
        ("RECORDS_LEVELS", "{ mails = \"all\" }", "records.levels names an unknown queue"),
        ("RECORDS_LEVELS", "{ email = \"some\" }", "records.levels"),
    ] {
        let error = with_env(&[(&format!("ORDERWORKS_{name}"), value)]).expect_err(name).to_string();
        assert!(error.contains(told), "{told}: {error}");
    }
}

#[test]
fn a_merchants_streams_are_at_most_those_of_all() {
    let error = with_env(&[("ORDERWORKS_SERVER_STREAMS_MAX", "10")]).expect_err("invalid").to_string();
    assert!(error.contains("server.streams_per_merchant_max"), "{error}");
    assert!(with_env(&[("ORDERWORKS_SERVER_STREAMS_MAX", "64")]).is_ok());
}

#[test]
fn nothing_leaves_this_machine_without_tls_unless_the_host_is_named() {
    let settings = [
        (
            "POSTGRES_URL",
            "postgres://u:canary@HOST/db?sslmode=require",
            "postgres://u:p@HOST/db?sslmode=verify-full",
        ),
        ("POSTGRES_DIRECT_URL", "postgres://u:canary@HOST/db?sslmode=prefer", "postgres://u:p@HOST/db"),
        (
            "POSTGRES_REPLICA_URLS",
            "[\"postgres://localhost/db\", \"postgres://u:canary@HOST/db?ssl-mode=disable\"]",
            "[\"postgres://u:p@HOST/db\"]",
        ),
        (
            "POSTGRES_URL",
            "postgres://u:canary@localhost/db?host=HOST&sslmode=allow",
            "postgres:///db?host=HOST",
        ),
        ("SHARDS_URLS", "{ a = \"postgres://u:canary@HOST/db?sslmode=verify-ca\" }", "{ }"),
        ("REDIS_URL", "redis://:canary@HOST:6379/0", "rediss://:p@HOST:6379/0"),
        ("REDIS_URL", "rediss://:canary@HOST:6379/0#insecure", "rediss://:p@HOST:6379/0"),
        ("RABBITMQ_URL", "amqp://u:canary@HOST/%2f", "amqps://u:p@HOST/%2f"),
        ("MAIL_SMTP_URL", "smtp://u:canary@HOST:25", "smtp://u:p@HOST:25?tls=required"),
        ("MAIL_SMTP_URL", "smtp://u:canary@HOST:25?tls=wanted", "smtps://u:p@HOST"),
        ("MAIL_SMTP_URL", "smtp://u:canary@HOST:25/#?tls=required", "smtps://u:p@HOST"),
        ("PAYMENTS_PROVIDER_URL", "http://u:canary@HOST/", "https://u:p@HOST/"),
        ("CASSANDRA_NODES", "[\"127.0.0.1:9042\", \"HOST:9042\"]", "[\"127.0.0.1:9042\"]"),
    ];
    for (name, plain, protected) in settings {
        let name = format!("ORDERWORKS_{name}");
        let with = |text: &str, host: &str, named: &str| {
            let engine =
                ("ORDERWORKS_ENGINES_ORDERS", if text.contains('{') { "postgres" } else { "sqlite" });
            let postgres = ("ORDERWORKS_POSTGRES_URL", "postgres://127.0.0.1/db");
            let given = (name.as_str(), &*text.replace("HOST", host));
            with_env(&[engine, postgres, given, ("ORDERWORKS_NETWORK_PLAIN_HOSTS", named)]).map(drop)
        };
        let refused = with(plain, "db.example", "[]").expect_err(plain).to_string();
        assert!(refused.contains("network.plain_hosts") && !refused.contains("canary"), "{refused}");
        with(protected, "db.example", "[]").expect(protected);
        for (host, named) in [("127.0.0.1", "[]"), ("localhost", "[]"), ("db.example", "[\"DB.example\"]")] {
            with(plain, host, named).unwrap_or_else(|error| panic!("{plain} to {host}: {error}"));
        }
        with(plain, "10.0.0.7", "[\"10.0.0.0/8\"]").expect(plain);
    }
}

#[test]
fn a_plain_mail_relay_is_named_by_its_own_address_and_gets_no_password() {
    let set =
        |url: &str| with_env(&[("ORDERWORKS_MAIL_TRANSPORT", "smtp"), ("ORDERWORKS_MAIL_SMTP_URL", url)]);
    set("smtp://mail:1025?tls=none").expect("named");
    for refused in ["smtp://mail:1025", "smtp://u:canary@mail:1025?tls=none", "smtp://mail:1025?tls=nonsense"]
    {
        let error = set(refused).expect_err(refused).to_string();
        assert!(error.contains("mail.smtp_url") && error.contains("?tls=none"), "{error}");
        assert!(!error.contains("canary"), "{error}");
    }
}

#[test]
fn postgres_is_verified_unless_the_address_says_otherwise() {
    let url = |text: &str| {
        let environment = [("ORDERWORKS_POSTGRES_URL".to_owned(), text.to_owned())].into_iter();
        let mut reader = Reader::new(DEFAULTS, &SECRETS, None, environment).expect("read");
        let postgres = servers::Postgres::read(&mut reader, &PlainHosts::default());
        reader.finish(postgres.database.primary.url.expose_secret().to_owned()).expect(text)
    };
    assert_eq!(url("postgres://u:p@db.example/db"), "postgres://u:p@db.example/db?sslmode=verify-full");
    let rooted = "postgres://u:p@db.example/db?sslrootcert=ca.pem";
    assert_eq!(url(rooted), format!("{rooted}&sslmode=verify-full"));
    let hostless =
        with_env(&[("ORDERWORKS_POSTGRES_URL", "postgres:///db")]).expect_err("PGHOST").to_string();
    assert!(hostless.contains("postgres.url names no host"), "{hostless}");
    for as_it_is in ["postgres://u:p@127.0.0.1/db", "postgres:///db?host=/run/postgresql", ""] {
        assert_eq!(url(as_it_is), as_it_is);
    }
}
