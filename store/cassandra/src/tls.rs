//! TLS tunnels to the nodes: rustls with ring, by a loopback listener for each node, to which the driver connects.
//!
//! The driver supports TLS itself, but only with rustls as its defaults build it (aws-lc), or with OpenSSL; neither is
//! shipped here. A listener forwards to its own node over TLS, after it has verified the node's certificate against the
//! configured authorities and the address by which the node is reached. It lives as long as the session.
//!
//! Bytes on the machine's loopback are in the clear, the login included: a process that may record them may read the
//! memory of this process as well. Another process of the machine can use a listener to reach the node, as it could
//! directly; it still has to log in, and a silent connection is closed. Client certificates are not supported, as a
//! listener would lend their identity to such processes.

use std::{
    collections::HashMap,
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, ServerName, pem::PemObject},
};
use scylla::{
    errors::TranslationError,
    policies::address_translator::{AddressTranslator, UntranslatedPeer},
};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::{Mutex, Semaphore},
    task::JoinSet,
    time::timeout,
};
use tokio_rustls::TlsConnector;

use super::config::{CassandraConfigError, CassandraTls};

/// Connections through one listener; the driver opens a handful.
const CONNECTIONS_MAX: usize = 64;
/// Longest wait for each of the driver's first byte, the TCP connection and the TLS handshake.
const SETUP_MAX: Duration = Duration::from_secs(10);
/// Longest silence of either side; the driver pings each connection twice a minute.
const IDLE_MAX: Duration = Duration::from_mins(3);
const BUFFER_BYTES: usize = 16 * 1024;

/// The tunnels to all nodes.
pub(super) struct Tunnels {
    connector: TlsConnector,
    /// The port of all nodes: the cluster announces addresses without ports.
    port: u16,
    open: Mutex<Open>,
    /// The last TLS error, as the driver sees only a closed connection.
    trouble: Arc<Trouble>,
}

type Trouble = std::sync::Mutex<Option<io::Error>>;

#[derive(Default)]
struct Open {
    by_node: HashMap<(String, u16), SocketAddr>,
    /// Aborted when the session ends.
    tasks: JoinSet<()>,
}

impl Tunnels {
    /// `nodes` are the contact nodes, `host:port`; nodes discovered later are reached at the first one's port.
    pub(super) fn new(tls: &CassandraTls, nodes: &[String]) -> Result<Self, CassandraConfigError> {
        let port = nodes.iter().find_map(|node| split(node)).map(|(_, port)| port);
        let port = port.ok_or_else(|| wrong("nodes", "with TLS each needs a port: host:port".to_owned()))?;
        let connector = TlsConnector::from(Arc::new(client_config(tls)?));
        Ok(Self { connector, port, open: Mutex::default(), trouble: Arc::default() })
    }

    /// The error of the last failed connection; returned once.
    pub(super) fn trouble(&self) -> Option<io::Error> {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    pub(super) async fn to_contact(&self, node: &str) -> io::Result<SocketAddr> {
        let (host, port) = split(node).ok_or(io::ErrorKind::InvalidInput)?;
        self.to(host, port).await
    }

    async fn to(&self, host: &str, port: u16) -> io::Result<SocketAddr> {
        let mut open = self.open.lock().await;
        let node = (host.to_owned(), port);
        if let Some(at) = open.by_node.get(&node) {
            return Ok(*at);
        }
        let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let at = listener.local_addr()?;
        open.tasks.spawn(serve(
            listener,
            self.connector.clone(),
            node.clone(),
            name,
            Arc::clone(&self.trouble),
        ));
        open.by_node.insert(node, at);
        Ok(at)
    }
}

#[async_trait]
impl AddressTranslator for Tunnels {
    async fn translate_address(&self, peer: &UntranslatedPeer) -> Result<SocketAddr, TranslationError> {
        let host = peer.untranslated_address().ip().to_string();
        self.to(&host, self.port).await.map_err(|error| TranslationError::IoError(Arc::new(error)))
    }
}

async fn serve(
    listener: TcpListener,
    connector: TlsConnector,
    node: (String, u16),
    name: ServerName<'static>,
    trouble: Arc<Trouble>,
) {
    let room = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let mut connections = JoinSet::new();
    // Neither the semaphore nor the listener is ever closed while this runs.
    while let Ok(place) = Arc::clone(&room).acquire_owned().await {
        let Ok((mut inner, _)) = listener.accept().await else { continue };
        while connections.try_join_next().is_some() {}
        let (connector, node, name) = (connector.clone(), node.clone(), name.clone());
        let trouble = Arc::clone(&trouble);
        connections.spawn(async move {
            // Recorded before the driver's end is closed: the session reads it as soon as it sees that.
            if let Err(error) = pass(&mut inner, connector, &node, name, SETUP_MAX).await {
                tracing::warn!(node = node.0, %error, "TLS connection to Cassandra node failed");
                *trouble.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
            }
            drop(place);
        });
    }
}

async fn pass(
    inner: &mut TcpStream,
    connector: TlsConnector,
    (host, port): &(String, u16),
    name: ServerName<'static>,
    setup_max: Duration,
) -> io::Result<()> {
    // The driver sends first, and at once. A silent local process is no reason to connect to the node.
    if !matches!(timeout(setup_max, inner.peek(&mut [0])).await, Ok(Ok(1..))) {
        return Ok(());
    }
    let outer = timeout(setup_max, TcpStream::connect((host.as_str(), *port))).await??;
    inner.set_nodelay(true)?;
    outer.set_nodelay(true)?;
    let outer = timeout(setup_max, connector.connect(name, outer)).await??;
    let (inner_read, inner_write) = inner.split();
    let (outer_read, outer_write) = tokio::io::split(outer);
    // The driver notices and reports the end of an established connection. The end of one direction ends both.
    tokio::select! {
        () = forward(inner_read, outer_write, IDLE_MAX) => {}
        () = forward(outer_read, inner_write, IDLE_MAX) => {}
    }
    Ok(())
}

/// Forwards bytes until one side ends, fails, or is silent for `idle_max`.
async fn forward(mut from: impl AsyncRead + Unpin, mut to: impl AsyncWrite + Unpin, idle_max: Duration) {
    let mut buffer = vec![0; BUFFER_BYTES];
    while let Ok(Ok(count @ 1..)) = timeout(idle_max, from.read(&mut buffer)).await {
        let Some(bytes) = buffer.get(..count) else { return };
        let written = async {
            to.write_all(bytes).await?;
            to.flush().await
        };
        if !matches!(timeout(idle_max, written).await, Ok(Ok(()))) {
            return;
        }
    }
}

fn client_config(tls: &CassandraTls) -> Result<ClientConfig, CassandraConfigError> {
    let unusable = |why: String| wrong("tls.ca_file", format!("{}: {why}", tls.ca_file.display()));
    let mut roots = RootCertStore::empty();
    let certificates =
        CertificateDer::pem_file_iter(&tls.ca_file).map_err(|error| unusable(error.to_string()))?;
    for certificate in certificates {
        let certificate = certificate.map_err(|error| unusable(error.to_string()))?;
        roots.add(certificate).map_err(|error| unusable(error.to_string()))?;
    }
    if roots.is_empty() {
        return Err(unusable("holds no certificate".to_owned()));
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| unusable(error.to_string()))?;
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}

/// `host:port`, an IPv6 host in brackets.
fn split(node: &str) -> Option<(&str, u16)> {
    let (host, port) = node.rsplit_once(':')?;
    Some((host.trim_start_matches('[').trim_end_matches(']'), port.parse().ok()?))
}

fn wrong(setting: &'static str, why: String) -> CassandraConfigError {
    CassandraConfigError { setting, why }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHORT: Duration = Duration::from_millis(50);

    /// A node that accepts and never sends a byte, and a driver's connection to the tunnel.
    async fn silent() -> (TcpListener, (String, u16), TcpStream, TcpStream) {
        let node = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port");
        let at = ("127.0.0.1".to_owned(), node.local_addr().expect("an address").port());
        let ours = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port");
        let driver = TcpStream::connect(ours.local_addr().expect("an address")).await.expect("connects");
        let (inner, _) = ours.accept().await.expect("accepts");
        (node, at, driver, inner)
    }

    fn connector() -> TlsConnector {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let builder = builder.expect("versions").with_root_certificates(RootCertStore::empty());
        TlsConnector::from(Arc::new(builder.with_no_client_auth()))
    }

    #[tokio::test]
    async fn handshake_without_an_answer_ends() {
        let (_node, at, mut driver, mut inner) = silent().await;
        driver.write_all(b"x").await.expect("writes");
        let name = ServerName::try_from("127.0.0.1").expect("a name");
        let error = pass(&mut inner, connector(), &at, name, SHORT).await.expect_err("ends");
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }

    #[tokio::test]
    async fn silent_local_process_loses_its_place_and_reaches_no_node() {
        let (node, at, _driver, mut inner) = silent().await;
        let name = ServerName::try_from("127.0.0.1").expect("a name");
        pass(&mut inner, connector(), &at, name, SHORT).await.expect("ends");
        assert!(timeout(SHORT, node.accept()).await.is_err(), "the node was left alone");
    }

    #[tokio::test]
    async fn silent_connection_ends() {
        let ((from, _quiet), (to, _sink)) = (tokio::io::duplex(64), tokio::io::duplex(64));
        forward(from, to, SHORT).await;
    }
}
