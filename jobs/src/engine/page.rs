//! Pages of listings, bounded by number and by bytes.
//!
//! A listing of a thousand of the largest jobs would take more memory than an inspected process has to spare, so a page
//! ends early when its jobs are large. It is read in chunks, none of which is large.

use super::{EngineError, JobFilter, LIST_MAX};
use crate::envelope::{Envelope, JobId};

/// Bytes of jobs after which a page ends; the last chunk may go beyond.
pub(crate) const BYTES_MAX: usize = 16 * 1024 * 1024;
/// Jobs read at a time.
pub(crate) const CHUNK_MAX: u32 = 64;
/// Most bytes of a job beside its payload, roughly: the error text, keys, names.
const REST_BYTES: usize = 4096;

/// A page of a listing.
#[derive(Debug)]
pub(crate) struct Page<T> {
    /// Jobs by id.
    pub(crate) jobs: Vec<T>,
    /// Whether the page ended by its limit or its size, so that others may follow.
    pub(crate) more: bool,
}

/// A job of a listing.
pub(crate) trait Listed {
    fn envelope(&self) -> &Envelope;
}

#[cfg(feature = "rabbitmq")]
impl<T: Listed> Page<T> {
    /// The id after which the next page begins, if others may follow.
    pub(crate) fn end(&self) -> Option<JobId> {
        self.jobs.last().map(|job| job.envelope().id).filter(|_| self.more)
    }
}

/// Reads a page of jobs by id: each call gets the id to start after, and the number of jobs wanted.
pub(crate) async fn read_page<T: Listed, F>(
    filter: &JobFilter,
    read: impl Fn(Option<JobId>, u32) -> F,
) -> Result<Page<T>, EngineError>
where
    F: Future<Output = Result<Vec<T>, EngineError>>,
{
    let (mut page, mut bytes, mut after) = (Page { jobs: Vec::new(), more: false }, 0, filter.after);
    let mut room = filter.limit.min(LIST_MAX);
    loop {
        if room == 0 || bytes >= BYTES_MAX {
            page.more = true;
            return Ok(page);
        }
        let chunk = read(after, room.min(CHUNK_MAX)).await?;
        // Corrupt rows may be left out of a chunk, so only an empty one is the last.
        let Some(last) = chunk.last() else { return Ok(page) };
        after = Some(last.envelope().id);
        bytes += chunk.iter().map(|job| bytes_of(job.envelope())).sum::<usize>();
        room = room.saturating_sub(u32::try_from(chunk.len()).unwrap_or(u32::MAX));
        page.jobs.extend(chunk);
    }
}

/// Size of a job in a listing, roughly.
pub(crate) fn bytes_of(envelope: &Envelope) -> usize {
    envelope.payload.get().len() + REST_BYTES
}
