//! Formats of text, by their names in `#[schema(format = ..)]`. Text without one of these is a line.

use base::chars::{is_format, is_format_in_names};
use email_address::{EmailAddress, Options};
use serde_json::Value;
use store::domain::{Currency, with_ascii_domain};
use unicode_normalization::UnicodeNormalization;
use utoipa::openapi::{Object, SchemaFormat};

use super::{country::is_country, links::has_link};

/// Text without control characters.
pub(crate) const TEXT_PATTERN: &str = r"^[^\x00-\x1f\x7f-\x9f]*$";
/// The same with at least one character that is not blank.
const LINE_PATTERN: &str = r"^[^\x00-\x1f\x7f-\x9f]*[^\s\x00-\x1f\x7f-\x9f][^\x00-\x1f\x7f-\x9f]*$";
/// The same with line breaks and tabs.
const PARAGRAPHS_PATTERN: &str = r"^[^\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]*[^\s\x00-\x1f\x7f-\x9f][^\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]*$";
pub(crate) const SKU_PATTERN: &str = "^[A-Za-z0-9._-]{1,64}$";

struct Format {
    name: &'static str,
    pattern: Option<&'static str>,
    is_valid: fn(&str) -> bool,
    /// What is expected, for people.
    words: &'static str,
}

const FORMATS: [Format; 8] = [
    Format {
        name: "sku",
        pattern: Some(SKU_PATTERN),
        is_valid: is_sku,
        words: "1 to 64 letters, digits, dots, underscores or dashes",
    },
    Format {
        name: "slug",
        pattern: Some("^[a-z0-9-]{1,64}$"),
        is_valid: |text| is_code(text, |b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'-')),
        words: "a slug of 1 to 64 small letters, digits or dashes",
    },
    Format {
        name: "reason-code",
        pattern: Some("^[a-z0-9_]{1,64}$"),
        is_valid: |text| is_code(text, |b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'_')),
        words: "a code of 1 to 64 small letters, digits or underscores",
    },
    Format {
        name: "payment-method",
        pattern: Some("^pm_[A-Za-z0-9_]{1,64}$"),
        is_valid: |text| {
            let token = text.strip_prefix("pm_").unwrap_or_default();
            is_code(token, |b| b.is_ascii_alphanumeric() || b == b'_')
        },
        words: "the payment provider's token, `pm_` and 1 to 64 letters, digits or underscores",
    },
    Format {
        name: "currency",
        pattern: Some("^[A-Z]{3}$"),
        is_valid: |text| text.parse::<Currency>().is_ok(),
        words: "an ISO 4217 code of three upper-case letters, such as EUR",
    },
    Format {
        name: "country",
        pattern: Some("^[A-Z]{2}$"),
        is_valid: is_country,
        words: "an ISO 3166-1 alpha-2 code such as DE",
    },
    Format {
        name: "email",
        pattern: None,
        is_valid: is_email,
        words: "a mail address such as ada@example.com",
    },
    // A malformed token gets the same response as an unknown one.
    Format {
        name: "verification-token",
        pattern: Some("^owv_([0-9A-Za-z_-]{43}|[0-9a-f]{64})$"),
        is_valid: |_| true,
        words: "the token from the mail",
    },
];

/// Whether the text can be a stock keeping unit.
pub(crate) fn is_sku(text: &str) -> bool {
    is_code(text, |b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'))
}

fn is_code(text: &str, has: fn(u8) -> bool) -> bool {
    (1..=64).contains(&text.len()) && text.bytes().all(has)
}

/// Whether a mail can be sent to the address: no display name, no address literal, a domain of the public DNS. A local
/// part with letters beyond ASCII is valid; mail servers without SMTPUTF8 do not take it.
fn is_email(text: &str) -> bool {
    let options = Options::default().without_display_text().without_domain_literal();
    !text.chars().any(|c| c.is_control() || is_format(c))
        && text.rsplit_once('@').is_some_and(|(_, domain)| domain.contains('.'))
        && with_ascii_domain(text)
            .is_some_and(|address| EmailAddress::parse_with_options(&address, options).is_ok())
}

/// Code and detail of a fault.
type TextFault = (&'static str, String);

/// The text as it is stored, if it agrees with the schema.
pub(super) fn read(schema: &Object, text: &str) -> Result<String, TextFault> {
    let name = name(schema);
    if let Some(format) = FORMATS.iter().find(|format| format.name == name) {
        let fault = || ("wrong_format", format!("expected {}", format.words));
        return if (format.is_valid)(text) { Ok(text.to_owned()) } else { Err(fault()) };
    }
    match (name, &schema.enum_values) {
        (_, Some(names)) => one_of(names, text),
        ("password", _) => password(schema, text),
        ("paragraphs", _) => paragraphs(schema, text),
        ("line-without-link", _) => line_without_link(schema, text),
        _ => line(schema, text),
    }
}

/// The pattern that text of this schema has, for programs.
pub(crate) fn pattern(schema: &Object) -> Option<&'static str> {
    let name = name(schema);
    match FORMATS.iter().find(|format| format.name == name) {
        Some(format) => format.pattern,
        None if name == "password" => None,
        None if name == "paragraphs" => Some(PARAGRAPHS_PATTERN),
        None => schema.min_length.map(|_| LINE_PATTERN),
    }
}

fn name(schema: &Object) -> &str {
    if let Some(SchemaFormat::Custom(name)) = &schema.format { name } else { "" }
}

fn one_of(names: &[Value], text: &str) -> Result<String, TextFault> {
    if names.iter().any(|name| name == text) {
        return Ok(text.to_owned());
    }
    let names: Vec<_> = names.iter().map(|name| format!("`{}`", name.as_str().unwrap_or_default())).collect();
    Err(("wrong_format", format!("expected one of {}", names.join(", "))))
}

/// Any characters. Normalised to NFC, because keyboards produce the same letter in two ways (RFC 8265, section 4.2).
fn password(schema: &Object, text: &str) -> Result<String, TextFault> {
    let (min, max) = (schema.min_length.unwrap_or(0), schema.max_length.unwrap_or(usize::MAX));
    if (min..=max).contains(&text.chars().count()) {
        return Ok(text.nfc().collect());
    }
    Err(("wrong_length", format!("expected {min} to {max} characters")))
}

fn paragraphs(schema: &Object, text: &str) -> Result<String, TextFault> {
    if text.chars().any(|c| c.is_control() && !matches!(c, '\n' | '\r' | '\t')) {
        return Err(("control_character", "control characters are not allowed".to_owned()));
    }
    sized(schema, text)
}

/// One line of text. Control and format characters are rejected, as they would change how a mail or a list shows the
/// text around it; of those that names need, mails confine the effect (see [`base::chars::isolated`]).
fn line(schema: &Object, text: &str) -> Result<String, TextFault> {
    if text.chars().any(char::is_control) {
        return Err(("control_character", "control characters are not allowed".to_owned()));
    }
    if text.chars().any(|c| is_format(c) && !is_format_in_names(c)) {
        return Err(("format_character", "invisible format characters are not allowed".to_owned()));
    }
    sized(schema, text)
}

/// A line that mails repeat although a stranger gave it.
fn line_without_link(schema: &Object, text: &str) -> Result<String, TextFault> {
    if has_link(text) {
        return Err(("holds_link", "expected no link and no mail address, as mails repeat this".to_owned()));
    }
    line(schema, text)
}

/// Text that shows something and is not too long, without blanks around it.
fn sized(schema: &Object, text: &str) -> Result<String, TextFault> {
    if text.chars().all(|c| c.is_whitespace() || is_format(c)) {
        return Err(("wrong_length", "expected some text".to_owned()));
    }
    let (max, text) = (schema.max_length.unwrap_or(usize::MAX), text.trim());
    if text.chars().count() > max {
        return Err(("wrong_length", format!("expected at most {max} characters")));
    }
    Ok(text.to_owned())
}
