//! Tests of caches, sessions and rate limits: the suite of each contract on every engine, and cases of single engines.

mod embedded;
mod redis;
mod redis_outage;
