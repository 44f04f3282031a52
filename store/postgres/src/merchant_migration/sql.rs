//! SQL of a migration, generated from the list of tables and the columns in the database catalog.
//!
//! Rows are copied as the text of the whole row, which the server parses back as the row type: every value passes
//! through its own type's output and input, whatever columns there are. Arguments are bound; only names from the list
//! and the catalog become part of the text, quoted.

use super::tables::{Column, Table};

/// The values of a key or an identity, as texts.
pub(super) type Values = Vec<String>;

/// Rows of one owner between two keys: `after` exclusive, `upto` inclusive.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Range {
    pub(super) after: Option<Values>,
    pub(super) upto: Option<Values>,
}

/// A table with its columns and their types.
pub(super) struct Statements<'a> {
    pub(super) table: &'a Table,
    pub(super) columns: &'a [(String, String)],
}

impl Statements<'_> {
    /// Number of rows, their digest, and the last key (`k0`, `k1`, …). `$1` is the owner; then the keys of the range,
    /// the limit.
    pub(super) fn digest(&self, range: &Range) -> String {
        let order = self.order();
        let keys = Self::texts(self.table.key, "k");
        let last =
            (0..self.table.key.len()).map(|n| format!(", (array_agg(k{n} ORDER BY n DESC))[1] AS k{n}"));
        let last = last.collect::<String>();
        let (selection, limit) = (self.selection(range), self.limit(range));
        format!(
            "WITH page AS MATERIALIZED (
                SELECT {keys}, row_number() OVER (ORDER BY {order}) AS n, {image} AS image
                FROM {selection} ORDER BY {order} LIMIT {limit})
             SELECT count(*) AS rows, encode(sha256(convert_to(
                coalesce(string_agg(image, E'\\n' ORDER BY n), ''), 'UTF8')), 'hex') AS digest{last} FROM page",
            image = self.image()
        )
    }

    /// The rows: identity (`i0`, …), key (`k0`, …) and, if `whole`, the whole row (`image`).
    pub(super) fn rows(&self, range: &Range, whole: bool) -> String {
        let image = if whole { format!(", {} AS image", self.image()) } else { String::new() };
        format!(
            "SELECT {}, {}{image} FROM {} ORDER BY {} LIMIT {}",
            Self::texts(self.table.identity, "i"),
            Self::texts(self.table.key, "k"),
            self.selection(range),
            self.order(),
            self.limit(range)
        )
    }

    /// The number of rows. `$1` is the owner.
    pub(super) fn count(&self) -> String {
        format!("SELECT count(*) AS rows FROM {}", self.selection(&Range::default()))
    }

    /// The last key. `$1` is the owner.
    pub(super) fn last(&self) -> String {
        let keys = Self::texts(self.table.key, "k");
        let order: Vec<_> = self.ordered().map(|column| format!("{column} DESC")).collect();
        let selection = self.selection(&Range::default());
        format!("SELECT {keys} FROM {selection} ORDER BY {} LIMIT 1", order.join(", "))
    }

    /// Stores the rows with the images `$1`, in their order.
    pub(super) fn store(&self) -> String {
        let name = self.table.name;
        let columns = self.columns.iter().map(|(column, _)| quoted(column)).collect::<Vec<_>>().join(", ");
        let values = self.columns.iter().map(|(column, _)| {
            let made = self.table.made.iter().find(|(made, _)| made == column);
            made.map_or_else(|| format!("(given.whole).{}", quoted(column)), |(_, how)| (*how).to_owned())
        });
        let values = values.collect::<Vec<_>>().join(", ");
        let identity: Vec<_> = self.table.identity.iter().map(|Column(column, _)| quoted(column)).collect();
        let changed = self.columns.iter().filter(|(column, _)| {
            !self.table.is_made(column) && !self.table.identity.iter().any(|Column(name, _)| name == column)
        });
        let changed: Vec<_> =
            changed.map(|(column, _)| format!("{0} = EXCLUDED.{0}", quoted(column))).collect();
        let change = if changed.is_empty() {
            "NOTHING".to_owned()
        } else {
            format!("UPDATE SET {}", changed.join(", "))
        };
        format!(
            "WITH given AS MATERIALIZED (
                SELECT image::{name} AS whole FROM unnest($1::text[]) WITH ORDINALITY AS rows (image, place)
                ORDER BY place)
             INSERT INTO {name} ({columns}) SELECT {values} FROM given
             ON CONFLICT ({}) DO {change}",
            identity.join(", ")
        )
    }

    /// Deletes the rows with these identities, an array of texts per column; dependent rows first.
    pub(super) fn delete(&self) -> Vec<String> {
        let dependents =
            self.table.dependents.iter().map(|(table, column)| {
                format!("DELETE FROM {table} WHERE {column} = ANY($1::text[]::uuid[])")
            });
        let identity = self.table.identity;
        let names: Vec<_> = (0..identity.len()).map(|n| format!("i{n}")).collect();
        let arrays: Vec<_> = (1..=identity.len()).map(|n| format!("${n}::text[]")).collect();
        let same = identity.iter().zip(&names);
        let same: Vec<_> =
            same.map(|(Column(column, kind), name)| format!("t.{column} = gone.{name}::{kind}")).collect();
        let own = format!(
            "DELETE FROM {} AS t USING unnest({}) AS gone ({}) WHERE {}",
            self.table.name,
            arrays.join(", "),
            names.join(", "),
            same.join(" AND ")
        );
        dependents.chain([own]).collect()
    }

    fn selection(&self, range: &Range) -> String {
        let plain = format!("{} AS t", self.table.name);
        let mut conditions = vec![self.table.owned.to_owned()];
        let ends = [(&range.after, ">"), (&range.upto, "<=")];
        for (n, (_, comparison)) in ends.into_iter().filter(|(end, _)| end.is_some()).enumerate() {
            let first = 2 + n * self.table.key.len();
            let values = self.table.key.iter().enumerate();
            let values: Vec<_> =
                values.map(|(k, Column(_, kind))| format!("${}::{kind}", first + k)).collect();
            let (order, values) = (self.order(), values.join(", "));
            conditions.push(format!("({order}) {comparison} ({values})"));
            if let (Some(joined), Some(Column(_, kind))) = (self.table.joined, self.table.key.first()) {
                let comparison = if comparison == ">" { ">=" } else { comparison };
                conditions.push(format!("{joined} {comparison} ${first}::{kind}"));
            }
        }
        format!("{} WHERE {}", self.table.from.unwrap_or(&plain), conditions.join(" AND "))
    }

    fn limit(&self, range: &Range) -> String {
        let ends = range.after.iter().chain(&range.upto).count();
        format!("${}::bigint", 2 + ends * self.table.key.len())
    }

    fn order(&self) -> String {
        self.ordered().collect::<Vec<_>>().join(", ")
    }

    /// Orders texts by their bytes, as the collations of two databases may differ.
    fn ordered(&self) -> impl Iterator<Item = String> {
        self.table.key.iter().map(|Column(column, kind)| {
            if *kind == "text" { format!("t.{column} COLLATE \"C\"") } else { format!("t.{column}") }
        })
    }

    fn texts(columns: &[Column], prefix: &str) -> String {
        let texts = columns.iter().enumerate();
        texts
            .map(|(n, Column(column, _))| format!("t.{column}::text AS {prefix}{n}"))
            .collect::<Vec<_>>()
            .join(", ")
    }

    /// The whole row as text, with NULL for generated columns.
    fn image(&self) -> String {
        let values = self.columns.iter().map(|(column, _)| {
            if self.table.is_made(column) { "NULL".to_owned() } else { format!("t.{}", quoted(column)) }
        });
        format!("ROW({})::text", values.collect::<Vec<_>>().join(", "))
    }
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}
