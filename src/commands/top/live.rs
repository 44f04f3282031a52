//! The live view: looks, keys, the clock and signals, joined on a screen.
//!
//! Guarantees: drawing never waits for a look, so keys are answered while a server is away; a look that fails changes
//! nothing but the line that tells it.

use std::{
    io::{self, IsTerminal},
    thread,
    time::Duration,
};

use anyhow::{Context, Result, bail};
use base::{Ambient, Timestamp};
use crossterm::event::{self, Event, KeyEvent, KeyEventKind};
use tokio::{
    sync::{mpsc, watch},
    time::{MissedTickBehavior, interval},
};

use super::{
    frame::Scene,
    look::{Snapshot, Watched},
    screen::Screen,
    view::View,
};
use crate::{logging, signals::EndSignals};

/// Keys that wait while a frame is drawn.
const EVENTS_MAX: usize = 64;
/// Time between two frames in which only ages change.
const CLOCK_EVERY: Duration = Duration::from_secs(1);

/// What the next look is to be.
#[derive(Debug, Clone, Default)]
struct Wanted {
    is_paused: bool,
    /// The queue whose running jobs are shown.
    queue: Option<String>,
}

/// What the view shows, and what it has of looks.
struct Live {
    view: View,
    look: Option<Snapshot>,
    /// What is away, and since when.
    away: Option<(String, Timestamp)>,
    every: Duration,
    ambient: Ambient,
}

/// Shows looks until a key or a signal ends it.
pub(super) async fn run(watched: Watched, every: Duration) -> Result<()> {
    if !io::stdin().is_terminal() {
        bail!("standard input is no terminal, so there are no keys: use --once or --json");
    }
    let mut signals = EndSignals::listen()?;
    let (wanted, wanting) = watch::channel(Wanted::default());
    let (found, mut looks) = mpsc::channel(1);
    let mut live = Live { view: View::default(), look: None, away: None, every, ambient: Ambient::system() };
    let mut clock = interval(CLOCK_EVERY);
    clock.set_missed_tick_behavior(MissedTickBehavior::Delay);
    // Dropped after the screen: the lines are written below what was there before.
    let _held = logging::hold_while_drawing();
    let mut screen = Screen::open().context("the terminal cannot be drawn on")?;
    let mut events = events()?;
    tokio::spawn(look_on(watched, every, wanting, found));
    loop {
        screen.draw(|room| live.scene().lines(room))?;
        tokio::select! {
            look = looks.recv() => live.take(look.context("the looks have ended")?),
            // Another size is drawn at once, as all events.
            event = events.recv() => {
                if let Event::Key(key) = event.context("the keys have ended")??
                    && key.kind != KeyEventKind::Release
                {
                    if !live.press(key) {
                        return Ok(());
                    }
                    wanted.send_replace(live.wanted());
                }
            }
            _ = clock.tick() => {}
            () = signals.received() => return Ok(()),
        }
    }
}

impl Live {
    fn scene(&self) -> Scene<'_> {
        let away = self.away.as_ref().map(|(what, since)| (what.as_str(), *since));
        let (look, now) = (self.look.as_ref(), self.ambient.now());
        Scene { look, away, view: &self.view, every: self.every, now }
    }

    fn take(&mut self, found: Result<Snapshot, String>) {
        if self.view.is_paused {
            return;
        }
        match found {
            Ok(look) => (self.look, self.away) = (Some(look), None),
            Err(what) => {
                let since = self.away.take().map_or_else(|| self.ambient.now(), |(_, since)| since);
                self.away = Some((what, since));
            }
        }
    }

    fn press(&mut self, key: KeyEvent) -> bool {
        self.view.press(key, self.look.as_ref())
    }

    fn wanted(&self) -> Wanted {
        Wanted { is_paused: self.view.is_paused, queue: self.view.queue().map(str::to_owned) }
    }
}

/// Looks once a tick, unless the view is paused, until the receiver is gone.
async fn look_on(
    mut watched: Watched,
    every: Duration,
    wanted: watch::Receiver<Wanted>,
    looks: mpsc::Sender<Result<Snapshot, String>>,
) {
    let mut ticks = interval(every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let Wanted { is_paused, queue } = wanted.borrow().clone();
        if !is_paused && looks.send(watched.look(queue.as_deref()).await).await.is_err() {
            return;
        }
    }
}

/// Keys and changes of the terminal's size.
fn events() -> io::Result<mpsc::Receiver<io::Result<Event>>> {
    let (sender, events) = mpsc::channel(EVENTS_MAX);
    // A thread of its own, as reading blocks; it ends with the process.
    thread::Builder::new().name("keys".to_owned()).spawn(move || {
        loop {
            let event = event::read();
            let has_ended = event.is_err();
            if sender.blocking_send(event).is_err() || has_ended {
                return;
            }
        }
    })?;
    Ok(events)
}
