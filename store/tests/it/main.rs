//! The stores over real files: each engine is held to the suites of [`store::conformance`].

mod sqlite_payments;
mod util;
