//! Orderworks.
fn main() {}
