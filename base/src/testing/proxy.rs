//! A TCP proxy between a client and a server, by which a test cuts, holds and restores connections.
//!
//! Guarantees: a cut connection stays cut, and no connection outlives the proxy. Does not inspect the bytes.
#![expect(clippy::expect_used, clippy::missing_panics_doc, reason = "test code: a panic is how a test fails")]

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::watch,
};

/// A proxy that forwards to `target` until it is dropped.
pub struct Proxy {
    /// The port it listens on, at 127.0.0.1.
    pub port: u16,
    cut: watch::Sender<u64>,
    /// Set while bytes from server to client are discarded.
    deaf: Arc<AtomicBool>,
    /// Set while bytes from server to client are kept back.
    held: watch::Sender<bool>,
    accepting: Arc<AtomicBool>,
    /// Connections forwarded so far.
    through: Arc<AtomicU64>,
    task: tokio::task::JoinHandle<()>,
}

impl Proxy {
    /// Starts a proxy that forwards all connections.
    pub async fn start(target: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("listens");
        let port = listener.local_addr().expect("an address").port();
        let (cut, deaf, accepting) = (watch::Sender::new(0), Arc::default(), Arc::new(AtomicBool::new(true)));
        let through = Arc::<AtomicU64>::default();
        let held = watch::Sender::new(false);
        let switches = Switches {
            cut: cut.clone(),
            deaf: Arc::clone(&deaf),
            held: held.clone(),
            accepting: Arc::clone(&accepting),
            through: Arc::clone(&through),
        };
        let task = tokio::spawn(accept(listener, target, switches));
        Self { port, cut, deaf, held, accepting, through, task }
    }

    /// Connections forwarded so far.
    pub fn through(&self) -> u64 {
        self.through.load(Ordering::SeqCst)
    }

    /// Ends all connections; new ones are forwarded.
    pub fn cut(&self) {
        self.cut.send_modify(|cuts| *cuts += 1);
    }

    /// Simulates an unreachable server: nothing passes in either direction until [`Proxy::restore`].
    pub fn sever(&self) {
        self.set_accepting(false);
        self.cut();
    }

    /// Ends [`Proxy::sever`].
    pub fn restore(&self) {
        self.set_accepting(true);
    }

    /// `url`, of the form `scheme://login@host:port/rest`, with the proxy's host and port.
    pub fn address(&self, url: &str) -> String {
        let (login, rest) = url.rsplit_once('@').expect("an address with a login");
        let (_, rest) = rest.split_once('/').expect("a path");
        format!("{login}@127.0.0.1:{}/{rest}", self.port)
    }

    /// A proxy for the server that `url` names.
    pub async fn to(url: &str) -> Self {
        let (_, rest) = url.rsplit_once('@').expect("an address with a login");
        let host = rest.split('/').next().expect("a host").to_owned();
        let mut found = tokio::net::lookup_host(host).await.expect("resolves");
        Self::start(found.next().expect("an address")).await
    }

    /// Sets whether bytes from server to client are discarded.
    pub fn set_deaf(&self, deaf: bool) {
        self.deaf.store(deaf, Ordering::SeqCst);
    }

    /// Sets whether bytes from server to client are kept back; they are forwarded afterwards.
    pub fn set_held(&self, held: bool) {
        self.held.send_replace(held);
    }

    /// Sets whether new connections are forwarded.
    pub fn set_accepting(&self, accepting: bool) {
        self.accepting.store(accepting, Ordering::SeqCst);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
        self.cut();
    }
}

struct Switches {
    cut: watch::Sender<u64>,
    deaf: Arc<AtomicBool>,
    held: watch::Sender<bool>,
    accepting: Arc<AtomicBool>,
    through: Arc<AtomicU64>,
}

async fn accept(listener: TcpListener, target: SocketAddr, switches: Switches) {
    while let Ok((client, _)) = listener.accept().await {
        // Subscribed before `accepting` is read, so that a cut right after the read is noticed.
        let mut cut = switches.cut.subscribe();
        if !switches.accepting.load(Ordering::SeqCst) {
            continue;
        }
        let Ok(server) = TcpStream::connect(target).await else { continue };
        switches.through.fetch_add(1, Ordering::SeqCst);
        let (deaf, held) = (Arc::clone(&switches.deaf), switches.held.subscribe());
        tokio::spawn(async move {
            let (from_client, to_client) = client.into_split();
            let (from_server, to_server) = server.into_split();
            let silent = Arc::new(AtomicBool::new(false));
            tokio::select! {
                () = pump(from_client, to_server, silent, watch::channel(false).1) => {}
                () = pump(from_server, to_client, deaf, held) => {}
                _ = cut.changed() => {}
            }
        });
    }
}

async fn pump(
    mut from: tokio::net::tcp::OwnedReadHalf,
    mut to: tokio::net::tcp::OwnedWriteHalf,
    swallow: Arc<AtomicBool>,
    mut held: watch::Receiver<bool>,
) {
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(count @ 1..) = from.read(&mut buffer).await {
        // An error means that nothing can hold the bytes any more.
        drop(held.wait_for(|held| !held).await);
        if !swallow.load(Ordering::SeqCst) && to.write_all(&buffer[..count]).await.is_err() {
            return;
        }
    }
}
