//! Pages with one form: of accounts and what leads to them.

use super::{
    form::FormFields,
    html::Frame,
    pages::{Field, FormPage},
    visit::Visit,
};

/// A page whose button says what its title says.
pub(super) fn form_page(
    visit: &Visit,
    title: &'static str,
    action: &'static str,
    fields: Vec<Field>,
) -> FormPage {
    let (frame, note, links) = (Frame::new(visit, title), String::new(), Vec::new());
    FormPage { frame, action, fields, tick: "", is_ticked: false, note, is_note_bad: false, to: "", links }
}

/// The page with a note above its form.
pub(super) fn noted(page: FormPage, note: &str, is_note_bad: bool) -> FormPage {
    FormPage { note: note.to_owned(), is_note_bad, ..page }
}

/// A field by its name, its kind, and what browsers fill in.
pub(super) fn field([name, kind, autocomplete]: [&'static str; 3], label: &'static str) -> Field {
    Field { name, label, kind, autocomplete, value: String::new(), is_wrong: false }
}

/// The fields with what was sent, but for passwords, and marked where they are at fault.
pub(super) fn as_sent(mut fields: Vec<Field>, sent: &FormFields, pointers: &[String]) -> Vec<Field> {
    for field in &mut fields {
        field.is_wrong = pointers.iter().any(|pointer| pointer.trim_start_matches('/') == field.name);
        if field.kind != "password" {
            sent.get(field.name).clone_into(&mut field.value);
        }
    }
    fields
}
