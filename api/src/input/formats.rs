//! Formats of single fields, each with its check, its text for people and its description for programs.

use base::chars::is_format;
use email_address::{EmailAddress, Options};
use store::domain::Currency;
use utoipa::openapi::{
    Object,
    schema::{KnownFormat, SchemaFormat, Type},
};

use super::{
    country::is_country,
    node::Node,
    rules::{Rule, matching},
    text::Code,
};

/// A stock keeping unit.
pub(crate) const SKU: Code = Code {
    prefix: "",
    class: "A-Za-z0-9._-",
    chars_max: 64,
    words: "1 to 64 letters, digits, dots, underscores or dashes",
};
/// A category of products.
pub(crate) const SLUG: Code = Code {
    prefix: "",
    class: "a-z0-9-",
    chars_max: 64,
    words: "a slug of 1 to 64 small letters, digits or dashes",
};
/// The reason of a cancellation.
pub(crate) const REASON: Code = Code {
    prefix: "",
    class: "a-z0-9_",
    chars_max: 64,
    words: "a code of 1 to 64 small letters, digits or underscores",
};
pub(crate) const PAYMENT_METHOD: Code = Code {
    prefix: "pm_",
    class: "A-Za-z0-9_",
    chars_max: 64,
    words: "the payment provider's token, `pm_` and 1 to 64 letters, digits or underscores",
};

/// RFC 5321, section 4.5.3.1.3, without the angle brackets.
const EMAIL_BYTES_MAX: usize = 254;

pub(crate) fn email() -> impl Rule<String> {
    matching(is_email, "a mail address such as ada@example.com", |schema| {
        schema.format = Some(SchemaFormat::KnownFormat(KnownFormat::Email));
        schema.max_length = Some(EMAIL_BYTES_MAX);
        schema.example = Some("ada@example.com".into());
    })
}

/// Whether mail transports accept the address as it is: no display name, no address literal, a domain of the public
/// DNS.
fn is_email(text: &str) -> bool {
    let options = Options::default().without_display_text().without_domain_literal();
    text.len() <= EMAIL_BYTES_MAX
        && !text.chars().any(|c| c.is_control() || is_format(c))
        && text.rsplit_once('@').is_some_and(|(_, domain)| domain.contains('.'))
        && EmailAddress::parse_with_options(text, options).is_ok()
}

pub(crate) fn country() -> impl Rule<String> {
    matching(is_country, "an ISO 3166-1 alpha-2 code such as DE", |schema| {
        schema.pattern = Some("^[A-Z]{2}$".to_owned());
        schema.example = Some("DE".into());
    })
}

pub(crate) fn currency() -> impl Rule<Currency> {
    let read = |node: &Node<'_>| match node.string()?.parse::<Currency>() {
        Ok(currency) => Some(currency),
        Err(error) => node.fault("wrong_format", error.to_string()),
    };
    let describe = || {
        let mut schema = Object::with_type(Type::String);
        schema.pattern = Some("^[A-Z]{3}$".to_owned());
        schema.example = Some("EUR".into());
        schema
    };
    (read, describe)
}

/// The token of a mail. Any string is read: a malformed token gets the same response as an unknown one.
pub(crate) fn verification_token() -> impl Rule<String> {
    let describe = || {
        let mut schema = Object::with_type(Type::String);
        schema.pattern = Some("^owv_([0-9A-Za-z_-]{43}|[0-9a-f]{64})$".to_owned());
        schema.example = Some("owv_…".into());
        schema
    };
    (|node: &Node<'_>| node.string().map(str::to_owned), describe)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_take_their_prefix_and_characters_and_no_others() {
        assert!(SKU.matches("Mug.blue_1-") && SKU.matches(&"s".repeat(64)));
        for bad in ["", "a b", "a/b", "m\u{fc}g", &"s".repeat(65)] {
            assert!(!SKU.matches(bad), "{bad}");
        }
        assert!(PAYMENT_METHOD.matches("pm_card_visa"));
        for bad in ["pm_", "card_visa", "pm_a-b", "pm_a,b"] {
            assert!(!PAYMENT_METHOD.matches(bad), "{bad}");
        }
        assert_eq!(PAYMENT_METHOD.pattern(), "^pm_[A-Za-z0-9_]{1,64}$");
    }
}
