//! Characters that are invisible, or that change how their neighbours are shown.

use std::borrow::Cow;

/// Whether `c` is a format character (Unicode 16.0, general category Cf), which includes the bidirectional controls of
/// "Trojan Source" (UAX 9, section 2), or a line or paragraph separator (Zl, Zp).
pub const fn is_format(c: char) -> bool {
    matches!(c,
        '\u{ad}' | '\u{600}'..='\u{605}' | '\u{61c}' | '\u{6dd}' | '\u{70f}' | '\u{890}'..='\u{891}' | '\u{8e2}'
        | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2064}'
        | '\u{2066}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{110bd}' | '\u{110cd}'
        | '\u{13430}'..='\u{1343f}' | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}' | '\u{e0001}'
        | '\u{e0020}'..='\u{e007f}')
}

/// Whether `c` is a format character that names need: a joiner (RFC 5892, appendix A), or a directional mark, embedding
/// or override (UAX 9, sections 2.1 to 2.3 and 2.6), whose effect ends with the isolate around it.
pub const fn is_format_in_names(c: char) -> bool {
    matches!(c, '\u{61c}' | '\u{200c}'..='\u{200f}' | '\u{202a}'..='\u{202e}')
}

/// Whether `c` can reorder the text beside it: a directional format character, or one of the blocks of right-to-left
/// scripts (Unicode 16.0, `DerivedBidiClass.txt`).
const fn is_directional(c: char) -> bool {
    matches!(c,
        '\u{590}'..='\u{8ff}' | '\u{200e}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{fb1d}'..='\u{fdff}'
        | '\u{fe70}'..='\u{fefe}' | '\u{10800}'..='\u{10fff}' | '\u{1e800}'..='\u{1efff}')
}

/// The text as a part of a line that people read: without control characters and the format characters that names do
/// not need, and between isolates (FSI, PDI) where it could reorder the text beside it (UAX 9, rules X5c and X6a).
pub fn isolated(text: &str) -> Cow<'_, str> {
    let is_dropped = |c: char| c.is_control() || (is_format(c) && !is_format_in_names(c));
    let text = if text.contains(is_dropped) {
        Cow::Owned(text.replace(is_dropped, ""))
    } else {
        Cow::Borrowed(text)
    };
    if text.contains(is_directional) { Cow::Owned(format!("\u{2068}{text}\u{2069}")) } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_that_reorders_its_neighbours_is_isolated() {
        for text in [
            "\u{202e}evil",
            "Ada\u{200e}",
            "\u{61c}1",
            "\u{5d3}\u{5d5}\u{5d3}",
            "\u{639}\u{644}\u{6cc}\u{200c}\u{631}\u{636}\u{627}",
            "\u{fefb}",
            "\u{1e900}",
        ] {
            assert_eq!(isolated(text), format!("\u{2068}{text}\u{2069}"));
        }
        for text in [
            "",
            "Ada L\u{f6}we",
            "\u{6f22}\u{5b57}",
            "\u{1f469}\u{200d}\u{1f467}",
            "\u{915}\u{94d}\u{200d}\u{937}",
        ] {
            assert!(matches!(isolated(text), Cow::Borrowed(same) if same == text), "{text}");
        }
    }

    #[test]
    fn text_cannot_end_its_isolate_or_its_line() {
        assert_eq!(isolated("\u{5d0}\u{2069}\u{202e}x\u{2066}"), "\u{2068}\u{5d0}\u{202e}x\u{2069}");
        assert_eq!(isolated("Mug\r\nBcc: x\u{200b}\u{feff}\u{2028}\u{e0041}\u{85}"), "MugBcc: x");
    }
}
