//! Properties of every response, and responses without a handler.

use api::ServerLimits;
use reqwest::Method;

use crate::util::{TestApi, config, order_body};

#[tokio::test]
async fn request_ids_are_taken_or_made() {
    let shop = TestApi::open().await;
    let given = shop.get("/v1/orders").header("x-request-id", "abc.DEF_1-2").send().await.expect_status(200);
    assert_eq!(given.header("x-request-id"), "abc.DEF_1-2");
    for bad in ["", "a b", "a\"b", &"x".repeat(129)] {
        let answer = shop.get("/nowhere").header("x-request-id", bad).send().await;
        let answer = answer.expect_problem(404, "route_not_found");
        assert!(answer.header("x-request-id").starts_with("req_"), "{bad:?}");
    }
}

#[tokio::test]
async fn what_has_no_handler_is_a_problem_too() {
    let shop = TestApi::open().await;
    shop.get("/v1/nothing").send().await.expect_problem(404, "route_not_found");
    shop.get("/v1/orders/").send().await.expect_problem(404, "route_not_found");
    shop.get("/v1/products/%ff").send().await.expect_problem(404, "not_found");
    let answer = shop.call(Method::DELETE, "/v1/orders").send().await;
    let answer = answer.expect_problem(405, "method_not_allowed");
    let mut allowed: Vec<_> = answer.header("allow").split(',').collect();
    allowed.sort_unstable();
    assert_eq!(allowed, ["GET", "HEAD", "POST"]);
}

#[tokio::test]
async fn head_and_options_are_answered_and_other_origins_are_not_let_in() {
    let shop = TestApi::open().await;
    let head = shop.call(Method::HEAD, "/v1/products").key(&shop.own.public).send().await.expect_status(200);
    assert_eq!((head.text.as_str(), head.header("content-type")), ("", "application/json"));
    let head = shop.call(Method::HEAD, "/v1/products").send().await.expect_status(401);
    assert_eq!(head.text, "");
    let options = shop
        .call(Method::OPTIONS, "/v1/orders")
        .header("origin", "https://evil.example")
        .header("access-control-request-method", "POST");
    let options = options.send().await.expect_status(204);
    assert!(options.header("allow").contains("POST"));
    let read = shop.get("/v1/orders").header("origin", "https://evil.example").send().await;
    for answer in [options, read] {
        assert!(!answer.headers.keys().any(|name| name.as_str().starts_with("access-control")));
        assert!(!answer.headers.contains_key("server"));
        assert_eq!(answer.header("cache-control"), "no-store");
        assert_eq!(answer.header("x-content-type-options"), "nosniff");
    }
}

#[tokio::test]
async fn pages_of_named_origins_may_use_the_publishable_key() {
    let named = "https://shop.example";
    let cors_origins = vec![named.parse().expect("an origin")];
    let config = api::ApiConfig { cors_origins, ..config() };
    let shop = TestApi::open_with(config, ServerLimits::default()).await;
    let preflight = |origin: &str, path: &str| {
        let call = shop.call(Method::OPTIONS, path).header("origin", origin);
        let call = call.header("access-control-request-method", "POST");
        call.header("access-control-request-headers", "authorization,content-type,idempotency-key").send()
    };
    for path in ["/v1/orders", "/v1/products", "/v1/carts/cart_x/items/mug", "/v1/sessions"] {
        let answer = preflight(named, path).await.expect_status(204);
        assert_eq!(answer.header("access-control-allow-origin"), named);
        for name in ["Authorization", "Content-Type", "Idempotency-Key", "Orderworks-Session"] {
            assert!(answer.header("access-control-allow-headers").contains(name), "{name}");
        }
        assert!(answer.header("access-control-allow-methods").contains("POST"));
        assert_eq!((answer.header("vary"), answer.header("access-control-max-age")), ("origin", "7200"));
    }
    let read = |origin: &str, key: &str| shop.get("/v1/products").key(key).header("origin", origin).send();
    // Pages read problems, too.
    for (key, status) in [(&shop.own.public, 200), (&"owk_pub_guess".to_owned(), 401)] {
        let answer = read(named, key).await.expect_status(status);
        assert_eq!(answer.header("access-control-allow-origin"), named);
        assert!(answer.header("access-control-expose-headers").contains("Retry-After"));
        assert!(!answer.headers.contains_key("access-control-allow-credentials"));
    }
    let mut closed = vec![read(named, &shop.own.secret).await];
    for origin in ["https://evil.example", "http://shop.example", "https://shop.example:8443", "null", ""] {
        closed.push(preflight(origin, "/v1/orders").await.expect_status(204));
        closed.push(read(origin, &shop.own.public).await.expect_status(200));
    }
    for answer in closed {
        assert!(!answer.headers.keys().any(|name| name.as_str().starts_with("access-control")));
        assert!(answer.headers.get_all("vary").iter().any(|name| name == "origin"), "{answer:?}");
    }
}

#[tokio::test]
async fn pages_of_any_origin_may_use_no_secret_key_either() {
    let cors_origins = vec![api::Origin::any()];
    let shop = TestApi::open_with(api::ApiConfig { cors_origins, ..config() }, ServerLimits::default()).await;
    for (key, allowed) in [(&shop.own.public, "*"), (&shop.own.secret, "")] {
        let call = shop.get("/v1/products").key(key).header("origin", "https://shop.example");
        let answer = call.send().await.expect_status(200);
        assert_eq!(answer.header("access-control-allow-origin"), allowed);
        assert!(!answer.headers.contains_key("access-control-allow-credentials"));
    }
}

#[tokio::test]
async fn bodies_are_json_of_bounded_size() {
    let shop = TestApi::open().await;
    shop.stock("mug", 10).await;
    let before = shop.traces().await;
    let post = || shop.call(Method::POST, "/v1/orders").key(&shop.own.public).header("idempotency-key", "k");
    let good = order_body().to_string();
    let call = post().header("content-type", "text/plain");
    call.send().await.expect_problem(415, "unsupported_media_type");
    post().send().await.expect_problem(415, "unsupported_media_type");
    let big = format!("{good}{}", " ".repeat(64 * 1024));
    post().body(big.clone()).send().await.expect_problem(413, "body_too_large");
    for bad in [
        String::new(),
        "{".to_owned(),
        format!("{good} x"),
        format!("{good}{good}"),
        "[".repeat(1000),
        "nul".to_owned(),
    ] {
        post().body(bad).send().await.expect_problem(400, "invalid_json");
    }
    post().body(b"{\"a\":\"\xff\"}".to_vec()).send().await.expect_problem(400, "invalid_json");
    assert_eq!(shop.traces().await, before);
    post().body(format!("{good}{}", " ".repeat(1000))).send().await.expect_status(202);
}

#[tokio::test]
async fn bodies_are_utf_8_without_content_coding() {
    let shop = TestApi::open().await;
    shop.stock("mug", 100).await;
    let order = |key: &str, name: &str, value: &str| {
        let call = shop.call(Method::POST, "/v1/orders").key(&shop.own.public).header("idempotency-key", key);
        let call =
            if name == "content-type" { call } else { call.header("content-type", "application/json") };
        call.header(name, value)
    };
    for (n, (name, value)) in [
        ("content-type", "application/json; charset=utf-8"),
        ("content-type", "Application/JSON;charset=\"UTF-8\""),
        ("content-type", "application/json;"),
        ("content-type", "application/vnd.shop+json; profile=\"x\""),
        ("content-encoding", "identity"),
        // Answers are JSON, whatever is asked for (RFC 9110, section 12.4.1).
        ("accept", "application/xml"),
        ("accept", "application/json;q=0"),
    ]
    .into_iter()
    .enumerate()
    {
        // Some programs write a byte order mark before JSON.
        let body = format!("{}{}", if n % 2 == 0 { "\u{feff}" } else { "" }, order_body());
        let answer = order(&format!("k{n}"), name, value).raw(body).send().await.expect_status(202);
        assert_eq!(answer.header("content-type"), "application/json", "{name}: {value}");
    }
    for (name, value, supported) in [
        ("content-type", "application/json; charset=iso-8859-1", "accept"),
        ("content-type", "application/json;charset=\"UTF-16\"", "accept"),
        ("content-type", "text/json", "accept"),
        ("content-type", "application/x-www-form-urlencoded", "accept"),
        ("content-type", "application/json, text/plain", "accept"),
        ("content-encoding", "gzip", "accept-encoding"),
        ("content-encoding", "identity, br", "accept-encoding"),
        ("content-encoding", "zstd", "accept-encoding"),
    ] {
        let answer = order("k", name, value).raw(order_body().to_string()).send().await;
        let answer = answer.expect_problem(415, "unsupported_media_type");
        assert!(!answer.header(supported).is_empty(), "{name}: {value}");
    }
}

#[tokio::test]
async fn chunked_bodies_are_bounded_as_well() {
    let shop = TestApi::open().await;
    let head = format!(
        "POST /v1/orders HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {}\r\nidempotency-key: k\r\n\
         content-type: application/json\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n",
        shop.own.public
    );
    let chunk = format!("1000\r\n{}\r\n", " ".repeat(0x1000));
    let mut stream =
        crate::util::raw::sent(shop.address, &format!("{head}{}0\r\n\r\n", chunk.repeat(17))).await;
    let answer = crate::util::raw::until_closed(&mut stream).await;
    assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
}

#[tokio::test]
async fn health_says_how_each_dependency_is() {
    let shop = TestApi::open().await;
    shop.call(Method::GET, "/livez").send().await.expect_status(200);
    let ready = shop.call(Method::GET, "/readyz").send().await.expect_status(200).json;
    assert_eq!((ready["status"].as_str(), ready["draining"].as_bool()), (Some("ok"), Some(false)));
    let names: Vec<_> =
        ready["checks"].as_array().expect("checks").iter().map(|check| &check["name"]).collect();
    assert_eq!(names, ["orders", "payments"]);
    let index = shop.call(Method::GET, "/").send().await.expect_status(200).json;
    assert_eq!(index["openapi"], "/openapi.json");
}

#[tokio::test]
async fn a_trace_is_continued_and_a_bad_one_replaced() {
    let shop = TestApi::open().await;
    shop.stock("mug", 10).await;
    let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
    let traceparent = format!("00-{trace}-00f067aa0ba902b7-01");
    let later = format!("cc-{trace}-00f067aa0ba902b7-ff-added");
    for (key, sent, kept) in
        [("k1", traceparent.as_str(), true), ("k2", "00-nonsense", false), ("k3", later.as_str(), true)]
    {
        let call = shop.place(key, &order_body()).header("traceparent", sent);
        let order = call.send().await.expect_status(202).json;
        let timeline = shop.get(&format!("/v1/orders/{}/timeline", order["id"].as_str().expect("an id")));
        let timeline = timeline.send().await.expect_status(200);
        let request = timeline.list().iter().find(|entry| entry["type"] == "request").expect("a request");
        let trace_id = request["trace_id"].as_str().expect("a trace");
        assert_eq!(trace_id == trace, kept);
        assert_eq!(trace_id.len(), 32);
    }
}
