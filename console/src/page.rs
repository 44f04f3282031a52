//! The content of a page: facts, tables, forms and notes, without markup.
//!
//! Each page is such a value; one template renders them all, and each table of a page is a CSV, the first one unless
//! another is named. So escaping, captions, labels and focus are right in one place.

/// The content of a page.
#[derive(Debug, Default)]
pub(crate) struct Page {
    pub(crate) title: String,
    pub(crate) sections: Vec<Section>,
}

/// A part of a page.
#[derive(Debug)]
pub(crate) enum Section {
    Facts(Facts),
    Table(Table),
    Form(Form),
    Links(Links),
    Note(Note),
    Text(Text),
}

/// A list of names and values.
#[derive(Debug)]
pub(crate) struct Facts {
    pub(crate) caption: String,
    pub(crate) rows: Vec<Fact>,
}

#[derive(Debug)]
pub(crate) struct Fact {
    pub(crate) name: String,
    pub(crate) value: Cell,
}

/// A table with a caption; `next` is the link to the next page, empty on the last one. A page has each of its tables
/// whether it has rows or not: programs ask for them by name.
#[derive(Debug)]
pub(crate) struct Table {
    /// Its name in addresses, one of its page: small letters and dashes.
    pub(crate) name: &'static str,
    pub(crate) caption: String,
    pub(crate) headings: Vec<&'static str>,
    /// Headings of further columns of its CSV: of values that the page shows two in a cell.
    pub(crate) exported: Vec<&'static str>,
    pub(crate) rows: Vec<Row>,
    /// What is said where there are no rows.
    pub(crate) empty: String,
    pub(crate) next: String,
}

#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) cells: Vec<Cell>,
    /// Values of [`Table::exported`].
    pub(crate) exported: Vec<Cell>,
}

/// A value, with a link where `href` is not empty; `class` only repeats what the text says. `raw` is the value for
/// programs, where the text is rounded, has an age, or stands beside a chart.
#[derive(Debug, Clone, Default)]
pub(crate) struct Cell {
    pub(crate) text: String,
    pub(crate) raw: String,
    pub(crate) href: String,
    pub(crate) class: &'static str,
    /// Drawn before the text where its path is not empty.
    pub(crate) chart: Chart,
}

/// A line over time.
#[derive(Debug, Clone, Default)]
pub(crate) struct Chart {
    /// Commands of an SVG path: numbers and letters of its syntax only.
    pub(crate) path: String,
    /// What the line shows, in words.
    pub(crate) label: String,
}

/// A form. What changes something is sent by `post`.
#[derive(Debug)]
pub(crate) struct Form {
    pub(crate) legend: String,
    pub(crate) method: &'static str,
    pub(crate) action: String,
    pub(crate) hidden: Vec<Hidden>,
    pub(crate) fields: Vec<Field>,
    pub(crate) button: String,
    pub(crate) is_dangerous: bool,
}

#[derive(Debug)]
pub(crate) struct Hidden {
    pub(crate) name: &'static str,
    pub(crate) value: String,
}

/// A labelled input: `kind` is the type of the element.
#[derive(Debug)]
pub(crate) struct Field {
    pub(crate) name: &'static str,
    pub(crate) label: &'static str,
    pub(crate) value: String,
    pub(crate) kind: &'static str,
    pub(crate) is_required: bool,
}

/// A row of links, one of which may be the present page.
#[derive(Debug)]
pub(crate) struct Links {
    pub(crate) label: String,
    pub(crate) links: Vec<Link>,
}

#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) text: String,
    pub(crate) href: String,
    pub(crate) is_current: bool,
}

/// A sentence that must not be overlooked, `class` `info`, `warn` or `bad`.
#[derive(Debug)]
pub(crate) struct Note {
    pub(crate) text: String,
    pub(crate) class: &'static str,
}

/// A text of several lines, shown as it is.
#[derive(Debug)]
pub(crate) struct Text {
    pub(crate) caption: String,
    pub(crate) text: String,
}

impl Page {
    pub(crate) fn new(title: impl Into<String>) -> Self {
        Self { title: title.into(), sections: Vec::new() }
    }

    pub(crate) fn push(&mut self, section: impl Into<Section>) {
        self.sections.push(section.into());
    }

    pub(crate) fn note(&mut self, class: &'static str, text: impl Into<String>) {
        self.push(Note { text: text.into(), class });
    }

    /// Its tables, in order.
    pub(crate) fn tables(&self) -> impl Iterator<Item = &Table> {
        self.sections.iter().filter_map(|section| match section {
            Section::Table(table) => Some(table),
            _ => None,
        })
    }
}

impl Table {
    pub(crate) fn new<const N: usize>(
        name: &'static str,
        caption: impl Into<String>,
        headings: [&'static str; N],
    ) -> Self {
        let (rows, headings) = (Vec::new(), headings.to_vec());
        Self {
            name,
            caption: caption.into(),
            headings,
            exported: Vec::new(),
            rows,
            empty: "Nothing here.".to_owned(),
            next: String::new(),
        }
    }

    pub(crate) fn push<const N: usize>(&mut self, cells: [Cell; N]) {
        self.push_with(cells, []);
    }

    /// Adds a row with the values of [`Table::exported`].
    pub(crate) fn push_with<const N: usize, const M: usize>(
        &mut self,
        cells: [Cell; N],
        exported: [Cell; M],
    ) {
        self.rows.push(Row { cells: cells.to_vec(), exported: exported.to_vec() });
    }
}

impl Facts {
    pub(crate) fn new(caption: impl Into<String>) -> Self {
        Self { caption: caption.into(), rows: Vec::new() }
    }

    pub(crate) fn push(&mut self, name: impl Into<String>, value: impl Into<Cell>) {
        self.rows.push(Fact { name: name.into(), value: value.into() });
    }
}

macro_rules! sections {
    ($($kind:ident)+) => {
        $(
            impl From<$kind> for Section {
                fn from(section: $kind) -> Self {
                    Self::$kind(section)
                }
            }
        )+
    };
}
sections!(Facts Table Form Links Note Text);
