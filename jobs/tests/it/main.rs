//! Integration tests of the job platform, one module per feature.

mod worker;
