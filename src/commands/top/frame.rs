//! Frames: a look laid out as lines, for a screen of any size or for a file.
//!
//! Ages are those at the time of the look, so that all figures of a frame belong together; the head tells how old the
//! look is. Status is told in words; colours repeat it.

use std::time::Duration;

use base::Timestamp;
use jobs::inspection::WorkerStatus;
use store::outbox::BACKLOG_COUNTED_MAX;

use super::{
    look::{QueueSnapshot, RUNNING_MAX, Snapshot},
    table::{Column, Room, Row, Table, TextLine, Tone},
    view::{Page, Sort, View},
};
use crate::{
    commands::{
        processes::{WORKER_HEADINGS, worker_cells},
        running::RunningRow,
    },
    output::{age, one_line},
};

/// Least lines of a table that is begun: heading, a row, and what is not shown.
const TABLE_LINES_MIN: usize = 3;
const KEYS: &str = "q quit  j/k select  Enter running jobs  s sort  p pause view  ? help";
const HELP: [&str; 16] = [
    "q, Ctrl-C      quit",
    "Esc            back from a page; quit",
    "Up/Down, k/j   select a queue",
    "Enter          running jobs of the selected queue; again: back",
    "s              sort queues by trouble, name, ready, oldest, ended",
    "p              pause this view, not the queue; again: go on",
    "?              this page; again: back",
    "",
    "OLDEST  time since the oldest ready job became ready",
    "CONS    consumers whose lease lasts; NOBODY CONSUMES: jobs wait until a worker starts",
    "WANT    worker processes that the queue needs, by the rule of /scaling, as this process has measured so far",
    "IN/S    jobs that become ready in a second, over half a minute",
    "OUT/S   runs that ended in a second since the last look, as the workers tell",
    "LIMITED more workers would not help: their jobs wait for what they call",
    "",
    "Nothing is changed here: see `orderworks control` and the console.",
];

/// What a frame shows.
pub(super) struct Scene<'a> {
    /// The last look; `None` before the first.
    pub(super) look: Option<&'a Snapshot>,
    /// What is away since then, and since when.
    pub(super) away: Option<(&'a str, Timestamp)>,
    pub(super) view: &'a View,
    pub(super) every: Duration,
    pub(super) now: Timestamp,
}

impl Scene<'_> {
    /// The frame within this room.
    pub(super) fn lines(&self, room: Room) -> Vec<TextLine> {
        let mut lines = self.head(room.width);
        let body = Room { height: room.height.saturating_sub(lines.len() + 1), ..room };
        lines.extend(match (&self.view.page, self.look) {
            (Page::Help, _) => {
                let help = HELP.iter().map(|text| TextLine::fit(text, Tone::Plain, room.width));
                help.take(body.height).collect::<Vec<_>>()
            }
            (_, None) => Vec::new(),
            (Page::Running(queue), Some(look)) => running_table(look, Some(queue.as_str())).lines(body),
            (Page::All, Some(look)) => sections(look, self.view.sort, Some(self.view), body),
        });
        lines.resize(room.height.saturating_sub(1), TextLine::default());
        lines.push(TextLine::fit(KEYS, Tone::Faint, room.width));
        // Less room than one line is none.
        lines.truncate(room.height);
        lines
    }

    fn head(&self, width: usize) -> Vec<TextLine> {
        let Self { look, away, view, every, now } = self;
        let engine = look.map_or("no look yet", |look| look.engine);
        let title = match &view.page {
            Page::Running(queue) => format!("running jobs of {queue}"),
            Page::All | Page::Help => format!("queues by {}", view.sort.name()),
        };
        let title = format!("orderworks top  {engine}  {title}  every {} s", every.as_secs());
        let mut lines = vec![TextLine::fit(&title, Tone::Heading, width)];
        if let Some(look) = look {
            lines.push(TextLine::fit(&facts(look), Tone::Plain, width));
            lines.extend(trouble(look, width));
        }
        let old = look.map_or_else(String::new, |look| format!("; figures are {} old", age(*now, look.at)));
        if view.is_paused {
            lines.push(TextLine::fit(&format!("VIEW PAUSED{old}; p goes on"), Tone::Warning, width));
        }
        if let Some((what, since)) = away {
            let text = format!("AWAY for {}{old}: {}", age(*now, *since), one_line(Some(*what)));
            lines.push(TextLine::fit(&text, Tone::Bad, width));
        }
        lines.push(TextLine::default());
        lines
    }
}

/// A look as plain text with all of its rows.
pub(super) fn plain(look: &Snapshot, width: usize) -> String {
    let mut lines = vec![TextLine::fit(&facts(look), Tone::Plain, width)];
    lines.extend(trouble(look, width));
    lines.push(TextLine::default());
    lines.extend(sections(look, Sort::default(), None, Room { width, height: usize::MAX }));
    lines.iter().flat_map(|line| [line.text.as_str(), "\n"]).collect()
}

fn facts(look: &Snapshot) -> String {
    let Snapshot { at, engine, outbox, short_delays, workers, .. } = look;
    let outbox = outbox.as_ref().map_or_else(
        || "outbox unknown".to_owned(),
        |outbox| {
            let oldest = outbox.oldest_at.map_or_else(|| "-".to_owned(), |oldest| age(*at, oldest));
            let more = if outbox.messages < BACKLOG_COUNTED_MAX { "" } else { "+" };
            format!("outbox {}{more}, oldest {oldest}, set aside {}", outbox.messages, outbox.set_aside)
        },
    );
    let mut names: Vec<_> =
        workers.iter().filter_map(|worker| Some(&*worker.note.as_ref()?.worker)).collect();
    names.sort_unstable();
    names.dedup();
    let (second, workers) = (Timestamp::from_second(at.as_second()).unwrap_or(*at), names.len());
    format!("{second}  {engine}  {outbox}  short delays {short_delays}  worker processes {workers}")
}

/// What needs a person, one line each.
fn trouble(look: &Snapshot, width: usize) -> Vec<TextLine> {
    let names = |is: fn(&QueueSnapshot) -> bool| {
        let names: Vec<_> = look.queues.iter().filter(|queue| is(queue)).map(QueueSnapshot::name).collect();
        names.join(", ")
    };
    let unconsumed = names(|queue| queue.status.is_unconsumed());
    let paused = names(|queue| queue.status.depth.paused);
    let set_aside = look.outbox.as_ref().map_or(0, |outbox| outbox.set_aside);
    let mut lines = Vec::new();
    if let Some(away) = &look.away {
        lines.push(TextLine::fit(&format!("AWAY: {}", one_line(Some(away.as_str()))), Tone::Bad, width));
    }
    if !unconsumed.is_empty() {
        lines.push(TextLine::fit(&format!("NOBODY CONSUMES: {unconsumed}"), Tone::Bad, width));
    }
    if set_aside > 0 {
        let text = format!("OUTBOX: no relay can read {set_aside} messages, see `inspect outbox`");
        lines.push(TextLine::fit(&text, Tone::Bad, width));
    }
    if !paused.is_empty() {
        lines.push(TextLine::fit(&format!("PAUSED: {paused}"), Tone::Warning, width));
    }
    lines
}

/// Queues, workers and running jobs, one below the other: queues come first, the rest shares what they leave.
fn sections(look: &Snapshot, sort: Sort, view: Option<&View>, room: Room) -> Vec<TextLine> {
    let mut lines = queue_table(look, sort, view).lines(room);
    let (workers, running) = (worker_table(look), running_table(look, None));
    let left = |lines: &[TextLine]| room.height.saturating_sub(lines.len() + 1);
    // Running jobs get what workers leave, and half of the room where both want more.
    let height = left(&lines);
    let for_running = (running.height() + 1).min(height / 2);
    for (table, height) in [(workers, height - for_running), (running, usize::MAX)] {
        let height = height.min(left(&lines));
        if height >= TABLE_LINES_MIN.min(table.height()) {
            lines.push(TextLine::default());
            lines.extend(table.lines(Room { height, ..room }));
        }
    }
    lines
}

fn queue_table(look: &Snapshot, sort: Sort, view: Option<&View>) -> Table {
    let columns = vec![
        Column::text("  QUEUE", 0),
        Column::number("READY", 0),
        Column::number("RUNNING", 1),
        Column::number("DELAYED", 3),
        Column::number("DEAD", 2),
        Column::number("OLDEST", 1),
        Column::number("CONS", 2),
        Column::number("WANT", 3),
        Column::number("SLOTS", 5),
        Column::number("IN/S", 5),
        Column::number("OUT/S", 4),
        Column::text("STATE", 0),
    ];
    let queues = sort.sorted(look);
    let selected = view.and_then(|view| view.selected(&queues));
    let row = |(at, queue): (usize, &&QueueSnapshot)| queue_row(queue, look.at, selected == Some(at));
    let rows = queues.iter().enumerate().map(row).collect();
    Table { columns, rows, selected, empty: "  No queue is declared: no worker has started yet." }
}

fn queue_row(queue: &QueueSnapshot, at: Timestamp, is_selected: bool) -> Row {
    let (status, depth) = (&queue.status, &queue.status.depth);
    let (state, tone) = state(queue);
    let rate = |rate: Option<f64>| rate.map_or_else(|| "-".to_owned(), |rate| format!("{rate:.1}"));
    let cells = vec![
        format!("{} {}", if is_selected { '>' } else { ' ' }, depth.queue),
        depth.ready.to_string(),
        depth.running.to_string(),
        depth.delayed.to_string(),
        depth.dead.to_string(),
        depth.oldest_ready_at.map_or_else(|| "-".to_owned(), |oldest| age(at, oldest)),
        status.consumers.to_string(),
        queue.desired_workers.map_or_else(|| "-".to_owned(), |workers| workers.to_string()),
        status.slots.to_string(),
        rate(queue.arrivals_per_second),
        rate(queue.ended_per_second),
        state,
    ];
    Row { cells, tone: if is_selected { Tone::Selected } else { tone } }
}

/// The state of a queue in words.
fn state(queue: &QueueSnapshot) -> (String, Tone) {
    let mut words = Vec::new();
    let mut tone = Tone::Plain;
    for (holds, word, its) in [
        (queue.limited_by.is_some(), "LIMITED", Tone::Warning),
        (queue.status.depth.paused, "PAUSED", Tone::Warning),
        (queue.status.is_unconsumed(), "NOBODY CONSUMES", Tone::Bad),
    ] {
        if holds {
            words.push(word);
            tone = its;
        }
    }
    if words.is_empty() { ("ok".to_owned(), tone) } else { (words.join(", "), tone) }
}

fn worker_table(look: &Snapshot) -> Table {
    // Of the columns of `inspect workers`; trouble is shown as long as anything.
    let ranks = [0, 0, 3, 1, 4, 2, 1, 3, 0];
    let columns = WORKER_HEADINGS.into_iter().zip(ranks).map(|(heading, rank)| Column::text(heading, rank));
    let row = |worker: &WorkerStatus| {
        let cells = worker_cells(worker, look.at);
        let is_well = cells.last().is_none_or(String::is_empty) && worker.alive_until >= Some(look.at);
        Row { cells: cells.into(), tone: if is_well { Tone::Plain } else { Tone::Bad } }
    };
    let rows = look.workers.iter().map(row).collect();
    let empty = "No worker: start one with `orderworks worker`.";
    Table { columns: columns.collect(), rows, selected: None, empty }
}

/// Running jobs, of this queue or of all.
fn running_table(look: &Snapshot, queue: Option<&str>) -> Table {
    let ranks = [0, 0, 1, 3, 4, 0, 2, 5];
    let columns =
        RunningRow::HEADINGS.into_iter().zip(ranks).map(|(heading, rank)| Column::text(heading, rank));
    let its = look.running.iter().filter(|row| queue.is_none_or(|queue| row.queue == queue));
    let row = |row: &RunningRow| Row { cells: row.cells(look.at).into(), tone: Tone::Plain };
    let mut rows: Vec<_> = its.map(row).collect();
    if look.running.len() >= usize::try_from(RUNNING_MAX).unwrap_or(usize::MAX) {
        rows.push(Row { cells: vec![format!("… the first {RUNNING_MAX}")], tone: Tone::Faint });
    }
    Table { columns: columns.collect(), rows, selected: None, empty: "No job runs." }
}
