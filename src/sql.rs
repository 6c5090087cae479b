//! The statements of the consumer, one file each below `sql/consume`, those of reconciliation, below `sql/reconcile`, and those of the stream
//! of changes, below `sql/stream`.

macro_rules! statements {
    ($folder:literal: $($name:ident = $file:literal),* $(,)?) => {
        $(pub const $name: &str = include_str!(concat!("../sql/", $folder, "/", $file));)*

        /// All of them with their files, so that a test can prepare each against a fresh installation.
        pub const ALL: &[(&str, &str)] = &[$(($file, $name)),*];
    };
}

statements! { "consume":
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
    TABLES_WITHOUT_RULES = "tables_without_rules.sql",
    FIRST_RULES = "first_rules.sql",
    ALERTS_OF_BILLS = "alerts_of_bills.sql",
    RESOLVE_UNSEEN_ALERT = "resolve_unseen_alert.sql",
    OBSERVE = "observe.sql",
    TAKE_UP_RULES = "take_up_rules.sql",
    CHANGED_PARTITIONS = "changed_partitions.sql",
    ENQUEUE_RECONCILE = "enqueue_reconcile.sql",
    QUEUE_IS_FULL = "queue_is_full.sql",
    KEEP_PROGRESS = "keep_progress.sql",
    RECONCILED = "reconciled.sql",
    RESOLVE_LEDGER_UNREACHABLE = "resolve_ledger_unreachable.sql",
    CONTRADICTED_WORDS = "contradicted_words.sql",
    QUEUED_EVENTS = "queued_events.sql",
    MEETING_OF_SOURCE = "meeting_of_source.sql",
    PROPOSE_TOKEN = "propose_token.sql",
    CONFIRM_TOKEN = "confirm_token.sql",
    RECONCILE_PROMOTED = "reconcile_promoted.sql",
    CASH_CLOSURE_TIME = "cash_closure_time.sql",
    TELL_UNCLOSED_CASH = "tell_unclosed_cash.sql",
    NOTE_GAPS = "note_gaps.sql",
    UNACKNOWLEDGED_GAPS = "unacknowledged_gaps.sql",
    // on the ledger
    END_UNHEARD_SESSIONS = "end_unheard_sessions.sql",
    PASS_LOST_ENTRY_IDS = "pass_lost_entry_ids.sql",
    NOTE_PROMOTION = "note_promotion.sql",
    REGISTER_SOURCE = "register_source.sql",
    LOCK_SOURCE = "lock_source.sql",
    KEEP_TOKEN = "keep_token.sql",
    REPORT_QUEUE = "report_queue.sql",
    POSTING_RULES = "posting_rules.sql",
    POSTING_RULE_VERSIONS = "posting_rule_versions.sql",
    RULES_IN_FORCE = "rules_in_force.sql",
    TAKE_BRAKE = "take_brake.sql",
    COUNT_REVERSED = "count_reversed.sql",
    INSERT_STATUS = "insert_status.sql",
    LOCK_STATUS = "lock_status.sql",
    LIVE_LINES = "live_lines.sql",
    POSTED_EVENTS = "posted_events.sql",
    POSTED_ALIKE = "posted_alike.sql",
    ENTRY_IDS = "entry_ids.sql",
    POST_ENTRIES = "post_entries.sql",
    UPDATE_STATUS = "update_status.sql",
    KNOWN_BILLS = "known_bills.sql",
    BILLS_OF_ALERT = "bills_of_alert.sql",
    CLOSED_CASH = "closed_cash.sql",
    UNCLOSED_CASH = "unclosed_cash.sql",
    // sealing, on the ledger
    FOUND_CHAIN = "found_chain.sql",
    HIGHEST_ID_GIVEN = "highest_id_given.sql",
    LOCK_CHAIN = "lock_chain.sql",
    UNSEALED_ENTRIES = "unsealed_entries.sql",
    SEALED_ENTRIES = "sealed_entries.sql",
    SEALED_LINES = "sealed_lines.sql",
    LAST_BLOCK = "last_block.sql",
    ADD_BLOCK = "add_block.sql",
    MOVE_MARK = "move_mark.sql",
}

pub mod reconcile {
    statements! { "reconcile":
        // on the source
        TABLES = "tables.sql",
        TEXTS = "texts.sql",
        QUEUE_OF_TABLE = "queue_of_table.sql",
        WAITING_BILLS = "waiting_bills.sql",
        BEGIN_RUN = "begin_run.sql",
        BEAT = "beat.sql",
        END_RUN = "end_run.sql",
        DUE = "due.sql",
        KEEP_FINDINGS = "keep_findings.sql",
        RESOLVE_FINDINGS = "resolve_findings.sql",
        RESOLVE_BILLS = "resolve_bills.sql",
        OPEN_FINDINGS = "open_findings.sql",
        OPEN_CRITICAL = "open_critical.sql",
        REPAIR = "repair.sql",
        ON_THEIR_WAY = "on_their_way.sql",
        CLINIC_RULES = "clinic_rules.sql",
        // on the ledger
        KNOWN_TYPES = "known_types.sql",
        LEDGER_SUMS = "ledger_sums.sql",
        OPEN_BUCKETS = "open_buckets.sql",
        ODD_BILLS = "odd_bills.sql",
        STATUS_DIFFERENCES = "status_differences.sql",
        RESTORE_STATUS = "restore_status.sql",
        JUDGED_BILLS = "judged_bills.sql",
        REFRESH_DIGESTS = "refresh_digests.sql",
        NOT_CURRENT_BILLS = "not_current_bills.sql",
        LEDGER_TOTALS = "ledger_totals.sql",
        LEDGER_BILLS = "ledger_bills.sql",
        OVERDUE_RECEIVABLES = "overdue_receivables.sql",
        RECEIVABLE_ACCOUNTS = "receivable_accounts.sql",
        BILLS_WITH_WARNINGS = "bills_with_warnings.sql",
    }
}

pub mod stream {
    statements! { "stream":
        DEFINITIONS = "definitions.sql",
        SLOT = "slot.sql",
        BEGIN = "begin.sql",
        VISIBLE = "visible.sql",
        ENQUEUE = "enqueue.sql",
        MOVE_PROGRESS = "move_progress.sql",
        MAKE_SPILL = "make_spill.sql",
        SPILL = "spill.sql",
        ENQUEUE_SPILLED = "enqueue_spilled.sql",
    }
}
