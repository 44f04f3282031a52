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

#[cfg(test)]
mod tests {
    use crate::config::Config;

    const TOKEN: &str = "canary-0123456789abcdef0123456789abcdef";

    fn with_tokens(tokens: &str) -> anyhow::Result<Config> {
        let set = [("ORDERWORKS_CONSOLE_TOKENS".to_owned(), tokens.to_owned())];
        Config::assemble(None, None, set.into_iter())
    }

    #[test]
    fn a_token_has_a_role_and_length_and_is_never_told() {
        let config = with_tokens(&format!("{{ ada = \"admin:{TOKEN}\" }}")).expect("valid");
        assert_eq!(config.console.config.tokens.len(), 1);
        let told = format!("{config:?}{}", toml::to_string(&config.shown).expect("toml"));
        assert!(!told.contains("canary"), "{told}");
        for (value, why) in [
            (format!("root:{TOKEN}"), "begins with no role"),
            (TOKEN.to_owned(), "begins with no role"),
            ("admin:canary".to_owned(), "is shorter"),
        ] {
            let error = with_tokens(&format!("{{ ada = \"{value}\" }}")).expect_err("invalid").to_string();
            assert!(error.contains("console.tokens of \"ada\"") && error.contains(why), "{error}");
            assert!(!error.contains("canary"), "{error}");
        }
    }
}
