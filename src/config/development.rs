//! Development settings: what is in force for trying only, and must not be where roles run in processes of their own.

use secrecy::ExposeSecret;
use url::Url;

use super::{Config, MailTransport, PaymentsEngine, PlainHosts, ProviderKind, QueueEngine};
use crate::seed::DemoKeys;

/// Host of Stripe's API; another one is a stand-in.
const STRIPE: &str = "api.stripe.com";
/// Domain of the sender of the examples; RFC 2606 reserves it.
const EXAMPLE_SENDER: &str = "@orderworks.test";

impl Config {
    /// Each development setting in force, and what it means.
    pub(crate) fn development_settings(&self) -> Vec<(&'static str, &'static str)> {
        let is_stripe = self.payments.provider == ProviderKind::Stripe;
        let stripe_host = self.payments.stripe_url.as_ref().and_then(Url::host_str);
        let has_one_copy = match &self.engines.payments {
            PaymentsEngine::Cassandra(cassandra) => cassandra.replication.values().any(|copies| *copies == 1),
            PaymentsEngine::Sqlite { .. } => false,
        };
        let candidates = [
            (
                self.api.webhook_urls.allow_loopback,
                "webhooks.allow_loopback",
                "merchants can reach services of this machine",
            ),
            (!is_stripe, "payments.provider", "the sandbox moves no money"),
            (is_stripe && stripe_host != Some(STRIPE), "payments.stripe_url", "is not the address of Stripe"),
            (
                self.mail.transport == MailTransport::File,
                "mail.transport",
                "mails are written to files, not sent",
            ),
            (self.has_plain_relay(), "mail.smtp_url", "mails leave this machine without TLS"),
            (self.mail.from.contains(EXAMPLE_SENDER), "mail.from", "is the sender of the examples"),
            (has_one_copy, "cassandra.replication", "payments have a single copy"),
            (
                matches!(self.engines.queue, QueueEngine::Sqlite { .. }),
                "engines.queue",
                "no other process can run the jobs of a file",
            ),
            (DemoKeys::file(&self.folder).exists(), "demo shop", "its keys are in the data folder"),
        ];
        candidates.into_iter().filter(|(is_set, ..)| *is_set).map(|(_, name, why)| (name, why)).collect()
    }

    fn has_plain_relay(&self) -> bool {
        let Ok(url) = self.mail.smtp_url.expose_secret().parse::<Url>() else { return false };
        let is_plain = url.scheme() == "smtp" && url.query() != Some("tls=required");
        is_plain && url.host_str().is_some_and(|host| !PlainHosts::default().allow(host))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PRODUCTION: [(&str, &str); 8] = [
        ("ENGINES_QUEUE", "rabbitmq"),
        ("RABBITMQ_URL", "amqps://u:p@broker.example/%2f"),
        ("PAYMENTS_PROVIDER", "stripe"),
        ("PAYMENTS_STRIPE_KEY", "rk_live_x"),
        ("MAIL_TRANSPORT", "smtp"),
        ("MAIL_SMTP_URL", "smtps://u:p@mail.example"),
        ("MAIL_FROM", "Shop <orders@shop.example>"),
        ("DATA_FOLDER", "/nonexistent"),
    ];

    /// Names of the development settings of [`PRODUCTION`] with these changes.
    fn found(changes: &[(&str, &str)]) -> Vec<&'static str> {
        let settings = PRODUCTION.iter().chain(changes);
        let environment = settings.map(|(name, value)| (format!("ORDERWORKS_{name}"), (*value).to_owned()));
        let config = Config::assemble(None, None, environment).expect("valid");
        config.development_settings().into_iter().map(|(name, _)| name).collect()
    }

    #[test]
    fn each_development_setting_is_found_and_no_other() {
        assert_eq!(found(&[]), [""; 0]);
        let one_copy = [
            ("ENGINES_PAYMENTS", "cassandra"),
            ("CASSANDRA_NODES", "[\"127.0.0.1:9042\"]"),
            ("CASSANDRA_REPLICATION", "{ datacenter1 = 1 }"),
        ];
        let cases: [(&[(&str, &str)], &str); 8] = [
            (&[("WEBHOOKS_ALLOW_LOOPBACK", "true")], "webhooks.allow_loopback"),
            (&[("PAYMENTS_PROVIDER", "sandbox")], "payments.provider"),
            (&[("PAYMENTS_STRIPE_URL", "http://127.0.0.1:8420")], "payments.stripe_url"),
            (&[("MAIL_TRANSPORT", "file")], "mail.transport"),
            (&[("MAIL_SMTP_URL", "smtp://mail:1025?tls=none")], "mail.smtp_url"),
            (&[("MAIL_FROM", "Orderworks <orders@orderworks.test>")], "mail.from"),
            (&one_copy, "cassandra.replication"),
            (&[("ENGINES_QUEUE", "sqlite")], "engines.queue"),
        ];
        for (changes, name) in cases {
            assert_eq!(found(changes), [name]);
        }
        for safe in ["smtp://127.0.0.1:25", "smtp://u:p@mail.example?tls=required"] {
            assert_eq!(found(&[("MAIL_SMTP_URL", safe)]), [""; 0], "{safe}");
        }
    }
}
