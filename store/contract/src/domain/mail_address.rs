//! Mail addresses as mail servers take them.

use idna::uts46::{AsciiDenyList, DnsLength, Hyphens, Uts46};

/// RFC 5321, section 4.5.3.1.3, without the angle brackets.
const BYTES_MAX: usize = 254;

/// The address with its domain in A-labels (RFC 5891), which mail servers without SMTPUTF8 take as well (RFC 6531,
/// section 3.2). The local part stays as it is. `None` where the domain is no name of the DNS, or the result too long.
pub fn with_ascii_domain(address: &str) -> Option<String> {
    let (local, domain) = address.rsplit_once('@').filter(|_| address.len() <= BYTES_MAX)?;
    let domain = Uts46::new()
        .to_ascii(domain.as_bytes(), AsciiDenyList::STD3, Hyphens::CheckFirstLast, DnsLength::Verify)
        .ok()?;
    // Digits alone are an IP address and no top-level domain.
    if domain.rsplit('.').next()?.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let address = format!("{local}@{domain}");
    (address.len() <= BYTES_MAX).then_some(address)
}

/// The domain of an address in the form of [`with_ascii_domain`], which is in lower case: the same for all addresses of
/// a domain. `None` as there.
pub fn mail_domain(address: &str) -> Option<String> {
    with_ascii_domain(address)?.rsplit_once('@').map(|(_, domain)| domain.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_domain_has_the_form_that_every_mail_server_takes() {
        for (address, expected) in [
            ("ada@example.com", Some("ada@example.com")),
            ("Ada@b\u{fc}cher.example", Some("Ada@xn--bcher-kva.example")),
            ("ada@BU\u{308}CHER.Example", Some("ada@xn--bcher-kva.example")),
            ("ada@xn--bcher-kva.example", Some("ada@xn--bcher-kva.example")),
            ("j\u{f6}rg@\u{4f8b}\u{3048}.test", Some("j\u{f6}rg@xn--r8jz45g.test")),
            ("\"a@b\"@example.com", Some("\"a@b\"@example.com")),
            ("ada@xn--zzzzzz---.example", None),
            ("ada@-b.example", None),
            ("ada@a_b.example", None),
            ("ada@127.0.0.1", None),
            ("ada@example.com\r\nRCPT", None),
            ("ada", None),
            ("ada@", None),
        ] {
            assert_eq!(with_ascii_domain(address).as_deref(), expected, "{address}");
        }
        assert_eq!(mail_domain("Ada@B\u{fc}cher.Example").as_deref(), Some("xn--bcher-kva.example"));
        assert_eq!(mail_domain("ada@EXAMPLE.com"), mail_domain("bob@example.com"), "one domain");
        assert_eq!(mail_domain("ada@127.0.0.1"), None);
        let long = "\u{fc}".repeat(62);
        assert_eq!(with_ascii_domain(&format!("ada@{long}.example")), None, "63 bytes a label as A-label");
    }
}
