//! Caches, sessions and rate limits: each engine against the one suite of its contract, and what only it has.

mod embedded;
mod redis;
mod redis_outage;
