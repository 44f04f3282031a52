//! Settings of the operations console.

use std::net::SocketAddr;

use console::{
    ConsoleConfig,
    access::{AccessError, AccessToken, Role},
};
use secrecy::{ExposeSecret, SecretString};

use super::reader::Reader;

#[derive(Debug, Clone)]
pub(crate) struct ConsoleSettings {
    pub(crate) listen: SocketAddr,
    pub(crate) config: ConsoleConfig,
}

impl ConsoleSettings {
    pub(super) fn read(r: &mut Reader) -> Self {
        let mut tokens = Vec::new();
        for (name, text) in r.secret_texts("console", "tokens") {
            match token(&name, &text) {
                Ok(token) => tokens.push(token),
                Err(why) => r.fault("console", "tokens", &format!("of \"{name}\" {why}")),
            }
        }
        Self {
            listen: r.parsed("console", "listen", SocketAddr::from(([127, 0, 0, 1], 0))),
            config: ConsoleConfig {
                tokens,
                show_payloads: r.value("console", "show_payloads", false),
                https: r.value("console", "https", false),
            },
        }
    }
}

/// The token of a setting, `<role>:<token>`.
fn token(name: &str, text: &SecretString) -> Result<AccessToken, AccessError> {
    let (role, secret) = text.expose_secret().split_once(':').ok_or(AccessError::Role)?;
    AccessToken::new(name, role.parse::<Role>()?, &secret.into())
}
