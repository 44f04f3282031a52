//! Choices by keys: the selected queue, the order of the queues, the page, and whether the view stands still.
//!
//! Guarantees: the selection follows its queue when the order changes, and is kept while the queue is gone. No key
//! changes anything but this.

use std::cmp::Reverse;

use base::Timestamp;
use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use super::look::{QueueSnapshot, Snapshot};

/// Order of the queues.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Sort {
    /// What needs a person first.
    #[default]
    Trouble,
    Name,
    /// Most ready jobs first.
    Ready,
    /// The longest wait first.
    Oldest,
    /// Most ended runs first.
    Ended,
}

impl Sort {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Trouble => "trouble",
            Self::Name => "name",
            Self::Ready => "ready",
            Self::Oldest => "oldest",
            Self::Ended => "ended",
        }
    }

    const fn following(self) -> Self {
        match self {
            Self::Trouble => Self::Name,
            Self::Name => Self::Ready,
            Self::Ready => Self::Oldest,
            Self::Oldest => Self::Ended,
            Self::Ended => Self::Trouble,
        }
    }

    /// The queues in this order, equal ones by name.
    pub(super) fn sorted(self, look: &Snapshot) -> Vec<&QueueSnapshot> {
        let mut queues: Vec<_> = look.queues.iter().collect();
        queues.sort_by(|one, other| one.name().cmp(other.name()));
        match self {
            Self::Trouble => queues.sort_by_key(|queue| queue.status.rank()),
            Self::Name => {}
            Self::Ready => queues.sort_by_key(|queue| Reverse(queue.status.depth.ready)),
            Self::Oldest => {
                queues.sort_by_key(|queue| queue.status.depth.oldest_ready_at.unwrap_or(Timestamp::MAX));
            }
            Self::Ended => {
                let rate = |queue: &QueueSnapshot| queue.ended_per_second.unwrap_or_default();
                queues.sort_by(|one, other| rate(other).total_cmp(&rate(one)));
            }
        }
        queues
    }
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) enum Page {
    /// Queues, workers and running jobs.
    #[default]
    All,
    /// Running jobs of one queue.
    Running(String),
    Help,
}

#[derive(Debug, Default)]
pub(super) struct View {
    pub(super) page: Page,
    pub(super) sort: Sort,
    /// Name of a queue; the first one of the order before a key has chosen.
    selected: Option<String>,
    /// Whether the view stands still; the queues go on.
    pub(super) is_paused: bool,
}

impl View {
    /// Place of the selected queue among these.
    pub(super) fn selected(&self, queues: &[&QueueSnapshot]) -> Option<usize> {
        let named = self.selected.as_deref();
        let found = queues.iter().position(|queue| Some(queue.name()) == named);
        found.or_else(|| (!queues.is_empty()).then_some(0))
    }

    /// The queue whose running jobs are shown.
    pub(super) fn queue(&self) -> Option<&str> {
        match &self.page {
            Page::Running(queue) => Some(queue.as_str()),
            Page::All | Page::Help => None,
        }
    }

    /// Does what a key asks for, on the queues of a look; returns whether the view goes on.
    pub(super) fn press(&mut self, key: KeyEvent, look: Option<&Snapshot>) -> bool {
        match key.code {
            KeyCode::Char('c') if key.modifiers.contains(KeyModifiers::CONTROL) => return false,
            KeyCode::Char('q') => return false,
            KeyCode::Esc if self.page == Page::All => return false,
            KeyCode::Esc => self.page = Page::All,
            KeyCode::Char('?') => self.page = if self.page == Page::Help { Page::All } else { Page::Help },
            KeyCode::Char('p') => self.is_paused = !self.is_paused,
            KeyCode::Char('s') => self.sort = self.sort.following(),
            KeyCode::Up | KeyCode::Char('k') => self.step(look, |at| at.saturating_sub(1)),
            KeyCode::Down | KeyCode::Char('j') => self.step(look, |at| at + 1),
            KeyCode::Enter => self.enter(look),
            _ => {}
        }
        true
    }

    /// Selects another queue, of which there is none beyond the ends.
    fn step(&mut self, look: Option<&Snapshot>, step: impl Fn(usize) -> usize) {
        let queues = look.map(|look| self.sort.sorted(look)).unwrap_or_default();
        let Some(at) = self.selected(&queues) else { return };
        let at = step(at).min(queues.len() - 1);
        self.selected = queues.get(at).map(|queue| queue.name().to_owned());
        if self.queue().is_some()
            && let Some(queue) = self.selected.clone()
        {
            self.page = Page::Running(queue);
        }
    }

    /// Shows the running jobs of the selected queue, or all again.
    fn enter(&mut self, look: Option<&Snapshot>) {
        if self.page != Page::All {
            self.page = Page::All;
            return;
        }
        let queues = look.map(|look| self.sort.sorted(look)).unwrap_or_default();
        let name = self.selected(&queues).and_then(|at| queues.get(at)).map(|queue| queue.name().to_owned());
        if let Some(name) = name {
            self.selected = Some(name.clone());
            self.page = Page::Running(name);
        }
    }
}
