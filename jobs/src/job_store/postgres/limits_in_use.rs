//! Listing of the keys of limits that are in use.
//!
//! Guarantees: a page goes from key to key by the indexes, so it costs the same whatever other keys are in use, and
//! however many rows a key has. Next: `limits`, where the rows come from.

use crate::job_store::LimitFilter;

/// The server's time, rounded down to the millisecond.
macro_rules! clock_table {
    () => {
        "clock AS MATERIALIZED (SELECT floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint AS ms)"
    };
}
pub(super) use clock_table;

/// The first key in use of a table whose rows count until the time in this column, of the keys under this condition.
macro_rules! first_key_of {
    ($table:literal, $until:literal, $keys:literal) => {
        concat!(
            "(SELECT limit_name, limit_key FROM jobs.",
            $table,
            " WHERE ",
            $keys,
            " AND ",
            $until,
            " > (SELECT ms FROM clock) ORDER BY limit_name, limit_key LIMIT 1)"
        )
    };
}

/// The first key in use of all tables, of the keys under this condition.
macro_rules! first_key {
    ($keys:literal) => {
        concat!(
            "(SELECT limit_name, limit_key FROM (",
            first_key_of!("limit_leases", "expires_at", $keys),
            " UNION ALL ",
            first_key_of!("limit_blocks", "counts_until", $keys),
            " UNION ALL ",
            first_key_of!("limit_parked", "ends_at", $keys),
            ") AS candidates ORDER BY limit_name, limit_key LIMIT 1)"
        )
    };
}

/// A page of keys in use that begins with those of `$from`; those of `$after` follow one of `keys`.
macro_rules! in_use_page {
    ($from:literal, $after:literal) => {
        concat!(
            "WITH RECURSIVE ",
            clock_table!(),
            ", keys AS (
              SELECT began.limit_name, began.limit_key, 1::bigint AS place FROM ",
            first_key!($from),
            " AS began
              UNION ALL
              SELECT follows.limit_name, follows.limit_key, keys.place + 1 FROM keys CROSS JOIN LATERAL ",
            first_key!($after),
            " AS follows WHERE keys.place < $3),
            page AS MATERIALIZED (SELECT limit_name, limit_key FROM keys ORDER BY place LIMIT $3)
            SELECT page.limit_name, page.limit_key, leases.leased, leases.holders, blocks.starts, line.parked,
              line.oldest_parked_at
            FROM page CROSS JOIN clock,
              LATERAL (SELECT coalesce(sum(slots), 0)::bigint AS leased, count(*) AS holders
                FROM jobs.limit_leases AS lease WHERE lease.limit_name = page.limit_name
                  AND lease.limit_key = page.limit_key AND lease.expires_at > clock.ms) AS leases,
              LATERAL (SELECT coalesce(sum(starts), 0)::bigint AS starts
                FROM jobs.limit_blocks AS block WHERE block.limit_name = page.limit_name
                  AND block.limit_key = page.limit_key AND block.counts_until > clock.ms) AS blocks,
              LATERAL (SELECT count(*) AS parked, min(parked_at) AS oldest_parked_at FROM (
                SELECT parked_at FROM jobs.limit_parked AS parked WHERE parked.limit_name = page.limit_name
                  AND parked.limit_key = page.limit_key AND parked.ends_at > clock.ms
                ORDER BY parked_at, job LIMIT $4) AS counted) AS line
            ORDER BY page.limit_name, page.limit_key"
        )
    };
}

pub(super) const IN_USE: &str = in_use_page!(
    "(limit_name, limit_key) >= ($1::text, $2::text)",
    "(limit_name, limit_key) > (keys.limit_name, keys.limit_key)"
);

/// The same of one limit.
pub(super) const IN_USE_OF: &str = in_use_page!(
    "limit_name = $1::text AND limit_key >= $2::text",
    "limit_name = keys.limit_name AND limit_key > keys.limit_key"
);

/// The statement of a page, and the first name and key that it may hold; `None` if none may follow.
pub(super) fn page_of(filter: &LimitFilter) -> Option<(&'static str, String, String)> {
    // The text that follows another one by bytes: no text of the server has a NUL.
    let from = filter.after.as_ref().map(|(name, key)| (name.clone(), format!("{key}\u{1}")));
    let Some(limit) = filter.limit.clone() else {
        let (name, key) = from.unwrap_or_default();
        return Some((IN_USE, name, key));
    };
    match from {
        Some((name, _)) if name > limit => None,
        Some((name, key)) if name == limit => Some((IN_USE_OF, limit, key)),
        _ => Some((IN_USE_OF, limit, String::new())),
    }
}
