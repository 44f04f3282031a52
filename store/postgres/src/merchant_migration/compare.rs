//! Copying and comparison of a merchant's rows: chunk by chunk, in every table, with the same code before and under the
//! fence.
//!
//! Guarantees: a chunk counts as equal when both databases have the same digest of it; a chunk that differs is copied
//! and compared again. Under the fence, a chunk that still differs after [`TRIES_MAX`] copies is an error that names
//! it. Before the fence, rows change concurrently, and remaining differences are left for a later pass. Until the
//! hand-over the target's rows are not in use, and the source's rows are only read. Rows are changed only by the
//! session that holds the lock of the migration (`guard`).

use std::collections::HashSet;

use base::ids::Uuid;
use sha2::{Digest, Sha256};

use super::{
    MoveError, Progress, Step, TableReport,
    guard::Guard,
    side::{Carried, Found, Side},
    sql::{Range, Values},
    tables::{Owner, TABLES, Table},
};
use crate::fault::PostgresFault;

/// Copies of a chunk before it counts as one that cannot be made equal.
const TRIES_MAX: u32 = 3;

/// Copies rows from one side to the other.
pub(super) struct Copier<'a> {
    pub(super) source: &'a Side,
    pub(super) target: &'a Side,
    pub(super) guard: &'a mut Guard,
    /// Rows in a chunk.
    pub(super) batch: u64,
    pub(super) progress: &'a Progress<'a>,
}

/// Rows of a table found equal so far.
#[derive(Default)]
struct Sum {
    rows: u64,
    copied: u64,
    digest: Sha256,
}

impl Sum {
    fn add(&mut self, found: &Found) {
        self.rows += found.rows;
        self.digest.update(&found.digest);
    }
}

impl Copier<'_> {
    /// Makes all tables of the target equal to those of the source. `strict`: no rows change concurrently, so they must
    /// be equal at the end.
    pub(super) async fn pass(&mut self, strict: bool) -> Result<Vec<TableReport>, MoveError> {
        let mut reports = Vec::with_capacity(TABLES.len());
        for table in TABLES {
            (self.progress)(if strict { Step::Comparing(table.label) } else { Step::Copying(table.label) });
            let mut sum = Sum::default();
            for owner in self.owners(table).await? {
                if table.is_log() {
                    self.log(table, owner, strict, &mut sum).await?;
                } else {
                    self.table(table, owner, strict, &mut sum).await?;
                }
            }
            let digest = hex::encode(sum.digest.finalize());
            reports.push(TableReport { table: table.label, rows: sum.rows, copied: sum.copied, digest });
        }
        Ok(reports)
    }

    async fn owners(&self, table: &Table) -> Result<Vec<Uuid>, PostgresFault> {
        let mut owners = self.source.owners(table).await?;
        if table.owner == Owner::Endpoint {
            owners.extend(self.target.owners(table).await?);
            owners.sort_unstable();
            owners.dedup();
        }
        Ok(owners)
    }

    async fn table(
        &mut self,
        table: &Table,
        owner: Uuid,
        strict: bool,
        sum: &mut Sum,
    ) -> Result<(), MoveError> {
        let (end, mut range) = (self.end(table, owner, strict).await?, Range::default());
        loop {
            range.upto.clone_from(&end);
            let page = self.source.digest(table, owner, &range, self.batch).await?;
            let is_last = page.rows < self.batch;
            if !is_last {
                range.upto.clone_from(&page.last);
            }
            self.chunk(table, owner, &range, page, strict, sum).await?;
            if is_last {
                return Ok(());
            }
            range.after = range.upto.take();
        }
    }

    /// The end of a pass. Under the fence there is none, so that rows of the target beyond the source's last row are
    /// found as well. Before it, a pass ends at the row that is the last one now: otherwise it would never end for a
    /// merchant that writes faster than its rows are copied.
    async fn end(&self, table: &Table, owner: Uuid, strict: bool) -> Result<Option<Values>, PostgresFault> {
        if strict { Ok(None) } else { self.source.last(table, owner).await }
    }

    async fn chunk(
        &mut self,
        table: &Table,
        owner: Uuid,
        range: &Range,
        page: Found,
        strict: bool,
        sum: &mut Sum,
    ) -> Result<(), MoveError> {
        let mut here = page;
        for tries in 0..=TRIES_MAX {
            let there = self.target.digest(table, owner, range, here.rows + 1).await?;
            if here.is_same(&there) {
                sum.add(&here);
                return Ok(());
            }
            if tries == TRIES_MAX {
                break;
            }
            sum.copied += self.copy(table, owner, range).await?;
            if !strict {
                // Concurrent changes are left for a later pass, and the sums of this pass are not used.
                return Ok(());
            }
            here = self.source.digest(table, owner, range, self.batch).await?;
        }
        Err(differs(table, range))
    }

    /// Copies a chunk, and deletes rows that only the target has.
    async fn copy(&mut self, table: &Table, owner: Uuid, range: &Range) -> Result<u64, MoveError> {
        let come = self.source.rows(table, owner, range, self.batch, true).await?;
        let mut range = range.clone();
        if come.len() as u64 == self.batch {
            // The range may have grown beyond a chunk; the rest is left for later.
            range.upto = come.last().map(|row| row.key.clone());
        }
        let there = self.target.rows(table, owner, &range, u64::MAX, false).await?;
        let kept: HashSet<&Values> = come.iter().map(|row| &row.identity).collect();
        let gone: Vec<Values> =
            there.into_iter().map(|row| row.identity).filter(|identity| !kept.contains(identity)).collect();
        let copied = come.len() as u64;
        self.target.change(self.guard, table, &gone, come).await?;
        Ok(copied)
    }

    /// The same for rows whose order matters and whose keys are generated in the target: both sides are scanned in
    /// parallel, and from the first chunk that differs the target's rows are deleted and inserted again in the source's
    /// order.
    async fn log(
        &mut self,
        table: &Table,
        owner: Uuid,
        strict: bool,
        sum: &mut Sum,
    ) -> Result<(), MoveError> {
        let end = self.end(table, owner, strict).await?;
        let (mut here, mut there, mut tries) = (Range { after: None, upto: end }, Range::default(), 0);
        loop {
            let ours = self.source.digest(table, owner, &here, self.batch).await?;
            let is_last = ours.rows < self.batch;
            // One more row at the end, to detect whether the target has it.
            let limit = ours.rows + u64::from(is_last && strict);
            let theirs = self.target.digest(table, owner, &there, limit).await?;
            if ours.is_same(&theirs) {
                sum.add(&ours);
                if is_last {
                    return Ok(());
                }
                (here.after, there.after, tries) = (ours.last, theirs.last, 0);
                continue;
            }
            if tries == TRIES_MAX {
                return if strict { Err(differs(table, &here)) } else { Ok(()) };
            }
            tries += 1;
            clear(self.target, self.guard, table, owner, &there, self.batch).await?;
            let come = self.source.rows(table, owner, &here, self.batch, true).await?;
            sum.copied += come.len() as u64;
            self.target.change(self.guard, table, &[], come).await?;
        }
    }
}

/// Deletes the rows of a range, `batch` at a time; returns their number.
pub(super) async fn clear(
    side: &Side,
    guard: &mut Guard,
    table: &Table,
    owner: Uuid,
    range: &Range,
    batch: u64,
) -> Result<u64, MoveError> {
    let mut deleted = 0;
    loop {
        let rows = side.rows(table, owner, range, batch, false).await?;
        let gone: Vec<Values> = rows.into_iter().map(|Carried { identity, .. }| identity).collect();
        if gone.is_empty() {
            return Ok(deleted);
        }
        side.change(guard, table, &gone, Vec::new()).await?;
        deleted += gone.len() as u64;
    }
}

fn differs(table: &Table, range: &Range) -> MoveError {
    let end = |end: &Option<Values>| end.as_ref().map_or("the end".to_owned(), |values| values.join(", "));
    let after = range.after.as_ref().map_or("the start".to_owned(), |values| values.join(", "));
    MoveError::Differs { table: table.label, chunk: format!("from {after} to {}", end(&range.upto)) }
}
