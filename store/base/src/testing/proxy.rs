//! A TCP line between a client and a server that a test can cut, hold and mend.
//!
//! Guarantees: what was cut stays cut, and no connection outlives the proxy. Does not look into what passes.
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

/// Forwards to `target` until dropped.
pub struct Proxy {
    /// Where it listens, on 127.0.0.1.
    pub port: u16,
    cut: watch::Sender<u64>,
    /// From server to client nothing passes.
    deaf: Arc<AtomicBool>,
    accepting: Arc<AtomicBool>,
    /// Connections let through so far.
    through: Arc<AtomicU64>,
    task: tokio::task::JoinHandle<()>,
}

impl Proxy {
    /// Lets everything through to begin with.
    pub async fn start(target: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("listens");
        let port = listener.local_addr().expect("an address").port();
        let (cut, deaf, accepting) = (watch::Sender::new(0), Arc::default(), Arc::new(AtomicBool::new(true)));
        let through = Arc::<AtomicU64>::default();
        let switches = Switches {
            cut: cut.clone(),
            deaf: Arc::clone(&deaf),
            accepting: Arc::clone(&accepting),
            through: Arc::clone(&through),
        };
        let task = tokio::spawn(accept(listener, target, switches));
        Self { port, cut, deaf, accepting, through, task }
    }

    /// How many connections it has let through.
    pub fn through(&self) -> u64 {
        self.through.load(Ordering::SeqCst)
    }

    /// Ends all connections; new ones are let through.
    pub fn cut(&self) {
        self.cut.send_modify(|cuts| *cuts += 1);
    }

    /// As if the server were gone: nothing passes any more, in either direction, until [`Proxy::mend`].
    pub fn sever(&self) {
        self.set_accepting(false);
        self.cut();
    }

    /// As if the server were back.
    pub fn restore(&self) {
        self.set_accepting(true);
    }

    /// An address of the form `scheme://login@host:port/rest` by this line.
    pub fn address(&self, url: &str) -> String {
        let (login, rest) = url.rsplit_once('@').expect("an address with a login");
        let (_, rest) = rest.split_once('/').expect("a path");
        format!("{login}@127.0.0.1:{}/{rest}", self.port)
    }

    /// A line to the server that such an address names.
    pub async fn to(url: &str) -> Self {
        let (_, rest) = url.rsplit_once('@').expect("an address with a login");
        let host = rest.split('/').next().expect("a host").to_owned();
        let mut found = tokio::net::lookup_host(host).await.expect("resolves");
        Self::start(found.next().expect("an address")).await
    }

    /// Swallows what the server says from now on, or no longer.
    pub fn set_deaf(&self, deaf: bool) {
        self.deaf.store(deaf, Ordering::SeqCst);
    }

    /// Lets no new connection through, or lets them again.
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
    accepting: Arc<AtomicBool>,
    through: Arc<AtomicU64>,
}

async fn accept(listener: TcpListener, target: SocketAddr, switches: Switches) {
    while let Ok((client, _)) = listener.accept().await {
        // Before looking, so that a cut right after the look is seen.
        let mut cut = switches.cut.subscribe();
        if !switches.accepting.load(Ordering::SeqCst) {
            continue;
        }
        let Ok(server) = TcpStream::connect(target).await else { continue };
        switches.through.fetch_add(1, Ordering::SeqCst);
        let deaf = Arc::clone(&switches.deaf);
        tokio::spawn(async move {
            let (from_client, to_client) = client.into_split();
            let (from_server, to_server) = server.into_split();
            let silent = Arc::new(AtomicBool::new(false));
            tokio::select! {
                () = pump(from_client, to_server, silent) => {}
                () = pump(from_server, to_client, deaf) => {}
                _ = cut.changed() => {}
            }
        });
    }
}

async fn pump(
    mut from: tokio::net::tcp::OwnedReadHalf,
    mut to: tokio::net::tcp::OwnedWriteHalf,
    swallow: Arc<AtomicBool>,
) {
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(count @ 1..) = from.read(&mut buffer).await {
        if !swallow.load(Ordering::SeqCst) && to.write_all(&buffer[..count]).await.is_err() {
            return;
        }
    }
}
