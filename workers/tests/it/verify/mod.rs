//! Tests of the audit: it finds planted damage of each kind, and repairs where that is safe.

mod damage;
mod deployment;
mod free;
mod memory;
mod stripe;
