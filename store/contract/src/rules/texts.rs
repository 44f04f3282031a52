//! Folding of texts for searches: letter case, accents and normal forms make no difference, the same on all engines and
//! for every locale of a server.
//!
//! Does not reduce words to stems and knows no language: `ä` is `a`, not `ae`.

use unicode_normalization::{
    UnicodeNormalization,
    char::{canonical_combining_class, is_combining_mark},
};

/// The text without differences of letter case, of accents, and of composition and compatibility (Unicode 16.0, section
/// 3.13, compatibility caseless match): the small letters of the capital ones of the small ones, so that `ß` and `ẞ`
/// are `ss` and every sigma the same.
pub fn folded(text: &str) -> String {
    let apart = text.nfkd().filter(|character| !is_dropped(*character));
    let upper = apart.flat_map(char::to_lowercase).flat_map(char::to_uppercase);
    // Once more, as case mapping may bring accents of its own.
    let lower = upper.flat_map(char::to_lowercase).nfkd().filter(|character| !is_dropped(*character));
    lower.flat_map(without_stroke).nfc().collect()
}

/// Whether the character joins the one before it.
pub(super) fn is_mark(character: char) -> bool {
    is_combining_mark(character)
}

/// Accents by their combining class: marks above, below and through a letter (1, 200 to 240), the points of Hebrew (10
/// to 26), Arabic (27 to 35) and Syriac (36). The marks that make another letter stay: nukta (7), those of voiced kana
/// (8), virama (9), vowels and tones of Thai and its neighbours (84 to 132). Soft hyphens and variation selectors show
/// nothing.
fn is_dropped(character: char) -> bool {
    matches!(character, '\u{ad}' | '\u{fe00}'..='\u{fe0f}')
        || matches!(canonical_combining_class(character), 1 | 10..=36 | 200..=240)
}

/// Latin letters whose stroke is no mark of its own, and ligatures.
fn without_stroke(letter: char) -> impl Iterator<Item = char> {
    let (first, second) = match letter {
        'æ' => ('a', Some('e')),
        'œ' => ('o', Some('e')),
        'þ' => ('t', Some('h')),
        'ø' => ('o', None),
        'ł' => ('l', None),
        'đ' | 'ð' => ('d', None),
        'ħ' => ('h', None),
        'ŧ' => ('t', None),
        other => (other, None),
    };
    std::iter::once(first).chain(second)
}

#[cfg(test)]
mod tests {
    #[test]
    fn letters_of_all_scripts_are_folded() {
        for (one, other) in [
            ("\u{c4}PFEL", "\u{e4}pfel"),
            ("a\u{308}pfel", "\u{e4}pfel"),
            ("apfel", "\u{e4}pfel"),
            ("STRASSE", "stra\u{df}e"),
            ("STRA\u{1e9e}E", "stra\u{df}e"),
            ("\u{39f}\u{394}\u{39f}\u{3a3}", "\u{3bf}\u{3b4}\u{3cc}\u{3c2}"),
            ("\u{416}\u{418}\u{417}\u{41d}\u{42c}", "\u{436}\u{438}\u{437}\u{43d}\u{44c}"),
            ("I\u{307}stanbul", "\u{130}STANBUL"),
            ("\u{131}stanbul", "ISTANBUL"),
            ("\u{fb01}ne", "FINE"),
            ("\u{ff2d}\u{ff35}\u{ff27}", "mug"),
            ("\u{141}\u{f3}d\u{17a}", "lodz"),
            ("SM\u{d8}RREBR\u{d8}D", "smorrebrod"),
            ("ph\u{1edf}", "pho"),
            ("\u{5e9}\u{5c1}\u{5b8}\u{5dc}\u{5d5}\u{5b9}\u{5dd}", "\u{5e9}\u{5dc}\u{5d5}\u{5dd}"),
            ("\u{643}\u{64f}\u{648}\u{628}", "\u{643}\u{648}\u{628}"),
            ("\u{ff8a}\u{ff9f}\u{ff9d}", "\u{30d1}\u{30f3}"),
        ] {
            assert_eq!(super::folded(one), super::folded(other), "{one} {other}");
        }
    }

    #[test]
    fn marks_that_make_another_letter_stay() {
        for (one, other) in [
            // Kana, Thai, Devanagari.
            ("\u{304b}", "\u{304c}"),
            ("\u{e21}\u{e32}", "\u{e21}\u{e49}\u{e32}"),
            ("\u{915}\u{93f}", "\u{915}\u{941}"),
            ("\u{915}", "\u{915}\u{93c}"),
        ] {
            assert_ne!(super::folded(one), super::folded(other), "{one} {other}");
        }
    }
}
