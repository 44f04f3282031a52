//! Lines of text, and tables that fit into a width: columns that matter less are left out first.
//!
//! Widths count characters: wide ones of a worker's name make their line longer, and the terminal cuts it.

/// What a line is, for its colour. No meaning is in the colour alone: the text says it, too.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Tone {
    #[default]
    Plain,
    Heading,
    /// Something that needs no attention.
    Faint,
    Warning,
    Bad,
    Selected,
}

/// A line of a frame.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct TextLine {
    pub(super) text: String,
    pub(super) tone: Tone,
}

impl TextLine {
    /// A line of this many characters at most.
    pub(super) fn fit(text: &str, tone: Tone, width: usize) -> Self {
        let text = text.trim_end();
        if text.chars().count() <= width {
            return Self { text: text.to_owned(), tone };
        }
        let mut cut: String = text.chars().take(width.saturating_sub(1)).collect();
        if width > 0 {
            cut.push('…');
        }
        Self { text: cut, tone }
    }
}

/// Columns and rows that there is room for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Room {
    pub(super) width: usize,
    pub(super) height: usize,
}

pub(super) struct Column {
    heading: &'static str,
    /// Columns of the highest number are left out first; those of 0 stay.
    rank: u8,
    is_number: bool,
}

impl Column {
    pub(super) const fn text(heading: &'static str, rank: u8) -> Self {
        Self { heading, rank, is_number: false }
    }

    pub(super) const fn number(heading: &'static str, rank: u8) -> Self {
        Self { heading, rank, is_number: true }
    }
}

pub(super) struct Row {
    pub(super) cells: Vec<String>,
    pub(super) tone: Tone,
}

/// A table; each row has a cell for each column.
pub(super) struct Table {
    pub(super) columns: Vec<Column>,
    pub(super) rows: Vec<Row>,
    /// The row that stays visible.
    pub(super) selected: Option<usize>,
    /// Said where there is no row.
    pub(super) empty: &'static str,
}

impl Table {
    /// Lines that the whole table takes.
    pub(super) fn height(&self) -> usize {
        self.rows.len().max(1) + 1
    }

    /// Heading and rows within the room; rows that have none are counted in the last line.
    pub(super) fn lines(&self, room: Room) -> Vec<TextLine> {
        let shown = self.fitting(room.width);
        let heading = self.columns.iter().map(|column| column.heading);
        let mut lines = vec![Self::line(&shown, heading, Tone::Heading, room.width)];
        if self.rows.is_empty() {
            lines.push(TextLine::fit(self.empty, Tone::Faint, room.width));
        }
        let (first, number) = self.window(room.height);
        for row in self.rows.iter().skip(first).take(number) {
            lines.push(Self::line(&shown, row.cells.iter().map(String::as_str), row.tone, room.width));
        }
        if number < self.rows.len() {
            let more = format!("  … {} of {} not shown", self.rows.len() - number, self.rows.len());
            lines.push(TextLine::fit(&more, Tone::Faint, room.width));
        }
        lines.truncate(room.height);
        lines
    }

    /// The first row that is shown, and how many.
    fn window(&self, height: usize) -> (usize, usize) {
        let rows = self.rows.len();
        if rows < height {
            return (0, rows);
        }
        // Beside the heading, and the line that counts the others.
        let number = height.saturating_sub(2).min(rows);
        let first = self.selected.map_or(0, |at| (at + 1).saturating_sub(number));
        (first.min(rows - number), number)
    }

    /// Columns that are shown, with their widths.
    fn fitting(&self, width: usize) -> Vec<(usize, usize, bool)> {
        let width_of = |(at, column): (usize, &Column)| {
            let cells = self.rows.iter().filter_map(|row| row.cells.get(at)).map(|cell| cell.chars().count());
            (at, cells.max().unwrap_or_default().max(column.heading.len()), column.is_number)
        };
        let mut shown: Vec<_> = self.columns.iter().enumerate().map(width_of).collect();
        let rank = |at: usize| self.columns.get(at).map_or(0, |column| column.rank);
        while shown.iter().map(|(_, its, _)| its + 2).sum::<usize>() > width.saturating_add(2) {
            // The last one of several with the same rank.
            let least = shown.iter().enumerate().max_by_key(|(_, (at, ..))| rank(*at));
            match least.map(|(place, (at, ..))| (place, rank(*at))) {
                Some((place, 1..)) => {
                    shown.remove(place);
                }
                _ => break,
            }
        }
        shown
    }

    fn line<'a>(
        shown: &[(usize, usize, bool)],
        cells: impl Iterator<Item = &'a str>,
        tone: Tone,
        width: usize,
    ) -> TextLine {
        let cells: Vec<_> = cells.collect();
        let padded = shown.iter().map(|&(at, its, is_number)| {
            let cell = cells.get(at).copied().unwrap_or_default();
            if is_number { format!("{cell:>its$}") } else { format!("{cell:<its$}") }
        });
        TextLine::fit(&padded.collect::<Vec<_>>().join("  "), tone, width)
    }
}
