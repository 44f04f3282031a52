//! Layout of frames, and what keys do.

use std::time::Duration;

use base::{Timestamp, time::later};
use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use jobs::{
    engine::Depth,
    inspection::{QueueStatus, WorkerStatus},
    job_store::WorkerNote,
};
use store::outbox::Backlog;

use super::{
    frame::{Scene, plain},
    look::{QueueSnapshot, Snapshot},
    table::{Room, TextLine, Tone},
    view::{Page, Sort, View},
};
use crate::commands::running::RunningRow;

fn at(second: u64) -> Timestamp {
    later(Timestamp::UNIX_EPOCH, Duration::from_secs(second))
}

fn queue(name: &str, ready: u64, consumers: usize, paused: bool) -> QueueSnapshot {
    let oldest_ready_at = (ready > 0).then(|| at(1000 - ready));
    let depth =
        Depth { queue: name.to_owned(), ready, delayed: 3, running: 2, dead: 1, oldest_ready_at, paused };
    QueueSnapshot {
        status: QueueStatus { depth, consumers, slots: 16, fair: None },
        desired_workers: Some(4),
        limited_by: None,
        arrivals_per_second: Some(2.5),
        ended_per_second: Some(1.25),
    }
}

fn worker(name: &str, trouble: Option<&str>) -> WorkerStatus {
    let note = WorkerNote {
        worker: name.to_owned(),
        queue: "email".to_owned(),
        release: "0.1.0".to_owned(),
        started_at: at(1),
        noted_at: at(998),
        slots: 8,
        used: 2,
        configured: 8,
        contact_at: Some(at(999)),
        trouble: trouble.map(str::to_owned),
        runs: Vec::new(),
        ended: 7,
        busy_ms: 70,
        held_back: false,
    };
    let (name, queue) = (format!("{name}/email"), "email".to_owned());
    WorkerStatus { name, queue, jobs: 2, alive_until: Some(at(1020)), note: Some(note) }
}

fn running(queue: &str) -> RunningRow {
    RunningRow {
        id: "job_01900000-0000-7000-8000-000000000000".parse().expect("an id"),
        kind: format!("send_{queue}"),
        queue: queue.to_owned(),
        attempt: 1,
        max_attempts: 5,
        worker: Some("one".to_owned()),
        since: Some(at(990)),
        progress: None,
    }
}

fn look() -> Snapshot {
    Snapshot {
        at: at(1000),
        engine: "sqlite",
        queues: vec![
            queue("email", 0, 1, false),
            queue("fulfilment", 40, 1, true),
            queue("payments", 10, 0, false),
        ],
        short_delays: 5,
        outbox: Some(Backlog { messages: 12, oldest_at: Some(at(997)), set_aside: 0 }),
        workers: vec![worker("one", None), worker("two", Some("broker unreachable"))],
        running: vec![running("email"), running("payments")],
        away: None,
    }
}

fn scene<'a>(look: &'a Snapshot, view: &'a View) -> Scene<'a> {
    Scene { look: Some(look), away: None, view, every: Duration::from_secs(2), now: at(1002) }
}

fn text(lines: &[TextLine]) -> String {
    lines.iter().flat_map(|line| [line.text.as_str(), "\n"]).collect()
}

fn key(code: KeyCode) -> KeyEvent {
    KeyEvent::new(code, KeyModifiers::NONE)
}

#[test]
fn a_frame_fits_every_terminal() {
    let (look, mut view) = (look(), View::default());
    for page in [Page::All, Page::Running("email".to_owned()), Page::Help] {
        view.page = page;
        for (width, height) in [(1, 1), (20, 5), (40, 12), (80, 24), (200, 60)] {
            let lines = scene(&look, &view).lines(Room { width, height });
            assert_eq!(lines.len(), height, "{width}");
            assert!(lines.iter().all(|line| line.text.chars().count() <= width), "{}", text(&lines));
        }
    }
}

#[test]
fn a_wide_frame_has_all_and_a_narrow_one_what_matters_most() {
    let (look, view) = (look(), View::default());
    let wide = text(&scene(&look, &view).lines(Room { width: 200, height: 40 }));
    let all =
        ["sqlite", "outbox 12, oldest 3.0 s", "short delays 5", "WANT", "IN/S", "2.5", "broker unreachable"];
    for wanted in all.into_iter().chain(["send_email", "worker processes 2", "SLOTS", "q quit"]) {
        assert!(wide.contains(wanted), "{wanted}: {wide}");
    }
    let narrow = text(&scene(&look, &view).lines(Room { width: 50, height: 40 }));
    for wanted in ["QUEUE", "READY", "STATE", "NOBODY CONSUMES"] {
        assert!(narrow.contains(wanted), "{wanted}: {narrow}");
    }
    assert!(!narrow.contains("IN/S"), "{narrow}");
}

#[test]
fn trouble_is_first_and_told_in_words() {
    let (look, view) = (look(), View::default());
    let lines = scene(&look, &view).lines(Room { width: 200, height: 40 });
    let shown = text(&lines);
    assert!(shown.contains("NOBODY CONSUMES: payments") && shown.contains("PAUSED: fulfilment"), "{shown}");
    let place =
        |name: &str| lines.iter().position(|line| line.text.get(2..).is_some_and(|l| l.starts_with(name)));
    let places = ["payments ", "fulfilment ", "email "].map(|name| place(name).expect("is shown"));
    assert!(places.is_sorted(), "{shown}");
    let row = lines.get(places[0]).expect("a row");
    assert!(row.tone == Tone::Selected && row.text.starts_with("> payments"), "{shown}");
}

#[test]
fn the_last_look_stays_while_a_server_is_away() {
    let (look, view) = (look(), View::default());
    let away = Some(("the rabbitmq engine is unavailable", at(998)));
    let shown = text(&Scene { away, ..scene(&look, &view) }.lines(Room { width: 200, height: 40 }));
    let wanted = "AWAY for 4.0 s; figures are 2.0 s old: the rabbitmq engine is unavailable";
    assert!(shown.contains(wanted) && shown.contains("fulfilment"), "{shown}");
    let shown =
        text(&Scene { away, look: None, ..scene(&look, &view) }.lines(Room { width: 80, height: 24 }));
    assert!(shown.contains("no look yet") && shown.contains("AWAY for 4.0 s: the rabbitmq"), "{shown}");
}

#[test]
fn plain_text_has_every_row_and_no_keys() {
    let mut look = look();
    look.queues.extend((0..60).map(|number| queue(&format!("queue_{number}"), 0, 1, false)));
    let shown = plain(&look, usize::MAX);
    assert!(shown.contains("queue_59") && shown.contains("broker unreachable"), "{shown}");
    assert!(
        !shown.contains("not shown") && !shown.contains("q quit") && !shown.contains('\u{1b}'),
        "{shown}"
    );
}

#[test]
fn the_selected_queue_is_visible_and_kept_by_name() {
    let mut look = look();
    look.queues.extend((0..60).map(|number| queue(&format!("queue_{number:02}"), 0, 1, false)));
    let mut view = View::default();
    view.press(key(KeyCode::Char('s')), Some(&look));
    assert_eq!(view.sort, Sort::Name);
    for _ in 0..50 {
        assert!(view.press(key(KeyCode::Down), Some(&look)));
    }
    let shown = text(&scene(&look, &view).lines(Room { width: 80, height: 24 }));
    assert!(shown.contains("> queue_47") && shown.contains("of 63 not shown"), "{shown}");
    // By ready jobs: it stays selected, elsewhere in the list.
    view.press(key(KeyCode::Char('s')), Some(&look));
    assert_eq!(view.sort, Sort::Ready);
    view.press(key(KeyCode::Enter), Some(&look));
    assert_eq!(view.queue(), Some("queue_47"));
    for _ in 0..100 {
        view.press(key(KeyCode::Char('k')), Some(&look));
    }
    assert_eq!(view.queue(), Some("fulfilment"), "there is none before the first");
}

#[test]
fn keys_open_pages_and_quit() {
    let (look, mut view) = (look(), View::default());
    assert!(view.press(key(KeyCode::Enter), Some(&look)));
    assert_eq!(view.page, Page::Running("payments".to_owned()));
    let shown = text(&scene(&look, &view).lines(Room { width: 200, height: 40 }));
    assert!(shown.contains("send_payments") && !shown.contains("send_email"), "{shown}");
    assert!(view.press(key(KeyCode::Esc), Some(&look)));
    assert_eq!(view.page, Page::All);
    assert!(view.press(key(KeyCode::Char('?')), None));
    assert_eq!(view.page, Page::Help);
    assert!(view.press(key(KeyCode::Char('p')), None) && view.is_paused);
    let shown = text(&scene(&look, &view).lines(Room { width: 80, height: 24 }));
    assert!(shown.contains("VIEW PAUSED; figures are 2.0 s old"), "{shown}");
    assert!(view.press(key(KeyCode::Char('p')), None) && !view.is_paused);
    assert!(view.press(key(KeyCode::Char('c')), None), "without Ctrl it is no key");
    assert!(!view.press(KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL), None));
    assert!(!view.press(key(KeyCode::Char('q')), None));
    view.page = Page::All;
    assert!(!view.press(key(KeyCode::Esc), None));
}
