//! Patterns of LIKE, shared by the engines.

/// A LIKE pattern, with `\` as its escape, that matches texts containing `text`; wildcards in `text` are literal.
pub fn containing(text: &str) -> String {
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
    fn wildcards_are_taken_literally() {
        assert_eq!(super::containing(r"10%_a\b"), r"%10\%\_a\\b%");
    }
}
