//! Links in text that strangers give and mails repeat: mail programs make a link of every address, so a name with one
//! is an advertisement that the shop would deliver.

use base::chars::is_format;
use unicode_normalization::UnicodeNormalization;

/// Endings that mail programs take for a domain's in any letter case; of two letters, every ending in small letters is
/// taken for a country's.
const ENDINGS: [&str; 38] = [
    "app", "art", "biz", "blog", "cc", "cloud", "click", "club", "co", "com", "de", "dev", "edu", "eu",
    "example", "fun", "gov", "icu", "info", "io", "link", "live", "ly", "me", "net", "online", "org", "page",
    "pro", "ru", "shop", "site", "store", "test", "top", "uk", "vip", "xyz",
];

/// Whether a mail program would make a link of some part of the text, or show one by a right-to-left override.
pub(super) fn has_link(text: &str) -> bool {
    // Full-width letters and dots are those of browsers' address bars, too (UTS 46, section 4).
    let shown = text.nfkc().filter(|c| !is_format(*c)).map(|c| if c == '\u{3002}' { '.' } else { c });
    let shown: String = shown.collect();
    is_link(&shown) || (text.contains('\u{202e}') && is_link(&shown.chars().rev().collect::<String>()))
}

fn is_link(text: &str) -> bool {
    text.contains("://")
        || text.to_lowercase().contains("mailto:")
        || words(text).any(|(word, next)| is_domain(word, next))
}

/// The runs of letters, digits, dashes and dots, each with the character after it.
fn words(text: &str) -> impl Iterator<Item = (&str, Option<char>)> {
    let is_end = |c: char| !(c.is_alphanumeric() || matches!(c, '-' | '.'));
    let mut rest = text;
    std::iter::from_fn(move || {
        rest = rest.trim_start_matches(is_end);
        let word = rest.split(is_end).next().filter(|word| !word.is_empty())?;
        rest = &rest[word.len()..];
        Some((word, rest.chars().next()))
    })
}

/// Whether `word` is a domain's name. A path or a query behind it makes one of any ending in small letters.
fn is_domain(word: &str, next: Option<char>) -> bool {
    let word = word.trim_matches('.');
    let Some((before, ending)) = word.rsplit_once('.') else { return false };
    let label = before.rsplit('.').next().unwrap_or_default();
    let lower = ending.to_lowercase();
    if label.chars().count() < 2 || !(lower.starts_with("xn--") || ending.chars().all(char::is_alphabetic)) {
        return false;
    }
    let is_country = ending.len() == 2 && ending.bytes().all(|b| b.is_ascii_lowercase());
    let has_path = matches!(next, Some('/' | '?')) && ending.len() > 1 && ending == lower;
    has_path
        || is_country
        || ENDINGS.contains(&lower.as_str())
        || lower.starts_with("xn--")
        || word.to_lowercase().starts_with("www.")
}

#[cfg(test)]
mod tests {
    use super::has_link;

    #[test]
    fn adverts_are_seen() {
        for text in [
            "You won! claim at https://evil.example/claim now",
            "HTTP://EVIL",
            "ftp://evil",
            "see www.evil.agency",
            "evil.com",
            "Ada (evil.com)",
            "EVIL.COM",
            "evil.example/claim",
            "evil.agency/claim",
            "bit.ly/x",
            "ask ada@evil.net.",
            "mailto:ada",
            "evil\u{ff0e}com",
            "evil\u{3002}com",
            "\u{ff45}vil.com",
            "b\u{fc}cher.de",
            "xn--bcher-kva.xn--p1ai",
            "evil.c\u{200e}om",
            "\u{202e}mialc/moc.sulp",
        ] {
            assert!(has_link(text), "{text}");
        }
    }

    #[test]
    fn names_and_addresses_pass() {
        for text in [
            "Ada Lovelace",
            "J.R.R. Tolkien",
            "Dr. med. Ada Lovelace, Ph.D.",
            "Dr.No",
            "St.Petersburg",
            "ST.JOHN",
            "Ada Lovelace-King Jr.",
            "O'Neill & Sons Inc.",
            "A/S M\u{fc}ller",
            "Musterstr.12/3",
            "St.Anton/Arlberg",
            "Attn.lager: Ada",
            "Hof 8.Tor 135",
            "c/o Ada",
            "No.7: Ada",
            "\u{674e}\u{5c0f}\u{9f99}",
            "M. de la Cruz...",
            "2026.11.27",
            "A-1001",
            "\u{202e}evil",
            "\u{5d3}\u{5f4}\u{5e8} \u{5db}\u{5d4}\u{5df}\u{200f}.",
        ] {
            assert!(!has_link(text), "{text}");
        }
    }
}
