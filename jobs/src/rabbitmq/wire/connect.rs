//! Connections to the broker: named, and never recovered by the client library.
//!
//! The library's recovery restores connections but not channels that the server closed, and when it gives up, that
//! cannot be told from silence; so each user of a connection here watches it and opens a new one.

use std::{sync::Once, time::Duration};

use lapin::{
    Channel, Connection, ConnectionProperties, DefaultConnectionBuilder, tcp::OwnedTLSConfig, uri::AMQPUri,
};
use tokio::sync::Mutex;

use super::fault::{self, ACCESS_REFUSED, ENGINE, NOT_ALLOWED, answer, broken, unavailable};
use crate::engine::EngineError;

/// Longest wait for a connection, TLS and login included.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Heartbeat interval in seconds; a dead peer is noticed after two. The default of 60 is too slow for job leases.
const HEARTBEAT_SECONDS: u16 = 10;

/// Address of a broker. Not stored: the URL contains a password.
#[derive(Clone, Copy)]
pub struct RabbitServer<'a> {
    /// `amqp[s]://user:password@host[:port]/vhost`, the virtual host percent-encoded (`%2f` for `/`).
    pub url: &'a str,
    /// Certificate authorities to trust beside the system's, as PEM; for `amqps`.
    pub ca_pem: Option<&'a str>,
}

impl<'a> RabbitServer<'a> {
    /// A server at this URL, with the system's certificate authorities.
    pub fn at(url: &'a str) -> Self {
        Self { url, ca_pem: None }
    }
}

/// Parsed address and login of the broker. `Debug` shows no password.
#[derive(Clone)]
pub(crate) struct Address {
    uri: AMQPUri,
    ca_pem: Option<String>,
}

impl std::fmt::Debug for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let authority = &self.uri.authority;
        write!(f, "{}://{}:{}/{}", self.uri.scheme, authority.host, authority.port, self.uri.vhost)
    }
}

impl Address {
    pub(crate) fn parse(server: RabbitServer<'_>) -> Result<Self, EngineError> {
        // The parser's message may quote the URL, and with it the password.
        let mut uri: AMQPUri = server.url.parse().map_err(|_| EngineError::Denied {
            engine: ENGINE,
            detail: "the address is not of the form amqp[s]://user:password@host[:port]/vhost".to_owned(),
        })?;
        uri.query.heartbeat.get_or_insert(HEARTBEAT_SECONDS);
        Ok(Self { uri, ca_pem: server.ca_pem.map(str::to_owned) })
    }

    /// Connects with a name that the broker's tools show.
    pub(crate) async fn connect(&self, name: &str) -> Result<Connection, EngineError> {
        choose_cryptography();
        let properties = ConnectionProperties::default().with_connection_name(name.into());
        let trust = OwnedTLSConfig { cert_chain: self.ca_pem.clone(), ..OwnedTLSConfig::default() };
        let builder = DefaultConnectionBuilder::new().map_err(|error| broken(&error))?;
        let builder = builder.with_uri(self.uri.clone()).with_properties(properties).with_tls_config(trust);
        match tokio::time::timeout(CONNECT_TIMEOUT, builder.connect()).await {
            Ok(Ok(connection)) => Ok(connection),
            Ok(Err(error)) => Err(self.refusal(&error)),
            Err(_) => Err(unavailable(format!("connection to {self:?} timed out"))),
        }
    }

    fn refusal(&self, error: &lapin::Error) -> EngineError {
        let text = error.to_string();
        match fault::code(error) {
            Some(code @ (ACCESS_REFUSED | NOT_ALLOWED)) if passes(code, &text) => {
                unavailable(format!("{self:?} cannot be used now: {text}"))
            }
            Some(ACCESS_REFUSED) => EngineError::Denied {
                engine: ENGINE,
                detail: format!("{self:?} refuses user `{}`: {text}", self.uri.authority.userinfo.username),
            },
            Some(NOT_ALLOWED) => {
                EngineError::Denied { engine: ENGINE, detail: format!("{self:?} may not be used: {text}") }
            }
            _ => broken(error),
        }
    }
}

/// Whether a refused connection may be accepted later without a change of its address or login. The texts are those of
/// RabbitMQ's `rabbit_reader` and `rabbit_access_control`: a limit of connections, in which those of a restarted
/// process count for a while, and a failed authorization backend. Of 403, only a refused login is certain.
fn passes(code: u16, text: &str) -> bool {
    if code == ACCESS_REFUSED {
        !text.contains("Login was refused")
    } else {
        ["connection limit", "returned an error"].into_iter().any(|reason| text.contains(reason))
    }
}

/// Installs a rustls provider: with several in one process rustls requires a default. An earlier choice stays.
fn choose_cryptography() {
    static CHOSEN: Once = Once::new();
    CHOSEN.call_once(|| drop(rustls::crypto::ring::default_provider().install_default()));
}

/// The connection for administration and for emptying dead queues, opened when first needed. Separate from the
/// publisher's: an alarm of the broker blocks connections that publish, and `inspect` is needed most then.
pub(crate) struct AdminConnection {
    address: Address,
    name: String,
    connection: Mutex<Option<Connection>>,
    /// A channel that its task has given back.
    spare: parking_lot::Mutex<Option<Channel>>,
}

impl AdminConnection {
    pub(crate) fn new(address: Address, name: String) -> Self {
        Self { address, name, connection: Mutex::new(None), spare: parking_lot::Mutex::default() }
    }

    /// Opens a channel for one task: an error closes that channel only.
    pub(crate) async fn channel(&self) -> Result<Channel, EngineError> {
        let mut connection = self.connection.lock().await;
        if let Some(live) = connection.as_ref().filter(|c| c.status().connected())
            && let Ok(channel) = answer(live.create_channel()).await
        {
            return Ok(channel);
        }
        let fresh = connection.insert(self.address.connect(&self.name).await?);
        answer(fresh.create_channel()).await
    }

    /// The channel that was given back last, or a new one: a count that is asked for hundreds of times a second would
    /// open as many channels.
    pub(crate) async fn spare_channel(&self) -> Result<Channel, EngineError> {
        let spare = self.spare.lock().take().filter(|channel| channel.status().connected());
        match spare {
            Some(channel) => Ok(channel),
            None => self.channel().await,
        }
    }

    /// Keeps a channel for [`Self::spare_channel`], once every answer on it has come.
    pub(crate) fn give_back(&self, channel: Channel) {
        *self.spare.lock() = Some(channel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_wrong_login_and_a_wrong_virtual_host_are_final() {
        let login = "ACCESS_REFUSED - Login was refused using authentication mechanism PLAIN. For details see the \
                     broker logfile.";
        let backend = "ACCESS_REFUSED - access to vhost 'shop' refused for user 'shop', backend \
                       rabbit_auth_backend_http returned an error: timeout";
        assert!(!passes(ACCESS_REFUSED, login));
        assert!(passes(ACCESS_REFUSED, backend));
        let vhost = backend.replace("ACCESS_REFUSED", "NOT_ALLOWED");
        for (text, later) in [
            ("NOT_ALLOWED - vhost shop not found", false),
            ("NOT_ALLOWED - access to vhost 'shop' refused for user 'shop'", false),
            (
                "NOT_ALLOWED - access to vhost 'shop' refused for user 'shop': connection limit (9) is reached",
                true,
            ),
            ("NOT_ALLOWED - connection refused for user 'shop': user connection limit (9) is reached", true),
            (vhost.as_str(), true),
        ] {
            assert_eq!(passes(NOT_ALLOWED, text), later, "{text}");
        }
    }
}
