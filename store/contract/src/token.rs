//! Bearer tokens: a prefix that names the kind, then 256 random bits.
//!
//! Guarantees: the hash is stored and looked up, not the token, so the timing of a comparison reveals nothing of a
//! token; `Debug` does not show it.

use std::fmt;

use base::Ambient;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use sha2::{Digest, Sha256};

const BYTES: usize = 32;
/// Length of [`BYTES`] in base64url without padding, the present form, and in hexadecimal, the earlier form in mails.
const CHARS: usize = 43;
const HEX_CHARS: usize = 64;

/// SHA-256 of a whole token: 256 random bits need no slow hash.
pub type TokenHash = [u8; 32];

/// The resource a token gives access to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenKind {
    /// A customer's session.
    Session,
    /// One order, with all its fields.
    Order,
    /// An account to open or a password to reset, by the link in a mail.
    Verification,
}

impl TokenKind {
    const fn prefix(self) -> &'static str {
        match self {
            Self::Session => "ows_",
            Self::Order => "owt_",
            Self::Verification => "owv_",
        }
    }
}

/// A token in clear text.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(String);

impl Token {
    pub fn fresh(kind: TokenKind, ambient: &Ambient) -> Self {
        let secret = ambient.secret::<BYTES>();
        Self(format!("{}{}", kind.prefix(), URL_SAFE_NO_PAD.encode(secret)))
    }

    /// A received text in the form of this kind of token; `None` for any other.
    pub fn parse(kind: TokenKind, text: &str) -> Option<Self> {
        let tail = text.strip_prefix(kind.prefix())?;
        let is_base64url = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
        let is_token = match tail.len() {
            CHARS => tail.bytes().all(is_base64url),
            HEX_CHARS => kind == TokenKind::Verification && tail.bytes().all(|b| b.is_ascii_hexdigit()),
            _ => false,
        };
        is_token.then(|| Self(text.to_owned()))
    }

    /// The token in clear text.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// The key it is stored and looked up under.
    pub fn hash(&self) -> TokenHash {
        Sha256::digest(&self.0).into()
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(..)")
    }
}

#[cfg(test)]
mod tests {
    use base::Timestamp;

    use super::*;

    const KINDS: [TokenKind; 3] = [TokenKind::Session, TokenKind::Order, TokenKind::Verification];

    #[test]
    fn a_token_is_read_again_as_its_kind_and_not_shown() {
        let (ambient, _) = Ambient::steered(2, Timestamp::UNIX_EPOCH);
        for kind in KINDS {
            let token = Token::fresh(kind, &ambient);
            for other in KINDS {
                let expected = (other == kind).then(|| token.clone());
                assert_eq!(Token::parse(other, token.expose()), expected);
            }
            assert_ne!(token.hash(), Token::fresh(kind, &ambient).hash());
            assert!(!format!("{token:?}").contains(token.expose()));
            let text = token.expose();
            let short = &text[..text.len() - 1];
            for bad in ["", &text[..4], &text[4..], short, &format!("{text}0"), &format!("{short}+")] {
                assert_eq!(Token::parse(kind, bad), None, "{bad}");
            }
        }
    }

    #[test]
    fn hexadecimal_tokens_of_mails_are_read() {
        let text = format!("owv_{}", "0f".repeat(32));
        assert!(Token::parse(TokenKind::Verification, &text).is_some());
        assert!(Token::parse(TokenKind::Session, &text.replace("owv", "ows")).is_none());
    }
}
