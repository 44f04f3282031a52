//! The job store and the record store: each engine against the one suite of its contract.

mod postgres;
mod sqlite;
