//! Text forms shared by the engines: key scopes and LIKE patterns.

use super::Damage;
use crate::merchants::KeyScope;

/// The text column of a scope.
pub const fn of_scope(scope: KeyScope) -> &'static str {
    match scope {
        KeyScope::Publishable => "publishable",
        KeyScope::Secret => "secret",
    }
}

/// The scope of a text column.
pub fn scope(text: &str) -> Result<KeyScope, Damage> {
    match text {
        "publishable" => Ok(KeyScope::Publishable),
        "secret" => Ok(KeyScope::Secret),
        other => Err(Damage(format!("unknown key scope `{other}`"))),
    }
}

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
