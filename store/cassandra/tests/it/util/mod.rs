//! Helpers of the tests.

pub(crate) mod cassandra;
pub(crate) mod ring;
