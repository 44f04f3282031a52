//! Helpers of the tests.

pub(crate) mod postgres;
pub(crate) mod replica;
pub(crate) mod shards;
