//! The cache of the shipped haproxy in front of a real process: what it answers by itself, and what it must not.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use reqwest::{Method, StatusCode, header::HeaderMap};
use serde_json::json;

use crate::util::{Dev, Haproxy, PATIENCE, http};

const PRODUCT: &str = "/v1/products/CUP-ENAMEL";
const LIST: &str = "/v1/products?limit=2";
const ORIGIN: &str = "https://shop.example";

/// A response that was read whole: haproxy has stored it then, if it stores it.
struct Reply {
    status: StatusCode,
    headers: HeaderMap,
    body: String,
}

impl Reply {
    /// The field's value; empty without one.
    fn field(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().expect("text"))
    }

    /// Whether the proxy has answered by itself: it tells the age of what it has stored.
    fn is_stored(&self) -> bool {
        assert_eq!(self.headers.get_all("x-request-id").iter().count(), 1, "{:?}", self.headers);
        !self.field("age").is_empty()
    }
}

async fn read(proxy: &Haproxy, path: &str, key: &str, fields: &[(&str, &str)]) -> Reply {
    let request = http().get(format!("http://{}{path}", proxy.address)).bearer_auth(key);
    let request = fields.iter().fold(request, |request, (name, value)| request.header(*name, *value));
    let response = request.send().await.expect("an answer");
    let (status, headers) = (response.status(), response.headers().clone());
    Reply { status, headers, body: response.text().await.expect("a body") }
}

/// The process, with answers that are fresh for so many seconds, behind the proxy; `None` if there is no haproxy.
async fn shop(data: &tempfile::TempDir, fresh_seconds: &str) -> Option<(Dev, Haproxy)> {
    let program = Haproxy::program()?;
    let settings = [
        ("ORDERWORKS_SERVER_TRUSTED_PROXIES", r#"["127.0.0.1"]"#),
        ("ORDERWORKS_CACHE_PRODUCT_PAGE_SECONDS", fresh_seconds),
        ("ORDERWORKS_CACHE_LIST_PAGE_SECONDS", fresh_seconds),
    ];
    let dev = Dev::start_with(data.path(), &settings).await;
    let address = dev.ready.url.trim_start_matches("http://").trim_end_matches('/').to_owned();
    let proxy = Haproxy::start(&program, &address, None).await;
    Some((dev, proxy))
}

#[tokio::test]
async fn answers_to_a_publishable_key_come_from_the_proxy_while_they_are_fresh() {
    let data = tempfile::tempdir().expect("a folder");
    let Some((dev, proxy)) = shop(&data, "60").await else { return };
    let key = &dev.ready.publishable_key;
    for path in [PRODUCT, LIST, "/v1/categories"] {
        let first = read(&proxy, path, key, &[]).await;
        assert_eq!((first.status, first.is_stored()), (StatusCode::OK, false), "{path}: {}", first.body);
        assert!(first.field("cache-control").starts_with("public, max-age=60"), "{:?}", first.headers);
        let again = read(&proxy, path, key, &[]).await;
        assert!(again.is_stored(), "{path}: {:?}", again.headers);
        assert_eq!((&again.body, again.field("etag")), (&first.body, first.field("etag")));
        assert_ne!(again.field("x-request-id"), first.field("x-request-id"));
        for reply in [&first, &again] {
            assert_eq!(reply.field("vary"), "authorization, origin");
            assert!(reply.field("cache-groups").starts_with('"'), "{:?}", reply.headers);
        }
        let unchanged = read(&proxy, path, key, &[("if-none-match", first.field("etag"))]).await;
        assert_eq!((unchanged.status, unchanged.body.as_str()), (StatusCode::NOT_MODIFIED, ""));
        let head = http().head(format!("http://{}{path}", proxy.address)).bearer_auth(key);
        let head = head.send().await.expect("an answer");
        assert_eq!(
            (head.status(), head.headers()["etag"].to_str().ok()),
            (StatusCode::OK, Some(first.field("etag")))
        );
    }
    dev.stop().await;
}

#[tokio::test]
async fn an_answer_is_for_the_key_and_the_origin_that_asked() {
    let data = tempfile::tempdir().expect("a folder");
    let Some((dev, proxy)) = shop(&data, "60").await else { return };
    let key = &dev.ready.publishable_key;
    for _ in 0..2 {
        let own = read(&proxy, PRODUCT, &dev.ready.secret_key, &[]).await;
        assert_eq!((own.status, own.is_stored()), (StatusCode::OK, false));
        assert_eq!(own.field("cache-control"), "private, no-cache");
        let plain = read(&proxy, PRODUCT, key, &[]).await;
        assert_eq!(plain.field("access-control-allow-origin"), "");
        let of_page = read(&proxy, PRODUCT, key, &[("origin", ORIGIN)]).await;
        assert_eq!((of_page.status, of_page.field("access-control-allow-origin")), (StatusCode::OK, "*"));
    }
    for guess in ["owk_pub_guess", "owk_sec_guess", ""] {
        let refused = read(&proxy, PRODUCT, guess, &[]).await;
        assert_eq!((refused.status, refused.is_stored()), (StatusCode::UNAUTHORIZED, false), "{guess}");
    }
    // Which of two origins or keys counts is not the proxy's to decide.
    let two = read(&proxy, PRODUCT, key, &[("origin", ORIGIN), ("origin", "https://evil.example")]).await;
    assert!(!two.is_stored());
    let two = read(&proxy, PRODUCT, key, &[("authorization", "Bearer owk_pub_guess")]).await;
    assert_eq!((two.status, two.is_stored()), (StatusCode::UNAUTHORIZED, false));
    dev.stop().await;
}

/// Pages of the storefront depend on cookies, which are no part of what the proxy stores answers under.
#[tokio::test]
async fn pages_pass_through() {
    let data = tempfile::tempdir().expect("a folder");
    let Some((dev, proxy)) = shop(&data, "60").await else { return };
    for path in ["/", "/p/CUP-ENAMEL"] {
        for language in ["en", "de", "en"] {
            let fields = [("accept", "text/html"), ("accept-language", language)];
            let page = read(&proxy, path, &dev.ready.publishable_key, &fields).await;
            assert_eq!((page.status, page.is_stored()), (StatusCode::OK, false), "{path}");
            assert!(page.field("cache-control").starts_with("public, max-age=60"), "{:?}", page.headers);
            assert!(page.field("vary").ends_with("accept-language, cookie"), "{:?}", page.headers);
            assert!(page.body.contains(&format!("<html lang=\"{language}\">")), "{path}: {}", page.body);
        }
    }
    dev.stop().await;
}

/// The proxy stores an answer under its URL with origin and key at the end: none of them passes for a part of the URL.
#[tokio::test]
async fn no_request_is_taken_for_another() {
    let data = tempfile::tempdir().expect("a folder");
    let Some((dev, proxy)) = shop(&data, "60").await else { return };
    let key = &dev.ready.publishable_key;
    for _ in 0..2 {
        assert_eq!(read(&proxy, LIST, key, &[("origin", ORIGIN)]).await.status, StatusCode::OK);
    }
    let (origin, authorization) = (STANDARD.encode(ORIGIN), STANDARD.encode(format!("Bearer {key}")));
    for path in [
        format!("{LIST}&{origin}"),
        format!("{LIST}&{origin}&"),
        format!("{LIST}&{origin}&{authorization}"),
        format!("{LIST}&&{authorization}"),
    ] {
        let reply = read(&proxy, &path, key, &[]).await;
        assert_eq!((reply.status, reply.is_stored()), (StatusCode::UNPROCESSABLE_ENTITY, false), "{path}");
        let reply = http().get(format!("http://{}{path}", proxy.address)).send().await.expect("an answer");
        assert_eq!(reply.status(), StatusCode::UNAUTHORIZED, "{path}");
    }
    dev.stop().await;
}

#[tokio::test]
async fn writes_and_what_is_not_for_all_pass_through() {
    let data = tempfile::tempdir().expect("a folder");
    let Some((dev, proxy)) = shop(&data, "1").await else { return };
    let (merchant, key) =
        (dev.merchant().at(&format!("http://{}", proxy.address)), &dev.ready.publishable_key);
    for _ in 0..2 {
        let missing = read(&proxy, "/v1/products/none", key, &[]).await;
        assert_eq!((missing.status, missing.is_stored()), (StatusCode::NOT_FOUND, false));
        assert_eq!(missing.field("cache-control"), "no-store");
        assert!(!read(&proxy, "/v1/orders", &dev.ready.secret_key, &[]).await.is_stored());
    }
    for name in ["One cup", "Another cup"] {
        read(&proxy, PRODUCT, key, &[]).await;
        let body = json!({ "name": name, "category": "mugs", "price_minor": 1250, "currency": "EUR" });
        let (status, answer) = merchant.send(Method::PUT, PRODUCT, Some(&body)).await;
        assert_eq!(status, StatusCode::OK, "{answer}");
        // Through the proxy it shows once the stored answer is no longer fresh.
        let shown = async { while !read(&proxy, PRODUCT, key, &[]).await.body.contains(name) {} };
        tokio::time::timeout(PATIENCE, shown).await.expect("the new name is shown");
    }
    dev.stop().await;
}
