//! Pages as HTML by the one template, and their tables as CSV.
//!
//! Guarantees: every value is escaped; no script but the one of pages that renew themselves, and no inline style. A CSV
//! cell never begins a formula.

use askama::Template;
use axum::response::{IntoResponse, Response};
use http::header;

use crate::{
    error::ConsoleError,
    page::{Cell, Link, Page, Section, Table},
};

/// Path of the style sheet; the version is that of the program, so that a new one is fetched.
pub(crate) const STYLESHEET: &str = concat!("/assets/console.css?v=", env!("CARGO_PKG_VERSION"));

/// Path of the script of pages that renew themselves, as that of the style sheet.
pub(crate) const SCRIPT: &str = concat!("/assets/console.js?v=", env!("CARGO_PKG_VERSION"));

/// What stands around the content of each page.
#[derive(Debug, Default)]
pub(crate) struct Frame {
    pub(crate) stylesheet: &'static str,
    pub(crate) script: &'static str,
    /// Seconds after which the page renews itself, by the script or, without one, by loading again.
    pub(crate) renew_seconds: Option<u32>,
    pub(crate) is_signed_in: bool,
    /// Name and role of the visitor.
    pub(crate) who: String,
    pub(crate) role: &'static str,
    pub(crate) navigation: Vec<Link>,
    /// Links to the tables of the page as CSV.
    pub(crate) exports: Vec<Link>,
    /// Link that begins or ends the renewal of the page.
    pub(crate) live_href: String,
    pub(crate) live_text: String,
}

#[derive(Template)]
#[template(path = "page.html")]
struct Document<'a> {
    page: &'a Page,
    frame: &'a Frame,
}

pub(crate) fn html(page: &Page, frame: &Frame) -> Result<Response, ConsoleError> {
    let body = Document { page, frame }.render()?;
    Ok(([(header::CONTENT_TYPE, "text/html; charset=utf-8")], body).into_response())
}

/// The table as CSV (RFC 4180), with its headings in the first line, and a link to its next page (RFC 8288) where there
/// is one.
pub(crate) fn csv(table: &Table, next: Option<&str>) -> Response {
    let mut body = String::new();
    push_line(&mut body, table.headings.iter().chain(&table.exported).map(|heading| (*heading).to_owned()));
    for row in &table.rows {
        let value = |cell: &Cell| if cell.raw.is_empty() { cell.text.clone() } else { cell.raw.clone() };
        push_line(&mut body, row.cells.iter().chain(&row.exported).map(value));
    }
    let headers = [
        (header::CONTENT_TYPE, "text/csv; charset=utf-8; header=present".to_owned()),
        (header::CONTENT_DISPOSITION, format!("attachment; filename=\"orderworks-{}.csv\"", table.name)),
    ];
    let next = next.map(|next| [(header::LINK, format!("<{next}>; rel=\"next\""))]);
    (headers, next, body).into_response()
}

fn push_line(body: &mut String, cells: impl Iterator<Item = String>) {
    for (place, cell) in cells.enumerate() {
        if place > 0 {
            body.push(',');
        }
        // Spreadsheets run a cell that begins like a formula (CWE-1236).
        let guard = if cell.starts_with(['=', '+', '-', '@']) && cell != "-" { "'" } else { "" };
        body.push('"');
        body.push_str(guard);
        body.push_str(&cell.replace('"', "\"\""));
        body.push('"');
    }
    body.push_str("\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cell_is_quoted_and_begins_no_formula() {
        let mut line = String::new();
        push_line(&mut line, ["a\"b", "=1+1", "-", "-2", "c,d"].map(str::to_owned).into_iter());
        assert_eq!(line, "\"a\"\"b\",\"'=1+1\",\"-\",\"'-2\",\"c,d\"\r\n");
    }

    #[test]
    fn hostile_values_are_escaped() {
        let mut page = Page::new("<script>alert(1)</script>");
        page.note("info", "\"><img src=x onerror=alert(1)>");
        let body = Document { page: &page, frame: &Frame::default() }.render().expect("renders");
        assert!(!body.contains("<script") && !body.contains("<img"), "{body}");
        assert!(body.contains("&#60;script&#62;"), "{body}");
    }
}
