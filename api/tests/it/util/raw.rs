//! Connections below HTTP clients, to misbehave on.

use std::{net::SocketAddr, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

/// Longest wait for the server's part of a test.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

/// A connection on which this text was sent.
pub(crate) async fn sent(address: SocketAddr, text: &str) -> TcpStream {
    let mut stream = TcpStream::connect(address).await.expect("connects");
    stream.write_all(text.as_bytes()).await.expect("sends");
    stream
}

/// All the server says until it closes the connection.
pub(crate) async fn until_closed(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    let read = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut bytes)).await;
    // A reset is a close as well.
    drop(read.expect("the server closes in time"));
    String::from_utf8_lossy(&bytes).into_owned()
}
