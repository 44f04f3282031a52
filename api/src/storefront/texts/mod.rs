//! Texts of the storefront in its languages, and the choice of a language.

mod de;
mod en;
mod ja;
mod language;
mod table;

pub(super) use language::Language;
pub(super) use table::{Texts, filled};
