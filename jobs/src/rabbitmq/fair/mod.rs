//! Fair queues over a broker, which knows no keys: a short broker queue, and behind it the backlog in the job store.
//!
//! A job of a fair queue goes straight to the broker while its broker queue is short and nothing waits in the store;
//! else it is held in the store, and consuming processes fill the broker's queue from there, in the order of turns. So
//! a job overtakes all but the few jobs of other keys that are in the broker already, and a queue without contention
//! costs no write.
//!
//! Guarantees: jobs of one key that one process publishes one after the other reach the broker in that order. No job
//! depends on the store: while it cannot be reached, jobs go straight to the broker and fairness is suspended. Does not
//! divide the starts of jobs in the broker: retries and snoozes return by the store only while jobs wait there.
//!
//! `views` is what this process knows of fair queues, `admit` decides about jobs, `fill` moves them to the broker.

mod admit;
pub(super) mod fill;
pub(super) mod views;
