//! Inspection and control of queues: depths, listings, the dead queue, migration, and the engine's housekeeping.

mod dead;
pub(super) mod housekeeping;
mod inspect;
mod migrate;
