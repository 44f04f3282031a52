//! Text of the document with code in backticks.

/// A part of a text, code or not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Piece {
    pub(super) text: String,
    pub(super) is_code: bool,
}

/// The parts of a text. A backtick without a second one is part of the text.
pub(super) fn pieces(text: &str) -> Vec<Piece> {
    let (mut pieces, mut rest) = (Vec::new(), text);
    let mut push = |text: &str, is_code| {
        if !text.is_empty() {
            pieces.push(Piece { text: text.to_owned(), is_code });
        }
    };
    while let Some((before, after)) = rest.split_once('`')
        && let Some((code, after)) = after.split_once('`')
    {
        push(before, false);
        push(code, true);
        rest = after;
    }
    push(rest, false);
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn code_is_told_from_text() {
        let told = |text| {
            pieces(text).into_iter().map(|piece| (piece.text, piece.is_code)).collect::<Vec<(String, bool)>>()
        };
        let (code, text) = (true, false);
        assert_eq!(
            told("a `b` c `d`"),
            [
                ("a ".to_owned(), text),
                ("b".to_owned(), code),
                (" c ".to_owned(), text),
                ("d".to_owned(), code)
            ]
        );
        assert_eq!(told("one ` only"), [("one ` only".to_owned(), text)]);
        assert!(told("").is_empty());
    }
}
