//! The audit finds planted damage of each kind, and mends what is safe to mend.

mod damage;
mod deployment;
mod memory;
