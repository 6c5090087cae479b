//! The queue as a table, who works on it, what holds vacuum back, and what waits for a person. Pure.

use super::Limits;
use super::facts::{Alert, Attention, Book, OpenTransaction, Prepared, Queue, Retained, Transactions};
use super::finding::{Finding, Place, Severity};
use crate::database::quote_literal;

/// `1 h 5 min`, `3 min`, `12 s`.
fn duration(seconds: i64) -> String {
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3_600 => format!("{} min", seconds / 60),
        3_600..86_400 => format!("{} h {} min", seconds / 3_600, seconds % 3_600 / 60),
        _ => format!("{} days", seconds / 86_400),
    }
}

fn by_age(seconds: i64, limits: &Limits) -> Option<Severity> {
    match seconds {
        age if age >= limits.transaction_error_s => Some(Severity::Error),
        age if age >= limits.transaction_warning_s => Some(Severity::Warning),
        _ => None,
    }
}

/// Long transactions keep dead rows in the queue, which then is slow to claim from.
pub fn long_transactions(transactions: &Transactions, limits: &Limits) -> Vec<Finding> {
    let finding = |open: &OpenTransaction| {
        let OpenTransaction { pid, user, application, state, seconds } = open;
        let problem = format!(
            "has been in a transaction for {} ({state}; role {user}, application {}): the queue's dead rows stay, and so does what \
             waits for older transactions to end",
            duration(*seconds),
            quote_literal(application)
        );
        let severity = by_age(*seconds, limits)?;
        Some(
            Finding::of(severity, "long_transactions", format!("session {pid}"), problem)
                .fix(Place::Source, format!("SELECT pg_terminate_backend({pid});")),
        )
    };
    transactions.sessions.iter().filter_map(finding).collect()
}

pub fn prepared_transactions(transactions: &Transactions, limits: &Limits) -> Vec<Finding> {
    let finding = |prepared: &Prepared| {
        let Prepared { gid, owner, seconds } = prepared;
        let problem = format!(
            "was prepared {} ago by {owner} and never ended: it holds its locks and the queue's dead rows. COMMIT PREPARED, if its \
             coordinator says so; else",
            duration(*seconds)
        );
        let severity = by_age(*seconds, limits)?;
        Some(
            Finding::of(severity, "prepared_transactions", format!("transaction {}", quote_literal(gid)), problem)
                .fix(Place::Source, format!("ROLLBACK PREPARED {};", quote_literal(gid))),
        )
    };
    transactions.prepared.iter().filter_map(finding).collect()
}

/// A slot that nobody reads holds rows and WAL of the whole cluster.
pub fn replication_slots(transactions: &Transactions, limits: &Limits) -> Vec<Finding> {
    let mut findings = Vec::new();
    for slot in transactions.slots.iter().filter(|slot| !slot.active) {
        let (age, bytes) = (slot.xid_age.unwrap_or_default(), slot.retained_bytes.unwrap_or_default());
        let holds_rows = slot.xid_age.is_some() && age >= limits.slot_xid_age;
        let holds_wal = slot.retained_bytes.is_some() && bytes >= limits.slot_bytes;
        let is_lost = slot.wal_status == "lost";
        if !holds_rows && !holds_wal && !is_lost {
            continue;
        }
        let what = match is_lost {
            true => "has lost the WAL that it needs, and cannot be used again".to_string(),
            false => {
                format!("nobody reads it; it holds back vacuum by {age} transactions, and {} MiB of WAL", bytes >> 20)
            }
        };
        findings.push(
            Finding::warning(
                "replication_slots",
                format!("slot {}", slot.name),
                what + ". If its reader is gone for good",
            )
            .fix(Place::Source, format!("SELECT pg_drop_replication_slot({});", quote_literal(&slot.name))),
        );
    }
    findings
}

/// Dead rows and oversized indexes make claiming slow.
pub fn bloat(queue: &Queue, limits: &Limits) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut warn = |problem: String, fix: &str| {
        findings.push(Finding::warning("queue_bloat", "daybook.sync_queue", problem).fix(Place::Source, fix));
    };
    let Queue { dead_rows, live_rows, table_bytes, index_bytes, xid_age, .. } = queue;
    if queue.autovacuum_is_off {
        warn("autovacuum is off for it".into(), "ALTER TABLE daybook.sync_queue RESET (autovacuum_enabled);");
    }
    if *dead_rows >= limits.dead_rows && dead_rows > live_rows {
        warn(
            format!("{dead_rows} dead rows beside {live_rows} events, in {} MiB", table_bytes >> 20),
            "VACUUM (ANALYZE) daybook.sync_queue;",
        );
    }
    if *index_bytes >= limits.index_bytes && *index_bytes > 2_000 * live_rows.max(&1) {
        let problem = format!("its indexes take {} MiB for {live_rows} events", index_bytes >> 20);
        warn(problem, "REINDEX TABLE CONCURRENTLY daybook.sync_queue;");
    }
    if *xid_age >= limits.xid_age_warning {
        warn(format!("its oldest row is {xid_age} transactions old"), "VACUUM (FREEZE) daybook.sync_queue;");
    }
    findings
}

pub fn consumers(queue: &Queue, limits: &Limits) -> Vec<Finding> {
    let waiting = queue.oldest_due_seconds.filter(|seconds| *seconds >= limits.backlog_s);
    match (waiting, queue.consumers_alive, &queue.paused_by) {
        (Some(seconds), 0, None) => vec![
            Finding::error(
                "consumers",
                "daybook run",
                format!(
                    "events have been waiting for {}, and no consumer has given a sign of life for a minute",
                    duration(seconds)
                ),
            )
            .fix(Place::Shell, "daybook run"),
        ],
        _ => Vec::new(),
    }
}

pub fn paused(queue: &Queue) -> Vec<Finding> {
    let finding = |by: &String| {
        let problem = format!("nothing is posted since {by} paused it; changes go on being captured");
        Finding::warning("paused", "posting", problem).fix(Place::Shell, "daybook resume")
    };
    queue.paused_by.iter().map(finding).collect()
}

/// Alerts that nobody has resolved.
pub fn alerts(attention: &Attention) -> Vec<Finding> {
    let finding = |alert: &Alert| {
        let Alert { alert_type, cause, state, message, .. } = alert;
        let severity = if state == "acknowledged" { Severity::Info } else { Severity::Warning };
        let finding = Finding::of(severity, "alerts", format!("{alert_type} {cause}"), message);
        match alert_type.as_str() {
            // Resolved by the consumer as soon as the cause is gone.
            "TABLE_DIRTY" | "TABLE_UNREADABLE" | "QUEUE_BACKUP" => finding.fix(Place::Shell, "daybook drain"),
            "STRANGERS" => {
                finding.fix(Place::Shell, "daybook rejoin --reason 'advised by daybook doctor' && daybook drain")
            }
            "SYNC_FAILURES" => {
                finding.fix(Place::Shell, format!("daybook dead retry --all --table {cause} && daybook drain"))
            }
            "REVERSAL_BRAKE" => finding.fix(Place::Shell, format!("daybook release {cause} && daybook drain")),
            _ => finding.fix(
                Place::Source,
                format!("SELECT daybook.resolve_alert({}, {});", quote_literal(alert_type), quote_literal(cause)),
            ),
        }
    };
    attention.alerts.iter().map(finding).collect()
}

pub fn parked(attention: &Attention) -> Vec<Finding> {
    let finding = |of: &super::facts::ParkedBills| {
        let problem = format!(
            "{} bills are parked; reason and advice stand in daybook.sync_dead_letter. A bill heals when its row is mended; after \
             mending the rule or the chart of accounts",
            of.bills
        );
        Finding::warning("parked", &of.reference_type, problem)
            .fix(Place::Source, format!("SELECT daybook.retry_all({});", quote_literal(&of.reference_type)))
    };
    attention.parked.iter().map(finding).collect()
}

/// Bills whose rows are gone and whose entries stay until somebody decides.
pub fn retained(book: &Book) -> Vec<Finding> {
    let finding = |of: &Retained| {
        let Retained { reference_type, because, bills, reference_ids } = of;
        let ids: Vec<String> = reference_ids.iter().map(|id| quote_literal(id)).collect();
        let release = format!(
            "SELECT daybook.release({}, id) FROM unnest(ARRAY[{}]) AS id;",
            quote_literal(reference_type),
            ids.join(", ")
        );
        let first =
            if reference_ids.len() < usize::try_from(*bills).unwrap_or_default() { ", the first 100" } else { "" };
        match because.as_str() {
            "brake" => Some(
                Finding::warning("retained", reference_type, format!(
                    "{bills} bills keep their entries although their rows are gone: more disappeared within an hour than the brake \
                     lets pass. If they are to be reversed"
                ))
                .fix(Place::Shell, format!("daybook release {reference_type}")),
            ),
            "truncate" | "alert" => Some(
                Finding::info("retained", reference_type, format!(
                    "{bills} bills keep their entries although their rows are gone ({because}). If they are to be reversed{first}"
                ))
                .fix(Place::Source, release),
            ),
            _ => None, // as the table's policy says
        }
    };
    book.retained.iter().filter_map(finding).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::facts::Slot;

    #[test]
    fn what_holds_vacuum_back_is_told_by_its_age() {
        let limits = Limits::default();
        let table = [
            (599, None),
            (600, Some(Severity::Warning)),
            (86_399, Some(Severity::Warning)),
            (86_400, Some(Severity::Error)),
        ];
        for (seconds, expected) in table {
            let session = OpenTransaction { pid: 7, seconds, ..OpenTransaction::default() };
            let prepared = Prepared { gid: "it's".into(), seconds, ..Prepared::default() };
            let transactions = Transactions { sessions: vec![session], prepared: vec![prepared], slots: Vec::new() };
            let (sessions, prepared) =
                (long_transactions(&transactions, &limits), prepared_transactions(&transactions, &limits));
            assert_eq!(sessions.first().map(|finding| finding.severity), expected, "{seconds}");
            assert_eq!(prepared.first().map(|finding| finding.severity), expected, "{seconds}");
            assert!(prepared.iter().all(|finding| finding.fix == "ROLLBACK PREPARED 'it''s';"));
        }
    }

    #[test]
    fn a_slot_is_told_only_while_nobody_reads_it() {
        let found = |slot: Slot| {
            let transactions = Transactions { slots: vec![slot], ..Transactions::default() };
            replication_slots(&transactions, &Limits::default()).len()
        };
        let idle = Slot { xid_age: Some(1_000_000), retained_bytes: Some(0), ..Slot::default() };
        assert_eq!(found(idle.clone()), 1);
        assert_eq!(found(Slot { active: true, ..idle.clone() }), 0);
        assert_eq!(found(Slot { xid_age: Some(999_999), ..idle.clone() }), 0);
        assert_eq!(found(Slot { xid_age: None, retained_bytes: Some(10 << 30), ..idle.clone() }), 1);
        assert_eq!(found(Slot { xid_age: None, wal_status: "lost".into(), ..idle }), 1);
    }

    #[test]
    fn bloat_is_measured_against_what_is_alive() {
        let fixes =
            |queue: Queue| bloat(&queue, &Limits::default()).into_iter().map(|finding| finding.fix).collect::<Vec<_>>();
        assert!(fixes(Queue { dead_rows: 49_999, ..Queue::default() }).is_empty());
        assert_eq!(fixes(Queue { dead_rows: 50_000, ..Queue::default() }), ["VACUUM (ANALYZE) daybook.sync_queue;"]);
        assert!(fixes(Queue { dead_rows: 50_000, live_rows: 50_000, ..Queue::default() }).is_empty());
        assert_eq!(
            fixes(Queue { index_bytes: 64 << 20, ..Queue::default() }),
            ["REINDEX TABLE CONCURRENTLY daybook.sync_queue;"]
        );
        assert!(fixes(Queue { index_bytes: 64 << 20, live_rows: 100_000, ..Queue::default() }).is_empty());
    }

    #[test]
    fn a_backlog_without_consumers_is_an_error_unless_posting_is_paused() {
        let table = [
            (None, 0, None, 0),
            (Some(59), 0, None, 0),
            (Some(60), 0, None, 1),
            (Some(60), 1, None, 0),
            (Some(60), 0, Some("x"), 0),
        ];
        for (oldest_due_seconds, consumers_alive, paused_by, expected) in table {
            let queue = Queue {
                oldest_due_seconds,
                consumers_alive,
                paused_by: paused_by.map(str::to_string),
                ..Queue::default()
            };
            assert_eq!(consumers(&queue, &Limits::default()).len(), expected, "{queue:?}");
        }
    }

    #[test]
    fn durations_are_told_as_people_say_them() {
        for (seconds, text) in [(59, "59 s"), (60, "1 min"), (3_660, "1 h 1 min"), (200_000, "2 days")] {
            assert_eq!(duration(seconds), text);
        }
    }
}
