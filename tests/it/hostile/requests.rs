//! Hostile requests, each as large as its route accepts.

/// A request, and the status of its response.
pub(super) struct Hostile {
    pub(super) name: &'static str,
    pub(super) request: Vec<u8>,
    pub(super) status: &'static str,
    /// Whether the server closes without reading the whole request.
    pub(super) is_cut: bool,
}

const BODY_BYTES_MAX: usize = 64 * 1024;
/// Less than the bound, with room for the surrounding JSON.
const BODY_BYTES: usize = 65_000;
/// As long as an echoed name may be; its escaped form in the response is twice as long.
const NAME: &str = "~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~";

pub(super) fn all(key: &str) -> Vec<Hostile> {
    let posted = |name, body: &str, status| Hostile { name, request: post(key, body), status, is_cut: false };
    let headed = |name, lines: &str, status| {
        let request = format!("GET /livez HTTP/1.1\r\n{lines}\r\n").into_bytes();
        Hostile { name, request, status, is_cut: true }
    };
    let fields: Vec<_> = (0..1_000).map(|number| format!("x-{number}: y\r\n")).collect();
    let many_fields = format!("host: x\r\n{}", fields.concat());
    vec![
        posted("card numbers below 120 levels", &nested(120, &card_numbers(3_000)), "400"),
        posted("card numbers below 14 levels", &nested(14, &card_numbers(3_700)), "422"),
        posted("1 1 1 …", &text(&"1 ".repeat(BODY_BYTES / 2)), "422"),
        posted("digits that begin card numbers", &text(&"3 ".repeat(BODY_BYTES / 2)), "422"),
        posted("levels alone", &"[".repeat(BODY_BYTES), "400"),
        posted("numbers of thousands of digits", &format!("{{\"a\":1{}}}", "0".repeat(BODY_BYTES)), "400"),
        posted("unknown members", &members(6_000, |number| format!("\"~{number:04}\":1")), "422"),
        posted("long names", &members(870, |number| format!("\"{NAME}{number:04}\":1")), "422"),
        posted("one name", &members(1, |_| format!("\"{}\":1", "~".repeat(BODY_BYTES))), "422"),
        posted("faults throughout", &faults(), "422"),
        headed("a head of many fields", &many_fields, "431"),
        headed("a head of many bytes", &format!("host: x\r\nx: {}\r\n", "y".repeat(100_000)), "431"),
        headed("no host", "", "400"),
    ]
}

/// Fifty requests for the largest response, sent in one write.
pub(super) fn pipelined() -> Vec<u8> {
    "GET /openapi.json HTTP/1.1\r\nhost: x\r\n\r\n".repeat(50).into_bytes()
}

fn post(key: &str, body: &str) -> Vec<u8> {
    assert!(body.len() <= BODY_BYTES_MAX, "{} bytes are refused unread", body.len());
    let length = body.len();
    let head = format!(
        "POST /v1/orders HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {key}\r\nidempotency-key: k\r\n\
         content-type: application/json\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n"
    );
    (head + body).into_bytes()
}

fn nested(levels: usize, inner: &str) -> String {
    format!("{}{inner}{}", format!("{{\"{NAME}\":").repeat(levels), "}".repeat(levels))
}

fn card_numbers(count: usize) -> String {
    format!("[{}1]", "4242424242424242,".repeat(count))
}

fn text(value: &str) -> String {
    format!("{{\"a\":\"{value}\"}}")
}

fn members(count: usize, member: impl Fn(usize) -> String) -> String {
    format!("{{{}}}", (0..count).map(member).collect::<Vec<_>>().join(","))
}

/// The most items an order may have, with invalid values and unknown members.
fn faults() -> String {
    let item = |_| {
        format!(
            "{{\"sku\":1,\"quantity\":\"x\",{}",
            &members(8, |number| format!("\"{number}{NAME:.60}\":[]"))[1..]
        )
    };
    let items: Vec<_> = (0..100).map(item).collect();
    format!("{{\"items\":[{}],\"currency\":1,\"customer\":[],\"shipping_address\":{{}}}}", items.join(","))
}
