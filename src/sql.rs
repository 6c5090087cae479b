//! The statements of the consumer, one file each below `sql/consume`.

macro_rules! statements {
    ($($name:ident = $file:literal),* $(,)?) => {
        $(pub const $name: &str = include_str!(concat!("../sql/consume/", $file));)*

        /// All of them with their files, so that a test can prepare each against a fresh installation.
        pub const ALL: &[(&str, &str)] = &[$(($file, $name)),*];
    };
}

statements! {
    // on the source
    DUE_REFERENCE_TYPES = "due_reference_types.sql",
    TABLE_DEFINITION = "table_definition.sql",
    COLUMN_TYPES = "column_types.sql",
    CLAIM_DUE = "claim_due.sql",
    CLAIM_EXACTLY = "claim_exactly.sql",
    ACKNOWLEDGE = "acknowledge.sql",
    POSTPONE = "postpone.sql",
    PARK_DEAD_LETTERS = "park_dead_letters.sql",
    HEAL_DEAD_LETTERS = "heal_dead_letters.sql",
    ENQUEUE_KNOWN_BILLS = "enqueue_known_bills.sql",
    HEARTBEAT = "heartbeat.sql",
    RESOLVE_DIRTY_TABLES = "resolve_dirty_tables.sql",
    // on the ledger
    POSTING_RULE = "posting_rule.sql",
    POSTING_RULE_HASH = "posting_rule_hash.sql",
    INSERT_STATUS = "insert_status.sql",
    LOCK_STATUS = "lock_status.sql",
    LIVE_LINES = "live_lines.sql",
    POSTED_EVENTS = "posted_events.sql",
    ENTRY_IDS = "entry_ids.sql",
    POST_ENTRIES = "post_entries.sql",
    UPDATE_STATUS = "update_status.sql",
    KNOWN_BILLS = "known_bills.sql",
}

/// The ones that run on the ledger; the others run on the source.
pub const ON_LEDGER: &[&str] = &[
    POSTING_RULE,
    POSTING_RULE_HASH,
    INSERT_STATUS,
    LOCK_STATUS,
    LIVE_LINES,
    ENTRY_IDS,
    POST_ENTRIES,
    UPDATE_STATUS,
    KNOWN_BILLS,
];
