//! What reconciliation finds: each class of fault is put in many times, and each of its bills is found by one run and healed by its
//! repair. `cargo test detection -- --nocapture` prints the table that the README shows.

use daybook::reconcile::Report;
use daybook::reconcile::findings::FoundBy;

use crate::harness::Clinic;
use crate::reconciliation::BILLS;

/// Past the triggers of the bill tables.
fn uncaptured(sql: &str) -> String {
    format!(
        "ALTER TABLE lab_bills DISABLE TRIGGER USER; {sql}; ALTER TABLE lab_bills ENABLE ALWAYS TRIGGER daybook_capture;
         ALTER TABLE lab_bills ENABLE ALWAYS TRIGGER daybook_capture_truncate"
    )
}

/// Past the guards of the journal.
fn unguarded(sql: &str) -> String {
    let (mut off, mut on) = (String::new(), String::new());
    for (table, trigger) in [
        ("journal_entries", "append_only"),
        ("journal_entries", "sealed"),
        ("journal_lines", "append_only"),
        ("journal_lines", "sealed"),
        ("posting_rules", "guard_posting_rule"),
    ] {
        off += &format!("ALTER TABLE ledger.{table} DISABLE TRIGGER {trigger}; ");
        on += &format!("; ALTER TABLE ledger.{table} ENABLE ALWAYS TRIGGER {trigger}");
    }
    format!("BEGIN; {off}{sql}{on}; COMMIT")
}

/// Lab bills 1 to 20 are those that faults are put into.
const IDS: &str = "id::int BETWEEN 1 AND 20";

struct Fault {
    class: &'static str,
    /// Superuser's SQL on the source, and on the ledger.
    source: String,
    ledger: String,
    /// Of this kind is each of so many bills' findings.
    kind: &'static str,
    bills: usize,
    /// Whether an hourly run finds it; else the nightly one does.
    hourly: bool,
    /// So many entries are not as they were sealed, which no repair brings back: the look at the journal names each.
    sealed: usize,
}

/// The definition of a rule in force, changed in its place: no version tells of it.
fn rule_exchanged(from: &str, to: &str) -> String {
    unguarded(&format!(
        "UPDATE ledger.posting_rules SET (definition, rule_hash) =
             (SELECT d, encode(sha256(convert_to(d, 'UTF8')), 'hex') FROM replace(definition, '{from}', '{to}') AS d)
         WHERE reference_type = 'LAB'"
    ))
}

fn faults() -> Vec<Fault> {
    let on_source = |class, source: String, kind| Fault {
        class,
        source,
        ledger: String::new(),
        kind,
        bills: 20,
        hourly: true,
        sealed: 0,
    };
    let on_ledger = |class, ledger: String, kind| Fault {
        class,
        source: String::new(),
        ledger,
        kind,
        bills: 20,
        hourly: true,
        sealed: 0,
    };
    let lab = "e.reference_type = 'LAB' AND e.reference_id::int BETWEEN 1 AND 20";
    vec![
        on_source("row changed, triggers disabled", uncaptured(&format!("UPDATE lab_bills SET amount = amount + 0.01 WHERE {IDS}")), "stale"),
        on_source(
            "row inserted, triggers disabled",
            uncaptured(
                "INSERT INTO lab_bills (id, amount, paid, payment_mode, invoice_number, created_at)
                 SELECT g, 50, true, 'cash', 'X' || g, '2024-03-02' FROM generate_series(101, 120) AS g",
            ),
            "missing",
        ),
        on_source("row deleted, triggers disabled", uncaptured(&format!("DELETE FROM lab_bills WHERE {IDS}")), "orphan"),
        on_source(
            "payment mode changed, triggers disabled",
            uncaptured(&format!("UPDATE lab_bills SET payment_mode = 'card' WHERE {IDS}")),
            "stale",
        ),
        Fault {
            bills: 40,
            ..on_source(
                "ALTER COLUMN ... TYPE ... USING rewrites amounts",
                "ALTER TABLE lab_bills ALTER COLUMN amount TYPE numeric(12,1) USING round(amount + 0.5, 1)".into(),
                "stale",
            )
        },
        on_source(
            "two amounts of one day swapped",
            uncaptured(&format!(
                "UPDATE lab_bills AS b SET amount = o.amount FROM lab_bills AS o
                 WHERE b.{IDS} AND o.id = CASE WHEN b.id % 2 = 1 THEN b.id + 1 ELSE b.id - 1 END"
            )),
            "stale",
        ),
        on_source(
            "event stolen from the queue",
            format!("UPDATE lab_bills SET amount = amount + 1 WHERE {IDS}; DELETE FROM daybook.sync_queue"),
            "stale",
        ),
        on_source(
            "capture function replaced by an empty one",
            format!(
                "CREATE OR REPLACE FUNCTION daybook.capture_lab() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
                     SET search_path = pg_catalog, pg_temp AS 'BEGIN RETURN NULL; END';
                 UPDATE lab_bills SET amount = amount + 1 WHERE {IDS}"
            ),
            "stale",
        ),
        on_ledger("bills posted by another rule than the one in force", rule_exchanged("4200", "4300"), "wrong_account"),
        on_ledger(
            "status: live entries",
            "UPDATE ledger.sync_master_status SET live_entry_ids = '{}' WHERE reference_type = 'LAB' AND reference_id::int <= 20".into(),
            "tampered",
        ),
        on_ledger(
            "status: parked by hand",
            "UPDATE ledger.sync_master_status SET state = 'parked', parked_spell = 1, parked_at = now(), reason = 'x', advice = 'x'
             WHERE reference_type = 'LAB' AND reference_id::int <= 20".into(),
            "stale",
        ),
        on_ledger(
            "status: row deleted",
            "DELETE FROM ledger.sync_master_status WHERE reference_type = 'LAB' AND reference_id::int <= 20".into(),
            "tampered",
        ),
        Fault {
            sealed: 20,
            ..on_ledger(
                "entry deleted",
                unguarded(&format!(
                    "DELETE FROM ledger.journal_lines AS l USING ledger.journal_entries AS e WHERE e.id = l.entry_id AND {lab};
                     DELETE FROM ledger.journal_entries AS e WHERE {lab}"
                )),
                "tampered",
            )
        },
        on_ledger(
            "entry forged, through the guards",
            "WITH forged AS (
                 INSERT INTO ledger.journal_entries (id, book, source, reference_type, reference_id, revision, kind, effective_date, posting_date,
                     late, line_count, total, rule_hash, event_seq, event_origin, event_xid, changed_at, session_user_name, application_name)
                 SELECT nextval('ledger.journal_entry_id'), book, source, reference_type, reference_id, 2, 'correction', effective_date,
                     posting_date, false, 2, 1, rule_hash, event_seq, event_origin, event_xid, changed_at, session_user_name, application_name
                 FROM ledger.journal_entries WHERE reference_type = 'LAB' AND reference_id::int <= 20 RETURNING id)
             INSERT INTO ledger.journal_lines (entry_id, line_no, account_code, debit, credit, currency, is_settlement, site)
             SELECT id, n, account, CASE n WHEN 1 THEN 1 ELSE 0 END, CASE n WHEN 2 THEN 1 ELSE 0 END, 'INR', n = 1, 'main'
             FROM forged, (VALUES (1, '1000'), (2, '4200')) AS l (n, account)".into(),
            "duplicate",
        ),
        Fault {
            hourly: false,
            sealed: 20,
            ..on_ledger(
                "ledger line changed",
                unguarded(&format!(
                    "UPDATE ledger.journal_lines AS l SET debit = CASE WHEN debit > 0 THEN debit + 1 ELSE 0 END,
                         credit = CASE WHEN credit > 0 THEN credit + 1 ELSE 0 END
                     FROM ledger.journal_entries AS e WHERE e.id = l.entry_id AND {lab};
                     UPDATE ledger.journal_entries AS e SET total = total + 1 WHERE {lab}"
                )),
                "wrong_amount",
            )
        },
    ]
}

async fn put_in(clinic: &Clinic, fault: &Fault) {
    for (client, sql) in [(&clinic.dba, &fault.source), (&clinic.accountant, &fault.ledger)] {
        client.batch_execute(sql).await.unwrap_or_else(|error| panic!("{}: {error:?}\n{sql}", fault.class));
    }
}

/// So many lab bills have a finding of that kind.
fn found(report: &Report, kind: &str) -> usize {
    let is_so = |finding: &&daybook::reconcile::findings::Finding| {
        finding.kind.as_str() == kind
            && finding.reference_type.as_deref() == Some("LAB")
            && finding.reference_id.is_some()
    };
    report.findings.iter().filter(is_so).count()
}

#[tokio::test]
async fn each_class_of_fault_is_found_in_one_run_and_healed_by_its_repair() {
    let mut table = Vec::new();
    for fault in faults() {
        let clinic = Clinic::new().await;
        clinic.write(BILLS).await;
        clinic.drain().await;
        assert_eq!(clinic.reconcile(true).await.outcome, "proven");
        put_in(&clinic, &fault).await;
        if fault.class.starts_with("bills posted by another rule") {
            clinic.write(&format!("UPDATE lab_bills SET amount = amount + 1 WHERE {IDS}")).await;
            clinic.drain().await;
            clinic.accountant.batch_execute(&rule_exchanged("4300", "4200")).await.expect("puts the rule back");
        }
        let hourly = clinic.reconcile(false).await;
        let report = if fault.hourly { hourly } else { clinic.reconcile(true).await };
        let count = found(&report, fault.kind);
        assert_eq!(count, fault.bills, "{}: {}", fault.class, report.to_text());
        assert_eq!(report.exit_code(), 1);
        let alert = "SELECT daybook.look_for_alerts(); ";
        clinic.dba.batch_execute(alert).await.expect("looks");
        let open = "SELECT count(*) FROM daybook.sync_alerts WHERE alert_type = 'DATA_INCONSISTENCY' AND cause = 'LAB' AND state = 'open'";
        assert_eq!(clinic.text(open).await, "1", "{}", fault.class);

        let by = if fault.hourly { "hourly" } else { "nightly" };
        let journal = daybook::reconcile::Options { journal: true, ..Default::default() };
        let journal = daybook::reconcile::reconcile(&clinic.options(1), journal).await.expect("reconciles");
        let located: std::collections::BTreeSet<i64> = journal
            .findings
            .iter()
            .filter(|finding| finding.found_by == FoundBy::Journal && finding.message.contains("sealed"))
            .filter_map(|finding| finding.entry_id)
            .collect();
        assert_eq!(located.len(), fault.sealed, "{}: {}", fault.class, journal.to_text());
        let chain = if fault.sealed > 0 { format!("{}/{}", located.len(), fault.sealed) } else { String::new() };
        table.push(format!("| {} | `{}` | {count}/{} | {by} | {chain} |", fault.class, fault.kind, fault.bills));
        if fault.class.starts_with("capture function") {
            clinic
                .dba
                .batch_execute("SELECT daybook.write_capture_function('lab_bills')")
                .await
                .expect("writes it again");
        }
        clinic.drain().await;
        clinic.assert_bills_of_the_ledger(fault.class).await;
        // What was changed in the journal itself stays open until a person has looked.
        let looked_at = "SELECT daybook.resolve_finding(finding_key, 'restored from the backup')
                         FROM daybook.reconciliation_findings WHERE found_by = 'journal' AND resolved_at IS NULL";
        clinic.dba.batch_execute(looked_at).await.expect("resolves");
        let after = clinic.reconcile(true).await;
        assert_eq!(after.outcome, "proven", "{} heals: {}", fault.class, after.to_text());
        clinic.dba.batch_execute(alert).await.expect("looks");
        let resolved = "SELECT count(*) FROM daybook.reconciliation_findings WHERE resolution = 'repaired' AND reference_type = 'LAB'";
        assert_eq!(clinic.text(resolved).await, fault.bills.to_string(), "{}", fault.class);
        assert_eq!(clinic.text(open).await, "0", "{}", fault.class);
    }
    println!("{}", table.join("\n"));
}
