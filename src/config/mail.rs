//! Settings of mails: how they are sent, and how many go to one domain.

use std::time::Duration;

use jobs::limits::{CONCURRENT_MAX, Rate, STARTS_MAX};
use secrecy::SecretString;
use serde::Deserialize;
use url::Url;
use workers::limits::PerDomain;

use super::{network::PlainHosts, reader::Reader};

/// Period of the rate of mails to a domain.
const PERIOD: Duration = Duration::from_mins(1);

#[derive(Debug, Clone)]
pub(crate) struct Mail {
    pub(crate) transport: MailTransport,
    pub(crate) from: String,
    pub(crate) smtp_url: SecretString,
    /// Empty: mails show tokens instead of links.
    pub(crate) storefront_url: String,
    /// Mails to one domain, over all worker processes; `None`: no limit.
    pub(crate) per_domain: Option<PerDomain>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum MailTransport {
    File,
    Smtp,
}

impl Mail {
    pub(super) fn read(r: &mut Reader, plain: &PlainHosts) -> Self {
        let smtp_url = r.text("mail", "smtp_url");
        check_smtp(r, plain, &smtp_url);
        let smtp_url = smtp_url.into();
        let transport = r.value("mail", "transport", MailTransport::File);
        if transport == MailTransport::Smtp {
            r.require(("mail", "smtp_url"), &smtp_url, "mail.transport is \"smtp\"");
        }
        Self {
            transport,
            from: r.text("mail", "from"),
            smtp_url,
            storefront_url: r.text("mail", "storefront_url"),
            per_domain: per_domain(r),
        }
    }
}

/// Zero means no limit.
fn per_domain(r: &mut Reader) -> Option<PerDomain> {
    let mut set = |key: &str, most: u32| Some(r.within("mail", key, 0..=most)).filter(|number| *number > 0);
    let at_once = set("per_domain_at_once", CONCURRENT_MAX);
    let rate = set("per_domain_per_minute", STARTS_MAX).map(|starts| Rate { starts, per: PERIOD });
    (at_once.is_some() || rate.is_some()).then_some(PerDomain { at_once, rate })
}

/// Reports a mistake unless mails are encrypted or need not be; forms as in [`crate::mail`]. Malformed addresses are
/// reported there.
fn check_smtp(r: &mut Reader, plain: &PlainHosts, text: &str) {
    let Ok(url) = text.parse::<Url>() else { return };
    let may_be_used = match (url.scheme(), url.query()) {
        ("smtps", _) | ("smtp", Some("tls=required")) => true,
        // A relay inside the network, named by this address. No password goes there in clear text.
        ("smtp", Some("tls=none")) => url.password().is_none(),
        _ => false,
    };
    let tls = "begin it with smtps://, end it with ?tls=required, or with ?tls=none for a relay inside your network \
               that takes no password";
    plain.check(r, ("mail", "smtp_url"), url.host_str().unwrap_or("/"), may_be_used, tls);
}
