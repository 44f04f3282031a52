//! Access to the console: tokens with roles, sessions of browsers, and links that sign in once.
//!
//! Guarantees: tokens are kept as SHA-256 hashes and compared in constant time, all of them whatever matches. A session
//! is a random value of 256 bits, kept as a hash in this process only: a restart ends it. Sessions and links are
//! bounded in number and in time. Does not slow down guesses: a token has at least [`TOKEN_CHARS_MIN`] characters.

use std::{collections::HashMap, fmt, str::FromStr, time::Duration};

use base::{Ambient, Timestamp, time::later};
use parking_lot::Mutex;
use secrecy::{ExposeSecret, SecretString};
use serde::Serialize;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

/// Fewest characters of a token: too many to guess, if they are random.
pub const TOKEN_CHARS_MIN: usize = 32;
/// Most characters of the name of a token, which is the name of its bearer in records.
pub const NAME_CHARS_MAX: usize = 60;
/// Longest session of a browser.
pub const SESSION_VALID_FOR: Duration = Duration::from_hours(12);
/// Time for which a link that signs in may be opened.
pub const LINK_VALID_FOR: Duration = Duration::from_hours(12);
/// Most sessions at a time; a further one ends the one that ends first.
const SESSIONS_MAX: usize = 1000;

/// What a bearer may do; each role may do what the ones before it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Sees pages, without payloads and personal data.
    Viewer,
    /// Pauses and resumes, retries, cancels, redrives, runs schedules.
    Operator,
    /// Deletes and purges; sees payloads where the configuration shows them.
    Admin,
}

impl Role {
    /// All roles, those that may do least first.
    pub const ALL: [Self; 3] = [Self::Viewer, Self::Operator, Self::Admin];

    /// Name in the configuration and on pages.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Operator => "operator",
            Self::Admin => "admin",
        }
    }
}

impl FromStr for Role {
    type Err = AccessError;

    fn from_str(text: &str) -> Result<Self, AccessError> {
        Self::ALL.into_iter().find(|role| role.as_str() == text).ok_or(AccessError::Role)
    }
}

/// The error for a token that cannot be used. Its text repeats no secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AccessError {
    /// Not a role.
    #[error("begins with no role: use viewer, operator or admin")]
    Role,
    /// Not a name for records.
    #[error("has no name of 1 to 60 letters, digits, `.`, `-`, `_` or `@`")]
    Name,
    /// Could be guessed.
    #[error("is shorter than 32 characters")]
    Short,
}

/// The bearer of a token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Bearer {
    pub(crate) name: String,
    pub(crate) role: Role,
}

/// A token that signs in, without its text.
#[derive(Clone)]
pub struct AccessToken {
    bearer: Bearer,
    hash: Hash,
}

type Hash = [u8; 32];

impl AccessToken {
    /// A token of this bearer.
    ///
    /// # Errors
    /// [`AccessError`] for a name that is none for records, and for a text that is too short.
    pub fn new(name: &str, role: Role, secret: &SecretString) -> Result<Self, AccessError> {
        let is_plain = |c: char| c.is_ascii_alphanumeric() || ".-_@".contains(c);
        if !(1..=NAME_CHARS_MAX).contains(&name.len()) || !name.chars().all(is_plain) {
            return Err(AccessError::Name);
        }
        let secret = secret.expose_secret();
        if secret.chars().count() < TOKEN_CHARS_MIN {
            return Err(AccessError::Short);
        }
        Ok(Self { bearer: Bearer { name: name.to_owned(), role }, hash: hash(secret) })
    }
}

impl fmt::Debug for AccessToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AccessToken").field("bearer", &self.bearer).finish_non_exhaustive()
    }
}

/// Tokens, sessions and links of a process.
pub(crate) struct Access {
    tokens: Vec<AccessToken>,
    sessions: Mutex<HashMap<Hash, Granted>>,
    links: Mutex<HashMap<Hash, Granted>>,
    ambient: Ambient,
}

/// Access until a time.
struct Granted {
    bearer: Bearer,
    until: Timestamp,
}

impl Access {
    pub(crate) fn new(tokens: Vec<AccessToken>, ambient: Ambient) -> Self {
        let (sessions, links) = (Mutex::default(), Mutex::default());
        Self { tokens, sessions, links, ambient }
    }

    pub(crate) fn by_token(&self, given: &str) -> Option<Bearer> {
        let given = hash(given);
        let mut found = None;
        for token in &self.tokens {
            if bool::from(token.hash.as_slice().ct_eq(given.as_slice())) {
                found = Some(token.bearer.clone());
            }
        }
        found
    }

    /// Begins a session; returns the value of its cookie.
    pub(crate) fn open_session(&self, bearer: Bearer) -> String {
        grant(&self.sessions, bearer, SESSION_VALID_FOR, &self.ambient)
    }

    pub(crate) fn by_session(&self, value: &str) -> Option<Bearer> {
        let sessions = self.sessions.lock();
        let granted = sessions.get(&hash(value)).filter(|granted| self.ambient.now() < granted.until);
        granted.map(|granted| granted.bearer.clone())
    }

    pub(crate) fn close_session(&self, value: &str) {
        self.sessions.lock().remove(&hash(value));
    }

    /// Adds a link that signs in once; returns its code.
    pub(crate) fn add_link(&self, bearer: Bearer) -> String {
        grant(&self.links, bearer, LINK_VALID_FOR, &self.ambient)
    }

    /// Takes the link of this code.
    pub(crate) fn redeem(&self, code: &str) -> Option<Bearer> {
        let granted = self.links.lock().remove(&hash(code))?;
        (self.ambient.now() < granted.until).then_some(granted.bearer)
    }
}

/// Grants access by a fresh secret, which is returned.
fn grant(
    all: &Mutex<HashMap<Hash, Granted>>,
    bearer: Bearer,
    valid_for: Duration,
    ambient: &Ambient,
) -> String {
    let (secret, now) = (hex::encode(ambient.secret::<32>()), ambient.now());
    let mut all = all.lock();
    all.retain(|_, granted| now < granted.until);
    if all.len() >= SESSIONS_MAX
        && let Some(first) = all.iter().min_by_key(|(_, granted)| granted.until).map(|(hash, _)| *hash)
    {
        all.remove(&first);
    }
    all.insert(hash(&secret), Granted { bearer, until: later(now, valid_for) });
    secret
}

fn hash(text: &str) -> Hash {
    Sha256::digest(text.as_bytes()).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "0123456789abcdef0123456789abcdef";

    fn access() -> (Access, base::ambient::ManualClock) {
        let start = "2026-11-29T12:00:00Z".parse().expect("a time");
        let (ambient, clock) = Ambient::steered(1, start);
        let token = AccessToken::new("ada", Role::Operator, &SECRET.into()).expect("usable");
        (Access::new(vec![token], ambient), clock)
    }

    #[test]
    fn a_token_needs_a_name_a_role_and_length() {
        let new = |name: &str, secret: &str| AccessToken::new(name, Role::Viewer, &secret.into()).map(drop);
        assert_eq!(new("", SECRET), Err(AccessError::Name));
        assert_eq!(new("ada\nroot", SECRET), Err(AccessError::Name));
        assert_eq!(new("ada", "short"), Err(AccessError::Short));
        assert_eq!("root".parse::<Role>(), Err(AccessError::Role));
        assert!(!format!("{:?}", AccessToken::new("ada", Role::Admin, &SECRET.into())).contains(SECRET));
    }

    #[test]
    fn a_session_ends_after_its_time_and_when_it_is_closed() {
        let (access, clock) = access();
        assert_eq!(access.by_token("0123456789abcdef0123456789abcdeX"), None);
        let bearer = access.by_token(SECRET).expect("is known");
        let (one, other) = (access.open_session(bearer.clone()), access.open_session(bearer.clone()));
        assert_eq!(access.by_session(&one), Some(bearer));
        access.close_session(&one);
        assert_eq!(access.by_session(&one), None);
        clock.advance(SESSION_VALID_FOR);
        assert_eq!(access.by_session(&other), None);
    }

    #[test]
    fn a_link_signs_in_once() {
        let (access, clock) = access();
        let bearer = Bearer { name: "dev".to_owned(), role: Role::Admin };
        let (code, late) = (access.add_link(bearer.clone()), access.add_link(bearer.clone()));
        assert_eq!(access.redeem(&code), Some(bearer));
        assert_eq!(access.redeem(&code), None);
        clock.advance(LINK_VALID_FOR);
        assert_eq!(access.redeem(&late), None);
    }

    #[test]
    fn sessions_are_bounded() {
        let (access, _) = access();
        let bearer = access.by_token(SECRET).expect("is known");
        for _ in 0..SESSIONS_MAX + 5 {
            access.open_session(bearer.clone());
        }
        assert_eq!(access.sessions.lock().len(), SESSIONS_MAX);
    }
}
