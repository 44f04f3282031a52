//! Raw connections for requests that an HTTP client would not send.

use std::{net::SocketAddr, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

/// Longest wait for the server.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

/// A connection on which this text was sent.
pub(crate) async fn sent(address: SocketAddr, text: &str) -> TcpStream {
    let mut stream = TcpStream::connect(address).await.expect("connects");
    stream.write_all(text.as_bytes()).await.expect("sends");
    stream
}

/// All bytes the server sends until it closes the connection.
pub(crate) async fn until_closed(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    let read = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut bytes)).await;
    // A reset counts as a close.
    drop(read.expect("the server closes in time"));
    String::from_utf8_lossy(&bytes).into_owned()
}
