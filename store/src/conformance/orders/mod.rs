//! The suite of [`crate::OrderStore`].
