//! Mailer from the configuration.

use std::path::Path;

use anyhow::{Context, bail};
use secrecy::{ExposeSecret, SecretString};
use url::Url;
use workers::mail::{Mailer, SmtpConfig, SmtpSecurity};

use crate::config::{Mail, MailTransport};

/// SMTP connections of one process at most.
const CONNECTIONS_MAX: u32 = 8;

/// The mailer; the file transport writes to `folder`.
pub(crate) fn mailer(mail: &Mail, folder: &Path) -> anyhow::Result<Mailer> {
    let mailer = match mail.transport {
        MailTransport::File => Mailer::file(folder.join("mail"), &mail.from)?,
        MailTransport::Smtp => {
            Mailer::smtp(&smtp(mail.smtp_url.expose_secret()).context("mail.smtp_url")?, &mail.from)?
        }
    };
    Ok(mailer.linking_to(storefront(&mail.storefront_url).context("mail.storefront_url")?))
}

/// Base URL of links in mails; `None` for mails without links.
fn storefront(text: &str) -> anyhow::Result<Option<Url>> {
    if text.is_empty() {
        return Ok(None);
    }
    let url: Url = text.parse().context("is no URL such as https://shop.example")?;
    let is_page =
        matches!(url.scheme(), "https" | "http") && url.query().is_none() && url.fragment().is_none();
    if !is_page || !url.username().is_empty() || url.password().is_some() {
        bail!("must be http:// or https:// with nothing but a host and a path");
    }
    Ok(Some(url))
}

/// Parses an SMTP address: `smtps://` is TLS, `smtp://` with `?tls=required` is STARTTLS, with `?tls=none` or alone it
/// is unencrypted; the configuration has rejected that for hosts where it is not allowed. The text may hold a
/// password: no error repeats it.
fn smtp(text: &str) -> anyhow::Result<SmtpConfig> {
    let url: Url = text.parse().context("is no URL such as smtps://user:password@host:465")?;
    let host = url.host_str().context("names no host")?.to_owned();
    let (security, usual_port) = match (url.scheme(), url.query()) {
        ("smtps", None) => (SmtpSecurity::Tls, 465),
        ("smtp", Some("tls=required")) => (SmtpSecurity::StartTls, 587),
        ("smtp", None | Some("tls=none")) => (SmtpSecurity::Plain, 25),
        _ => bail!(
            "must begin with smtps://, or with smtp:// and end with ?tls=required, ?tls=none or neither"
        ),
    };
    let decoded = |text: &str| -> anyhow::Result<String> {
        Ok(percent_encoding::percent_decode_str(text)
            .decode_utf8()
            .context("has a user or password that is no UTF-8")?
            .into_owned())
    };
    let credentials = match (url.username(), url.password()) {
        ("", None) => None,
        (user, Some(password)) => Some((decoded(user)?, SecretString::from(decoded(password)?))),
        _ => bail!("names a user without a password"),
    };
    let port = url.port().unwrap_or(usual_port);
    Ok(SmtpConfig { host, port, security, credentials, connections_max: CONNECTIONS_MAX })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_storefront_is_a_plain_address_or_none() {
        assert_eq!(storefront("").expect("none"), None);
        assert!(storefront("https://shop.example/de").expect("valid").is_some());
        for bad in
            ["shop.example", "ftp://shop.example", "https://u:p@shop.example", "https://shop.example/?a=b"]
        {
            assert!(storefront(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_forms_of_an_smtp_address() {
        let tls = smtp("smtps://u%40x:p%2Fw@mail.example").expect("valid");
        assert_eq!((tls.security, tls.port), (SmtpSecurity::Tls, 465));
        let (user, password) = tls.credentials.expect("has credentials");
        assert_eq!((user.as_str(), password.expose_secret()), ("u@x", "p/w"));
        assert_eq!(smtp("smtp://h:25?tls=required").expect("valid").security, SmtpSecurity::StartTls);
        for plain in ["smtp://127.0.0.1:1025", "smtp://mail:1025?tls=none"] {
            assert_eq!(smtp(plain).expect("valid").security, SmtpSecurity::Plain);
        }
    }

    #[test]
    fn refusals_do_not_repeat_the_password() {
        for bad in ["http://u:canary@h", "canary", "smtps://u@h", "smtp://u:canary@h?tls=wanted"] {
            let error = format!("{:#}", smtp(bad).expect_err("refused"));
            assert!(!error.contains("canary"), "{error}");
        }
    }
}
