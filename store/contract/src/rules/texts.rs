//! Search of texts without regard to letter case, the same on all engines: LIKE on text that was folded here.

use unicode_normalization::UnicodeNormalization;

/// The text in which a product is searched.
pub fn search_text(name: &str, sku: &str) -> String {
    // No searched text holds a line break, so none matches across it.
    format!("{}\n{}", folded(name), folded(sku))
}

/// The text without differences of letter case and composition (Unicode 16.0, section 3.13, canonical caseless match):
/// the small letters of the capital ones of the small ones, so that `ß` and `ẞ` are `ss` and every sigma the same.
pub fn folded(text: &str) -> String {
    let upper = text.nfd().flat_map(char::to_lowercase).flat_map(char::to_uppercase);
    upper.flat_map(char::to_lowercase).nfc().collect()
}

/// A LIKE pattern, with `\` as its escape, of folded texts that contain `text`; wildcards in `text` are literal.
pub fn containing(text: &str) -> String {
    let text = folded(text);
    let mut pattern = String::with_capacity(text.len() + 2);
    pattern.push('%');
    for character in text.chars() {
        if matches!(character, '%' | '_' | '\\') {
            pattern.push('\\');
        }
        pattern.push(character);
    }
    pattern.push('%');
    pattern
}

#[cfg(test)]
mod tests {
    #[test]
    fn letters_of_all_scripts_are_folded() {
        for (one, other) in [
            ("\u{c4}PFEL", "\u{e4}pfel"),
            ("a\u{308}pfel", "\u{e4}pfel"),
            ("STRASSE", "stra\u{df}e"),
            ("STRA\u{1e9e}E", "stra\u{df}e"),
            ("\u{39f}\u{394}\u{39f}\u{3a3}", "\u{3bf}\u{3b4}\u{3bf}\u{3c2}"),
            ("\u{416}\u{418}\u{417}\u{41d}\u{42c}", "\u{436}\u{438}\u{437}\u{43d}\u{44c}"),
            ("I\u{307}stanbul", "\u{130}STANBUL"),
            ("\u{fb01}ne", "FINE"),
        ] {
            assert_eq!(super::folded(one), super::folded(other), "{one} {other}");
        }
        assert_ne!(super::folded("apfel"), super::folded("\u{e4}pfel"));
    }

    #[test]
    fn wildcards_are_taken_literally() {
        assert_eq!(super::containing(r"10%_a\b"), r"%10\%\_a\\b%");
    }
}
