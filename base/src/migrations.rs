//! Migrations embedded from a folder by [`migrations!`](crate::migrations!).
//!
//! sqlx's own macro is not used: it would build sqlx, both drivers and SQLite a second time, for the compiler.

use sqlx::{
    SqlSafeStr,
    migrate::{Migration, MigrationType, Migrator},
};

/// The migrations of a folder: its path relative to the calling crate's manifest, then file names without `.sql`.
#[macro_export]
macro_rules! migrations {
    ($folder:literal, [$($name:literal),+ $(,)?]) => {
        $crate::migrations::of(&[
            $(($name, include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/", $folder, "/", $name, ".sql")))),+
        ])
    };
}

/// Migrations by name and text. A name is `NUMBER_words`, plus `.up` or `.down` where the migration is reversible.
pub fn of(files: &[(&str, &'static str)]) -> Migrator {
    Migrator::with_migrations(files.iter().filter_map(|(name, text)| migration(name, text)).collect())
}

fn migration(name: &str, text: &'static str) -> Option<Migration> {
    let (number, words) = name.split_once('_')?;
    let (words, kind) = match words.rsplit_once('.') {
        Some((words, "up")) => (words, MigrationType::ReversibleUp),
        Some((words, "down")) => (words, MigrationType::ReversibleDown),
        _ => (words, MigrationType::Simple),
    };
    let outside = text.starts_with("-- no-transaction");
    let description = words.replace('_', " ").into();
    Some(Migration::new(number.parse().ok()?, description, kind, text.into_sql_str(), outside))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_tells_number_words_and_direction() {
        let all =
            of(&[("0002_more_of_it.up", "SELECT 1"), ("0002_more_of_it.down", "SELECT 2"), ("0001_a", "")]);
        let told: Vec<_> =
            all.iter().map(|m| (m.version, m.description.to_string(), m.migration_type)).collect();
        let more = || "more of it".to_owned();
        assert_eq!(
            told,
            [
                (1, "a".to_owned(), MigrationType::Simple),
                (2, more(), MigrationType::ReversibleUp),
                (2, more(), MigrationType::ReversibleDown)
            ]
        );
    }
}
