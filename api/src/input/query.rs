//! Query strings: known parameters only, each at most once, and text that every store takes.

use std::{
    collections::{BTreeMap, btree_map::Entry},
    fmt::Display,
    str::FromStr,
};

use store::domain::PageRequest;

use super::report::Report;
use crate::problem::Problem;

const LIMIT_DEFAULT: u32 = 10;
/// Characters of a parameter at most.
pub(crate) const VALUE_CHARS_MAX: usize = 255;
/// Items per page at most.
pub(crate) const LIMIT_MAX: u32 = 100;

pub(crate) struct Query {
    values: BTreeMap<String, String>,
    report: Report,
}

impl Query {
    /// Reads the query string of a list; parameters beyond `known` and `limit`, `starting_after` are faults.
    pub(crate) fn paged(uri: &http::Uri, known: &[&str]) -> Self {
        Self::of(uri, |name| known.contains(&name) || matches!(name, "limit" | "starting_after"))
    }

    /// Reads the query string; parameters beyond `known` are faults.
    pub(crate) fn plain(uri: &http::Uri, known: &[&str]) -> Self {
        Self::of(uri, |name| known.contains(&name))
    }

    fn of(uri: &http::Uri, is_known: impl Fn(&str) -> bool) -> Self {
        let report = Report::default();
        let mut values = BTreeMap::<String, String>::new();
        let query = uri.query().unwrap_or_default();
        // Bytes that are not UTF-8 become replacement characters, which a client may have sent, too.
        let is_utf8 = |value: &str| !value.contains('\u{fffd}') || query.to_uppercase().contains("%EF%BF%BD");
        for (name, value) in url::form_urlencoded::parse(query.as_bytes()) {
            let name: String = name.chars().take(64).collect();
            if !is_known(&name) {
                report.add(format!("?{name}"), "unknown_parameter", "no such parameter");
            } else if !(is_text(&value) && is_utf8(&value)) {
                let words =
                    format!("expected UTF-8, {VALUE_CHARS_MAX} characters at most, no control character");
                report.add(format!("?{name}"), "wrong_format", words);
            } else {
                match values.entry(name) {
                    Entry::Vacant(free) => drop(free.insert(value.into_owned())),
                    Entry::Occupied(taken) => {
                        report.add(format!("?{}", taken.key()), "repeated_parameter", "expected once");
                    }
                }
            }
        }
        Self { values, report }
    }

    /// A parameter that parses as `T`; `None` with a fault in the report if it does not.
    pub(crate) fn parsed<T: FromStr>(&self, name: &str, words: impl Display) -> Option<T> {
        let parsed = self.values.get(name)?.parse().ok();
        if parsed.is_none() {
            self.report.add(format!("?{name}"), "wrong_format", format!("expected {words}"));
        }
        parsed
    }

    /// A text parameter of bounded length.
    pub(crate) fn text(&self, name: &str, chars_max: usize) -> Option<String> {
        let text = self.values.get(name)?;
        if text.chars().count() > chars_max {
            self.report.add(
                format!("?{name}"),
                "wrong_format",
                format!("expected at most {chars_max} characters"),
            );
            return None;
        }
        Some(text.clone())
    }

    /// Whether a parameter is there and its text can be read.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.values.contains_key(name)
    }

    /// Reports a fault of a parameter.
    pub(crate) fn fault(&self, name: &str, code: &'static str, detail: &str) {
        self.report.add(format!("?{name}"), code, detail);
    }

    /// Every fault of the query, for one without pages.
    pub(crate) fn finish(self) -> Result<(), Problem> {
        self.report.finish()
    }

    /// `limit` and `starting_after`, or every fault of the query.
    pub(crate) fn page<C: FromStr>(self) -> Result<PageRequest<C>, Problem> {
        let range = format!("a whole number from 1 to {LIMIT_MAX}");
        let limit = self.parsed::<u32>("limit", &range);
        if limit.is_some_and(|limit| !(1..=LIMIT_MAX).contains(&limit)) {
            self.report.add("?limit", "out_of_range", format!("expected {range}"));
        }
        let after = self.parsed("starting_after", "the last item of the page before");
        self.report.finish()?;
        Ok(PageRequest { limit: limit.unwrap_or(LIMIT_DEFAULT), after })
    }
}

fn is_text(value: &str) -> bool {
    value.chars().count() <= VALUE_CHARS_MAX && !value.chars().any(char::is_control)
}
