//! Screen of a terminal: its alternate buffer in raw mode, drawn line by line.
//!
//! Guarantees: the terminal is as before after the end, an error, a panic of any task, and a signal that ends the
//! command; `reset` repairs what `kill -9` leaves. Writes only lines that have changed. Without colours where the
//! environment has `NO_COLOR` (<https://no-color.org>).

use std::{
    io::{self, Write},
    panic,
};

use crossterm::{
    cursor::{Hide, MoveTo, Show},
    execute, queue,
    style::{Attribute, Color, Print, SetAttribute, SetForegroundColor},
    terminal::{
        self, BeginSynchronizedUpdate, Clear, ClearType, DisableLineWrap, EnableLineWrap,
        EndSynchronizedUpdate, EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode,
    },
};

use super::table::{Room, TextLine, Tone};

/// Room of a terminal that does not tell its size.
const USUAL: (u16, u16) = (80, 24);

/// The terminal while a command draws on it.
pub(super) struct Screen {
    /// The lines of the frame before.
    shown: Vec<TextLine>,
    room: Room,
    is_coloured: bool,
}

impl Screen {
    pub(super) fn open() -> io::Result<Self> {
        restore_on_panic();
        enable_raw_mode()?;
        let is_coloured = std::env::var_os("NO_COLOR").is_none_or(|set| set.is_empty());
        // Restores on drop, also where the next line fails.
        let screen = Self { shown: Vec::new(), room: size(), is_coloured };
        execute!(io::stdout(), EnterAlternateScreen, Hide, DisableLineWrap, Clear(ClearType::All))?;
        Ok(screen)
    }

    /// Draws the frame that this function makes for the room that there is.
    pub(super) fn draw(&mut self, frame: impl FnOnce(Room) -> Vec<TextLine>) -> io::Result<()> {
        let room = size();
        let mut out: Vec<u8> = Vec::new();
        queue!(out, BeginSynchronizedUpdate)?;
        if room != self.room {
            self.room = room;
            self.shown.clear();
            queue!(out, Clear(ClearType::All))?;
        }
        let lines = frame(room);
        for (row, line) in (0_u16..).zip(&lines) {
            if self.shown.get(usize::from(row)) != Some(line) {
                self.put(&mut out, row, line)?;
            }
        }
        for row in (0_u16..).take(self.shown.len()).skip(lines.len()) {
            queue!(out, MoveTo(0, row), Clear(ClearType::UntilNewLine))?;
        }
        queue!(out, EndSynchronizedUpdate)?;
        self.shown = lines;
        let mut stdout = io::stdout().lock();
        stdout.write_all(&out)?;
        stdout.flush()
    }

    /// Clears before it writes: behind a full line the cursor stands on its last character.
    fn put(&self, out: &mut Vec<u8>, row: u16, line: &TextLine) -> io::Result<()> {
        queue!(out, MoveTo(0, row), Clear(ClearType::UntilNewLine))?;
        let (attribute, colour) = match line.tone {
            Tone::Plain => (None, None),
            Tone::Heading => (Some(Attribute::Bold), None),
            Tone::Faint => (Some(Attribute::Dim), None),
            Tone::Warning => (None, Some(Color::Yellow)),
            Tone::Bad => (Some(Attribute::Bold), Some(Color::Red)),
            Tone::Selected => (Some(Attribute::Reverse), None),
        };
        if let Some(attribute) = attribute {
            queue!(out, SetAttribute(attribute))?;
        }
        if let Some(colour) = colour.filter(|_| self.is_coloured) {
            queue!(out, SetForegroundColor(colour))?;
        }
        queue!(out, Print(line.text.as_str()), SetAttribute(Attribute::Reset))
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        restore();
    }
}

/// The room of the terminal.
pub(super) fn size() -> Room {
    let told = terminal::size().ok().filter(|(columns, rows)| *columns > 0 && *rows > 0);
    let (columns, rows) = told.unwrap_or(USUAL);
    Room { width: columns.into(), height: rows.into() }
}

fn restore() {
    // A terminal that is gone needs nothing.
    drop(execute!(io::stdout(), EnableLineWrap, Show, LeaveAlternateScreen));
    drop(disable_raw_mode());
}

/// Restores the terminal before a panic is told: its message would vanish with the screen.
fn restore_on_panic() {
    let tell = panic::take_hook();
    panic::set_hook(Box::new(move |panic| {
        restore();
        tell(panic);
    }));
}
