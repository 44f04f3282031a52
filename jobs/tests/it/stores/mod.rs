//! Job store and record store: each engine against the suite of its contract.

mod postgres;
mod sqlite;
