//! Named points between the steps of a batch at which a test can have the process die, as by `kill -9`: nothing is rolled back, closed or
//! said. A release build has none.

/// The points, in the order in which a batch passes them.
pub const ALL: [&str; 7] = [
    "after_claim",
    "after_lock",
    "after_read",
    "before_ledger_commit",
    "after_ledger_commit",
    "before_acknowledgement",
    "after_acknowledgement",
];

/// The points of sealing.
pub const SEALING: [&str; 2] = ["before_block_commit", "after_block_commit"];

/// The points of the stream of changes.
pub const STREAM: [&str; 2] = ["before_stream_commit", "after_stream_commit"];

/// Dies here if `DAYBOOK_CRASH_AT` says so: a point, or `point:3` for the third time that it is passed.
#[cfg(debug_assertions)]
pub fn crash_point(point: &str) {
    use std::sync::LazyLock;
    use std::sync::atomic::{AtomicU32, Ordering};

    static PLAN: LazyLock<Option<(String, AtomicU32)>> = LazyLock::new(|| {
        let plan = std::env::var("DAYBOOK_CRASH_AT").ok()?;
        let (point, times) = plan.split_once(':').unwrap_or((&plan, "1"));
        Some((point.to_string(), AtomicU32::new(times.parse().ok()?)))
    });
    if let Some((planned, times)) = &*PLAN
        && planned == point
        && times.fetch_sub(1, Ordering::Relaxed) == 1
    {
        std::process::abort();
    }
}

#[cfg(not(debug_assertions))]
pub fn crash_point(_point: &str) {}
