//! Passwords: hashed and checked off the runtime's threads, few at a time.
//!
//! Guarantees: argon2id as the OWASP Password Storage Cheat Sheet has it; memory and threads are bounded however many
//! ask; checking against nobody's password takes as long as against somebody's. Never logs and never keeps a password.

use std::{sync::Arc, time::Duration};

use argon2::{
    Algorithm, Argon2, Params, Version,
    password_hash::{self, PasswordHasher, PasswordVerifier},
};
use store::customers::PasswordHash;
use tokio::sync::Semaphore;

use crate::problem::{Kind, Problem};

const MEMORY_KIB: u32 = 19 * 1024;
const ITERATIONS: u32 = 2;
const LANES: u32 = 1;
/// RFC 9106, section 3.1.
const SALT_BYTES: usize = 16;
/// Each takes [`MEMORY_KIB`] and a core for some 30 ms.
const AT_ONCE_MAX: usize = 8;
/// Longest wait for a turn.
const WAIT_MAX: Duration = Duration::from_secs(5);

/// A hash by today's parameters that no password has: salt and hash are zeros.
const NOBODYS: &str =
    "$argon2id$v=19$m=19456,t=2,p=1$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

/// Hashes passwords and checks them.
pub(crate) struct Passwords {
    turns: Arc<Semaphore>,
}

impl Passwords {
    pub(crate) fn new() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Self { turns: Arc::new(Semaphore::new(cores.min(AT_ONCE_MAX))) }
    }

    /// The hash to keep, with a salt of its own.
    pub(crate) async fn hash(&self, password: String) -> Result<PasswordHash, Problem> {
        let mut salt = [0; SALT_BYTES];
        getrandom::fill(&mut salt)
            .map_err(|error| failed(&format!("the system gives no randomness: {error}")))?;
        let hashed = self.in_turn(move || hasher()?.hash_password_with_salt(password.as_bytes(), &salt));
        let hash = hashed.await?.map_err(|error| failed(&error.to_string()))?;
        Ok(PasswordHash::from_phc(hash.to_string()))
    }

    /// Whether this is the password; never so without a hash, after the same work.
    pub(crate) async fn verify(&self, password: String, hash: Option<PasswordHash>) -> Result<bool, Problem> {
        let checked = self.in_turn(move || {
            let phc = hash.as_ref().map_or(NOBODYS, PasswordHash::as_phc);
            hasher()?.verify_password(password.as_bytes(), phc)
        });
        match checked.await? {
            Ok(()) => Ok(true),
            Err(password_hash::Error::PasswordInvalid) => Ok(false),
            Err(error) => Err(failed(&error.to_string())),
        }
    }

    async fn in_turn<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Problem> {
        let turn = tokio::time::timeout(WAIT_MAX, Arc::clone(&self.turns).acquire_owned()).await;
        let Ok(Ok(turn)) = turn else {
            return Err(
                Problem::new(Kind::UNAVAILABLE, "too many are signing in; try again shortly").retry_after(1)
            );
        };
        // The turn goes along: work whose caller has left still takes memory.
        let working = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            work()
        });
        working.await.map_err(|error| failed(&error.to_string()))
    }
}

fn hasher() -> password_hash::Result<Argon2<'static>> {
    let params = Params::new(MEMORY_KIB, ITERATIONS, LANES, None).map_err(password_hash::Error::from)?;
    Ok(Argon2::new(Algorithm::Argon2id, Version::V0x13, params))
}

fn failed(why: &str) -> Problem {
    tracing::error!(why, "a password cannot be hashed or checked");
    Problem::logged()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_password_is_known_again_and_no_other() {
        let passwords = Passwords::new();
        let hash = passwords.hash("correct horse".to_owned()).await.expect("hashes");
        assert!(hash.as_phc().starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{}", hash.as_phc());
        let again = passwords.hash("correct horse".to_owned()).await.expect("hashes");
        assert_ne!(hash, again, "each has its own salt");
        let check =
            async |password: &str, hash| passwords.verify(password.to_owned(), hash).await.expect("checks");
        assert!(check("correct horse", Some(hash.clone())).await);
        assert!(!check("correct horse ", Some(hash)).await);
        assert!(!check("", None).await && !check("correct horse", None).await, "and nobody's is well-formed");
    }

    #[tokio::test]
    async fn who_gets_no_turn_is_told_to_come_again() {
        let passwords = Passwords::new();
        passwords.turns.close();
        assert!(passwords.verify(String::new(), None).await.is_err());
    }
}
