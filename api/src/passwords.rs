//! Password hashing and checking on a few dedicated threads.
//!
//! Guarantees: argon2id with the parameters of the OWASP Password Storage Cheat Sheet; each thread keeps one block of
//! memory for all its work, so memory is bounded however many customers sign in; half of the cores stay free for other
//! requests; a check without a stored hash takes as long as one with a hash. Passwords are never logged and never kept.

use std::{
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::Duration,
};

use argon2::{
    Algorithm, Argon2, Block, Params, Version,
    password_hash::phc::{self, Output, ParamsString, Salt},
};
use base::Ambient;
use store::customers::PasswordHash;
use tokio::sync::{mpsc, oneshot};

use crate::problem::{Kind, Problem};

const MEMORY_KIB: u32 = 19 * 1024;
const ITERATIONS: u32 = 2;
const LANES: u32 = 1;
/// Recommended by RFC 9106, section 3.1.
const SALT_BYTES: usize = 16;
/// Each thread takes [`MEMORY_KIB`] from its first use on, and a core for about 30 ms per password.
const THREADS_MAX: usize = 4;
/// Passwords waiting per thread: about 4 s of work.
const QUEUE_PER_THREAD: usize = 128;
/// Longest wait for a result.
const WAIT_MAX: Duration = Duration::from_secs(5);

/// A hash with the current parameters that no password matches: salt and hash are zeros.
const HASH_OF_NO_ACCOUNT: &str =
    "$argon2id$v=19$m=19456,t=2,p=1$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

pub(crate) struct Passwords {
    ambient: Ambient,
    /// The threads end when this sender is dropped.
    queue: mpsc::Sender<Job>,
}

/// Hashes or checks a password in the memory of its thread.
type Job = Box<dyn FnOnce(&mut Vec<Block>) + Send>;

impl Passwords {
    pub(crate) fn new(ambient: Ambient) -> Self {
        let cores = thread::available_parallelism().map_or(1, usize::from);
        Self::with_threads(ambient, (cores / 2).clamp(1, THREADS_MAX))
    }

    fn with_threads(ambient: Ambient, threads: usize) -> Self {
        let (queue, jobs) = mpsc::channel(QUEUE_PER_THREAD * threads.max(1));
        let jobs = Arc::new(Mutex::new(jobs));
        for _ in 0..threads {
            let jobs = Arc::clone(&jobs);
            let started = thread::Builder::new().name("passwords".to_owned()).spawn(move || work(&jobs));
            if let Err(error) = started {
                tracing::error!(%error, "password thread not started");
            }
        }
        Self { ambient, queue }
    }

    /// The hash to store, with a fresh salt.
    pub(crate) async fn hash(&self, password: String) -> Result<PasswordHash, Problem> {
        let salt = self.ambient.secret::<SALT_BYTES>();
        let phc = self.run(move |memory| hash(&password, &salt, memory)).await?;
        Ok(PasswordHash::from_phc(phc))
    }

    /// Whether the password matches the hash; false without a hash, after the same work.
    pub(crate) async fn verify(&self, password: String, hash: Option<PasswordHash>) -> Result<bool, Problem> {
        let phc = hash.as_ref().map_or(HASH_OF_NO_ACCOUNT, PasswordHash::as_phc).to_owned();
        self.run(move |memory| verify(&password, &phc, memory)).await
    }

    /// Runs a job. A job whose caller has left or timed out before it begins is skipped.
    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Vec<Block>) -> Result<T, String> + Send + 'static,
    ) -> Result<T, Problem> {
        let (reply, result) = oneshot::channel();
        let job = move |memory: &mut Vec<Block>| {
            if !reply.is_closed() {
                // A failed send means that the caller has left.
                drop(reply.send(work(memory)));
            }
        };
        self.queue.try_send(Box::new(job)).map_err(|_| busy())?;
        match tokio::time::timeout(WAIT_MAX, result).await {
            Ok(Ok(result)) => result.map_err(|why| failed(&why)),
            Ok(Err(_)) => Err(failed("the thread for it has ended")),
            Err(_) => Err(busy()),
        }
    }
}

fn work(jobs: &Mutex<mpsc::Receiver<Job>>) {
    let mut memory = Vec::new();
    // One thread waits for a job, the others for the lock.
    let next = || jobs.lock().unwrap_or_else(PoisonError::into_inner).blocking_recv();
    while let Some(job) = next() {
        job(&mut memory);
    }
}

fn hash(password: &str, salt: &[u8], memory: &mut Vec<Block>) -> Result<String, String> {
    let params = Params::new(MEMORY_KIB, ITERATIONS, LANES, None).map_err(text)?;
    let version = Version::V0x13;
    let output = derive(password, salt, version, &params, Params::DEFAULT_OUTPUT_LEN, memory)?;
    let hash = phc::PasswordHash {
        algorithm: Algorithm::Argon2id.ident(),
        version: Some(version.into()),
        params: ParamsString::try_from(&params).map_err(text)?,
        salt: Some(Salt::new(salt).map_err(text)?),
        hash: Some(output),
    };
    Ok(hash.to_string())
}

fn verify(password: &str, phc: &str, memory: &mut Vec<Block>) -> Result<bool, String> {
    let stored = phc::PasswordHash::new(phc).map_err(text)?;
    if stored.algorithm != Algorithm::Argon2id.ident() {
        return Err("a stored hash is not argon2id".to_owned());
    }
    let (Some(salt), Some(expected)) = (&stored.salt, &stored.hash) else {
        return Err("a stored hash has no salt or no output".to_owned());
    };
    let version = stored.version.map_or(Ok(Version::V0x13), Version::try_from).map_err(text)?;
    let params = Params::try_from(&stored).map_err(text)?;
    let output = derive(password, salt, version, &params, expected.len(), memory)?;
    // `Output` compares in constant time.
    Ok(output == *expected)
}

fn derive(
    password: &str,
    salt: &[u8],
    version: Version,
    params: &Params,
    length: usize,
    memory: &mut Vec<Block>,
) -> Result<Output, String> {
    if memory.len() < params.block_count() {
        memory.resize(params.block_count(), Block::new());
    }
    let mut output = [0; Output::MAX_LENGTH];
    let output = output.get_mut(..length).ok_or("a stored hash is too long")?;
    let argon2 = Argon2::new(Algorithm::Argon2id, version, params.clone());
    argon2
        .hash_password_into_with_memory(password.as_bytes(), salt, output, memory.as_mut_slice())
        .map_err(text)?;
    Output::new(output).map_err(text)
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}

fn busy() -> Problem {
    Problem::new(Kind::UNAVAILABLE, "too many are signing in; try again shortly").retry_after(1)
}

fn failed(why: &str) -> Problem {
    tracing::error!(why, "password hashing failed");
    Problem::logged()
}

#[cfg(test)]
mod tests {
    use argon2::password_hash::PasswordHasher;

    use super::*;

    #[tokio::test]
    async fn a_password_is_known_again_and_no_other() {
        let passwords = Passwords::new(Ambient::system());
        let hash = passwords.hash("correct horse".to_owned()).await.expect("hashes");
        assert!(hash.as_phc().starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{}", hash.as_phc());
        let again = passwords.hash("correct horse".to_owned()).await.expect("hashes");
        assert_ne!(hash, again, "each has its own salt");
        let check =
            async |password: &str, hash| passwords.verify(password.to_owned(), hash).await.expect("checks");
        assert!(check("correct horse", Some(hash.clone())).await);
        assert!(!check("correct horse ", Some(hash)).await);
        assert!(
            !check("", None).await && !check("correct horse", None).await,
            "the placeholder is well-formed"
        );
    }

    #[tokio::test]
    async fn stored_hashes_of_the_crates_own_hasher_stay_valid() {
        let params = Params::new(MEMORY_KIB, ITERATIONS, LANES, None).expect("parameters");
        let hasher = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
        let stored = hasher.hash_password_with_salt(b"correct horse", &[7; SALT_BYTES]).expect("hashes");
        let (ours, mut memory) = (stored.to_string(), Vec::new());
        assert_eq!(hash("correct horse", &[7; SALT_BYTES], &mut memory).expect("hashes"), ours);
        assert!(verify("correct horse", &ours, &mut memory).expect("checks"));
    }

    #[tokio::test]
    async fn a_full_queue_says_to_come_again() {
        // No thread takes a job from the queue.
        let passwords = Passwords::with_threads(Ambient::system(), 0);
        assert!(passwords.verify(String::new(), None).await.is_err());
        let (queue, _jobs) = mpsc::channel(1);
        let passwords = Passwords { ambient: Ambient::system(), queue };
        assert!(passwords.queue.try_send(Box::new(|_| {})).is_ok(), "there is room for one");
        let refused = passwords.verify(String::new(), None).await.expect_err("there is room for one");
        assert_eq!(axum::response::IntoResponse::into_response(refused).status(), 503);
    }
}
