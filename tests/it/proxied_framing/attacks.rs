//! Requests whose end two readers may see at different bytes, each with another request hidden in it.
//!
//! The forms are those of RFC 9112, sections 5.2, 6.1 and 6.3, and of weaknesses that proxies had.

/// Where the hidden request is, as RFC 9112 counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Hidden {
    /// Behind the request, or nowhere: the head is invalid or the connection must be closed. A reader that goes on sees
    /// a further request of the same client.
    Behind,
    /// In the body, or in what must be refused: it is a request to no correct reader.
    Within,
    /// In the body of a valid request, after which the connection goes on.
    Valid,
}

/// An attack. In its texts `HIDDEN` stands for the hidden request, `HEX` for its length as that of a chunk, `LENGTH`
/// for the length of the whole body, `SHORT` for the length up to the hidden request.
pub(super) struct Attack {
    pub(super) name: &'static str,
    pub(super) hidden: Hidden,
    version: &'static str,
    lines: &'static str,
    body: &'static str,
}

impl Attack {
    /// The bytes of the attack; `carrier` is its request line without version, and its harmless header lines.
    pub(super) fn text(&self, carrier: (&str, &str), hidden: &str) -> String {
        let (target, harmless) = carrier;
        let before = self.body.split("HIDDEN").next().unwrap_or_default();
        let filled =
            |text: &str| text.replace("HEX", &format!("{:x}", hidden.len())).replace("HIDDEN", hidden);
        let body = filled(self.body);
        let lines = self.lines.replace("LENGTH", &body.len().to_string());
        let lines =
            lines.replace("SHORT", &filled(before).len().to_string()).replace("LONG", &"a".repeat(256));
        format!("{target} HTTP/{}\r\nhost: x\r\n{harmless}\r\n{lines}\r\n\r\n{body}", self.version)
    }
}

/// The hidden request behind the last chunk.
const AFTER: &str = "0\r\n\r\nHIDDEN";
/// The hidden request as the data of a chunk.
const CHUNK: &str = "HEX\r\nHIDDEN\r\n0\r\n\r\n";
const PLAIN: &str = "HIDDEN";

const CHUNKED: &str = "transfer-encoding: chunked";

pub(super) fn all() -> Vec<Attack> {
    let of = |hidden, rows: &[(&'static str, &'static str, &'static str)]| {
        let attack = |&(name, lines, body)| Attack { name, hidden, version: "1.1", lines, body };
        rows.iter().map(attack).collect::<Vec<_>>()
    };
    let mut all = of(Hidden::Behind, &TWO_LENGTHS);
    all.extend(of(Hidden::Behind, &STRANGE_CODINGS));
    all.extend(of(Hidden::Behind, &UNCLEAR));
    all.extend(of(Hidden::Within, &REFUSED));
    all.extend(of(Hidden::Within, &CHUNKS));
    all.extend(of(Hidden::Valid, &VALID));
    let (lines, body) = TWO_LENGTHS.map(|(_, lines, body)| (lines, body))[0];
    all.push(Attack { name: "HTTP/1.0 in chunks", hidden: Hidden::Behind, version: "1.0", lines, body });
    all
}

/// CL.TE: a reader that counts by `Content-Length` takes the hidden request for the body.
const TWO_LENGTHS: [(&str, &str, &str); 3] = [
    ("CL.TE", "content-length: LENGTH\r\ntransfer-encoding: chunked", AFTER),
    ("CL.TE, the other order", "transfer-encoding: chunked\r\ncontent-length: LENGTH", AFTER),
    ("CL.TE, capitals", "Content-Length: LENGTH\r\nTransfer-Encoding: CHUNKED", AFTER),
];

/// TE.TE: a coding that one reader knows and the other does not.
const STRANGE_CODINGS: [(&str, &str, &str); 12] = [
    ("another coding", "transfer-encoding: xchunked\r\ncontent-length: LENGTH", AFTER),
    ("chunked first", "transfer-encoding: chunked, identity\r\ncontent-length: LENGTH", AFTER),
    ("chunked last", "transfer-encoding: identity, chunked\r\ncontent-length: LENGTH", AFTER),
    ("chunked twice", "transfer-encoding: chunked, chunked\r\ncontent-length: LENGTH", AFTER),
    (
        "two codings",
        "transfer-encoding: chunked\r\ntransfer-encoding: identity\r\ncontent-length: LENGTH",
        AFTER,
    ),
    ("a blank before the colon", "transfer-encoding : chunked\r\ncontent-length: LENGTH", AFTER),
    ("a vertical tab", "transfer-encoding: \u{b}chunked\r\ncontent-length: LENGTH", AFTER),
    ("quotes", "transfer-encoding: \"chunked\"\r\ncontent-length: LENGTH", AFTER),
    ("a folded coding", "transfer-encoding:\r\n chunked\r\ncontent-length: LENGTH", AFTER),
    ("a coding folded away", "content-length: LENGTH\r\nx-a: b\r\n transfer-encoding: chunked", AFTER),
    ("a line feed alone", "content-length: LENGTH\r\nx-a: b\ntransfer-encoding: chunked", AFTER),
    ("a carriage return alone", "content-length: LENGTH\r\nx-a: b\rtransfer-encoding: chunked", AFTER),
];

/// Heads that a reader may take for one without a body.
const UNCLEAR: [(&str, &str, &str); 8] = [
    ("a length folded away", "x-a: b\r\n content-length: LENGTH", PLAIN),
    ("an empty length", "content-length:", PLAIN),
    ("a length that overflows", "content-length: 18446744073709551616", PLAIN),
    ("an empty name", "x-a: b\r\n: c\r\ncontent-length: 0", PLAIN),
    ("trailer fields", CHUNKED, "2\r\n{}\r\n0\r\ncontent-length: 5\r\ntransfer-encoding: x\r\n\r\nHIDDEN"),
    ("a chunk without an end", CHUNKED, "2\r\n{}0\r\n\r\nHIDDEN"),
    (
        "HTTP/2",
        "connection: upgrade, http2-settings\r\nupgrade: h2c\r\nhttp2-settings: AAMAAABkAAQAAP__",
        PLAIN,
    ),
    (
        "a web socket of an unknown version",
        "connection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 777\r\n\
         sec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==",
        PLAIN,
    ),
];

/// CL.CL and lengths that are none: nothing may be read behind such a head.
const REFUSED: [(&str, &str, &str); 7] = [
    ("CL.CL", "content-length: 0\r\ncontent-length: LENGTH", PLAIN),
    ("CL.CL, the other order", "content-length: LENGTH\r\ncontent-length: 0", PLAIN),
    ("two lengths in a list", "content-length: 0, LENGTH", PLAIN),
    ("a signed length", "content-length: +LENGTH", PLAIN),
    ("a length in hexadecimal", "content-length: 0xff", PLAIN),
    ("a folded length", "content-length:\r\n LENGTH", PLAIN),
    ("a long name that begins as a length", "content-length0LONG:\r\ncontent-length: LENGTH", PLAIN),
];

/// TE.CL, and chunks whose lines two readers may end at different bytes.
const CHUNKS: [(&str, &str, &str); 5] = [
    ("TE.CL", "content-length: SHORT\r\ntransfer-encoding: chunked", CHUNK),
    ("TE.CL, the other order", "transfer-encoding: chunked\r\ncontent-length: SHORT", CHUNK),
    ("TE.0", "content-length: 0\r\ntransfer-encoding: chunked", CHUNK),
    ("an extension with a line feed alone", CHUNKED, "HEX;a\nHIDDEN\r\n0\r\n\r\n"),
    ("a chunk that overflows", CHUNKED, "10000000000000000\r\nHIDDEN\r\n0\r\n\r\n"),
];

const VALID: [(&str, &str, &str); 4] = [
    ("a body", "content-length: LENGTH", PLAIN),
    ("a body in a chunk", CHUNKED, CHUNK),
    ("a chunk with an extension", CHUNKED, "HEX;a=\"b\"\r\nHIDDEN\r\n0\r\n\r\n"),
    ("a length named as of this connection", "connection: content-length\r\ncontent-length: LENGTH", PLAIN),
];
