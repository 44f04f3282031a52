//! Receiver that answers each connection with the same bytes and returns the requests it read.

use http::{HeaderMap, HeaderName, HeaderValue};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::mpsc,
};

/// Longest request that a test sends.
const REQUEST_BYTES_MAX: usize = 64 * 1024;

pub(crate) struct Received {
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
}

pub(crate) struct Receiver {
    pub(crate) url: String,
    received: mpsc::UnboundedReceiver<Received>,
}

impl Receiver {
    /// Starts a receiver whose answers are these bytes; with none it closes the connection.
    pub(crate) async fn start(answer: &'static [u8]) -> Self {
        let (sender, received) = mpsc::unbounded_channel();
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}/hook", listener.local_addr().expect("bound"));
        tokio::spawn(async move {
            while let Ok((mut connection, _)) = listener.accept().await {
                let received = read(&mut connection).await;
                // A sender that has read enough may close first.
                drop(connection.write_all(answer).await);
                if sender.send(received).is_err() {
                    break;
                }
            }
        });
        Self { url, received }
    }

    /// A request that was answered, or none where none came before.
    pub(crate) fn next(&mut self) -> Option<Received> {
        self.received.try_recv().ok()
    }

    pub(crate) async fn received(&mut self) -> Received {
        self.received.recv().await.expect("the receiver runs")
    }
}

/// One request with a `content-length`.
async fn read(connection: &mut TcpStream) -> Received {
    let mut bytes = Vec::new();
    let head = loop {
        if let Some(at) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            break at + 4;
        }
        assert!(bytes.len() < REQUEST_BYTES_MAX, "a request head ends");
        assert_ne!(connection.read_buf(&mut bytes).await.expect("reads"), 0, "a whole request");
    };
    let text = std::str::from_utf8(&bytes[..head]).expect("text");
    let headers: HeaderMap = text.lines().filter_map(|line| line.split_once(": ")).map(header).collect();
    let length: usize = headers["content-length"].to_str().expect("text").parse().expect("a number");
    while bytes.len() < head + length {
        assert_ne!(connection.read_buf(&mut bytes).await.expect("reads"), 0, "a whole body");
    }
    Received { headers, body: bytes.split_off(head) }
}

fn header((name, value): (&str, &str)) -> (HeaderName, HeaderValue) {
    (name.parse().expect("a name"), value.parse().expect("a value"))
}
