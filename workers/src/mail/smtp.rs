//! Mail transport over SMTP, with a pool of connections.

use std::time::Duration;

use async_trait::async_trait;
use lettre::{
    AsyncSmtpTransport, AsyncTransport, Message, Tokio1Executor,
    transport::smtp::{
        Error, PoolConfig,
        authentication::Credentials,
        client::{Tls, TlsParameters},
    },
};
use secrecy::{ExposeSecret, SecretString};

use super::{error::MailError, kind::Mail, transport::MailTransport};

/// Longest wait for one reply of the server.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(10);

#[derive(Debug, Clone)]
pub struct SmtpConfig {
    /// Host name; certificates are checked against it.
    pub host: String,
    /// Port: usually 465 for TLS, 587 for STARTTLS.
    pub port: u16,
    pub security: SmtpSecurity,
    /// User and password, where the server requires them.
    pub credentials: Option<(String, SecretString)>,
    pub connections_max: u32,
}

/// How a connection to an SMTP server is protected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SmtpSecurity {
    /// TLS from the first byte.
    Tls,
    /// STARTTLS; the connection fails where the server does not offer it.
    StartTls,
    /// No encryption; for a server on the same machine only.
    Plain,
}

pub(super) struct SmtpTransport(AsyncSmtpTransport<Tokio1Executor>);

impl SmtpTransport {
    pub(super) fn new(config: &SmtpConfig) -> Result<Self, Error> {
        let tls = match config.security {
            SmtpSecurity::Tls => Tls::Wrapper(TlsParameters::new(config.host.clone())?),
            SmtpSecurity::StartTls => Tls::Required(TlsParameters::new(config.host.clone())?),
            SmtpSecurity::Plain => Tls::None,
        };
        let mut builder = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(&config.host)
            .port(config.port)
            .tls(tls)
            .timeout(Some(COMMAND_TIMEOUT))
            .pool_config(PoolConfig::new().max_size(config.connections_max));
        if let Some((user, password)) = &config.credentials {
            let password = password.expose_secret().to_owned();
            builder = builder.credentials(Credentials::new(user.clone(), password));
        }
        Ok(Self(builder.build()))
    }
}

#[async_trait]
impl MailTransport for SmtpTransport {
    async fn send(&self, _: &Mail<'_>, message: Message) -> Result<(), MailError> {
        self.0.send(message).await.map(drop).map_err(|error| classify(&error))
    }
}

/// Maps reply codes (RFC 5321, section 4.2). Reply texts are left out: they often repeat addresses.
fn classify(error: &Error) -> MailError {
    let status = error.status().map(u16::from);
    match status {
        Some(status @ (530 | 534 | 535 | 538)) => MailError::Authentication { status },
        // About the session rather than this mail: another connection or a later time may succeed.
        Some(status @ (500 | 502 | 503 | 504 | 521)) => MailError::Busy { status },
        Some(status) if error.is_permanent() => MailError::Refused { status },
        Some(status) => MailError::Busy { status },
        None if error.is_timeout() => MailError::Connection("smtp_timeout"),
        None if error.is_tls() => MailError::Connection("smtp_tls"),
        // The only sign that the library gives of it.
        None if error.is_client() && error.to_string().contains("SMTPUTF8") => MailError::SmtpUtf8,
        None if error.is_client() => MailError::Connection("smtp_client"),
        None => MailError::Connection("smtp_connection"),
    }
}
