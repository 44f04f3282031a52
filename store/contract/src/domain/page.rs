//! Cursor paging: by the last id of the page before, never by offset.

/// Request for one page of a list.
#[derive(Debug, Clone, Copy)]
pub struct PageRequest<C> {
    /// 1 to 100.
    pub limit: u32,
    /// Cursor: the page begins after this item; `None` begins at the start of the list.
    pub after: Option<C>,
}

/// One page of a list.
#[derive(Debug, Clone)]
pub struct Page<T> {
    /// The items, in the list's order.
    pub items: Vec<T>,
    pub has_more: bool,
}

impl<T> Page<T> {
    /// Makes a page of up to `limit + 1` fetched items: the extra item only shows that more follow.
    pub fn from_overfetched(mut items: Vec<T>, limit: u32) -> Self {
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let has_more = items.len() > limit;
        items.truncate(limit);
        Self { items, has_more }
    }
}
