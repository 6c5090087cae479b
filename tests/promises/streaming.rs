//! Capture from the WAL: what a table without triggers leaves in the queue, and what the stream finds that triggers missed.

mod identity;
mod large;
mod life;
mod odd;
mod schema;

use std::time::{Duration, Instant};

use daybook::consumer;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::harness::{Clinic, Cluster, attach_lab_with};

const TABLES: [(&str, &str); 4] = [
    ("consultation_invoices", "CONSULTATION"),
    ("pharmacy_bills", "PHARMACY"),
    ("lab_bills", "LAB"),
    ("ultrasound_bills", "ULTRASOUND"),
];

/// A clinic whose four tables are captured in this mode, on the cluster that can.
pub async fn clinic(mode: &str) -> Clinic {
    let clinic = Clinic::with_both_on(Cluster::streaming()).await;
    capture_by(&clinic, mode).await;
    clinic
}

/// Attaches the four tables anew, in this mode.
pub async fn capture_by(clinic: &Clinic, mode: &str) {
    for (table, _) in TABLES {
        attach_by(clinic, table, mode).await;
    }
}

/// Attaches a table anew as it is, in another mode; again, where somebody is using it.
pub async fn attach_by(clinic: &Clinic, table: &str, mode: &str) {
    let sql = format!(
        "SELECT daybook.attach(relation, reference_type, key_columns, filter_columns, '{mode}') FROM daybook.sync_source
         WHERE relation = '{table}'::regclass"
    );
    for _ in 0..50 {
        match clinic.dba.batch_execute(&sql).await {
            Ok(()) => return,
            Err(error) if error.code().is_some_and(|state| state.code() == "55P03") => {}
            Err(error) => panic!("{error:?}"),
        }
    }
    panic!("{table} is never free");
}

/// A consumer that runs beside a test.
pub struct Running {
    stop: oneshot::Sender<()>,
    task: JoinHandle<daybook::error::Result<()>>,
}

impl Running {
    /// Starts it, and waits until it streams where it is to. A slot is active also while it is made.
    pub async fn start(clinic: &Clinic) -> Running {
        let (stop, stopped) = oneshot::channel::<()>();
        let task = tokio::spawn(consumer::run(clinic.options(2), async {
            let _ = stopped.await;
        }));
        until(
            clinic,
            "NOT EXISTS (SELECT FROM daybook.sync_source WHERE capture_mode <> 'trigger')
                OR EXISTS (SELECT FROM pg_replication_slots AS s JOIN pg_stat_replication AS r ON r.pid = s.active_pid
                           WHERE s.slot_name = daybook.slot_name())",
        )
        .await;
        Running { stop, task }
    }

    /// Ends it at once, wherever it is.
    pub fn abandon(self) {
        self.task.abort();
    }

    pub async fn end(self) {
        let _ = self.stop.send(());
        self.task.await.expect("ends").expect("ends in order");
    }
}

/// Waits until a condition holds in the source.
pub async fn until(clinic: &Clinic, condition: &str) {
    let began = Instant::now();
    let sql = format!("SELECT {condition}");
    while clinic.text(&sql).await != "true" {
        if began.elapsed() > Duration::from_secs(30) {
            let alerts = "SELECT string_agg(alert_type || ': ' || message, E'\\n') FROM daybook.current_alerts";
            panic!("not within 30 s: {condition}\n{}", clinic.text(alerts).await);
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

pub async fn gaps(clinic: &Clinic) -> String {
    let sql = "SELECT string_agg(reference_type || ' ' || reference_id, ', ' ORDER BY reference_type, reference_id)
               FROM daybook.reconciliation_findings WHERE kind = 'capture_gap'";
    clinic.text(sql).await
}

const LAB: &str = "INSERT INTO lab_bills (amount, paid, payment_mode, invoice_number)";

#[tokio::test]
async fn a_table_captured_from_the_wal_has_no_trigger_and_its_bills_are_posted() {
    let clinic = clinic("wal").await;
    let triggers = "SELECT count(*) FROM pg_trigger WHERE tgname LIKE 'daybook%'";
    assert_eq!(clinic.text(triggers).await, "0");
    clinic.write(&format!("{LAB} SELECT 100 + g, true, 'cash', 'L' || g FROM generate_series(1, 20) AS g")).await;
    clinic.drain().await;
    clinic.assert_ledger_equals_bills().await;
    // The stream is there now: what follows reaches the queue by it alone.
    clinic
        .write(
            "UPDATE lab_bills SET amount = 500 WHERE id <= 3; DELETE FROM lab_bills WHERE id = 4;
             UPDATE lab_bills SET id = 1000 WHERE id = 5; UPDATE lab_bills SET printed = NOT printed WHERE id = 6",
        )
        .await;
    clinic.drain().await;
    clinic.assert_ledger_equals_bills().await;
    let origins = "SELECT string_agg(DISTINCT origin || ' ' || operation, ', ' ORDER BY origin || ' ' || operation)
                   FROM daybook.sync_audit_log WHERE reference_type = 'LAB' AND origin = 'wal'";
    assert_eq!(clinic.text(origins).await, "wal delete, wal update");
    let keys = "SELECT string_agg(reference_id, ',' ORDER BY seq) FROM daybook.sync_audit_log
                WHERE origin = 'wal' AND operation = 'delete'";
    assert_eq!(clinic.text(keys).await, "4,5", "a changed key is both keys");
    assert_eq!(clinic.balances("LAB", "1000").await.split(' ').next(), Some("1000"));
}

#[tokio::test]
async fn an_entry_captured_from_the_wal_names_its_transaction_and_when_it_was_committed() {
    let clinic = clinic("wal").await;
    clinic.drain().await;
    clinic.write(&format!("{LAB} VALUES (100, true, 'cash', 'L1')")).await;
    let xid = clinic.text("SELECT xmin FROM lab_bills").await;
    clinic.drain().await;
    let cause = "SELECT concat_ws(' ', event_xid, event_origin, changed_at BETWEEN now() - interval '1 minute' AND now()) FROM ledger.journal_entries";
    assert_eq!(clinic.ledger_text(cause).await, format!("{xid} wal t"));
    // Who made the change is not in the WAL, and no sign that somebody tampered with the entry.
    let running = Running::start(&clinic).await;
    let options = daybook::reconcile::Options { full: true, journal: true, ..Default::default() };
    let report = daybook::reconcile::reconcile(&clinic.options(1), options).await.expect("reconciles");
    running.end().await;
    assert_eq!(report.outcome, "proven", "{}", report.to_text());
}

#[tokio::test]
async fn what_triggers_captured_the_stream_does_not_enqueue_again() {
    let clinic = clinic("both").await;
    clinic.drain().await;
    clinic.write(&format!("{LAB} SELECT 100 + g, true, 'cash', 'L' || g FROM generate_series(1, 50) AS g")).await;
    clinic.write("UPDATE lab_bills SET amount = amount + 1; UPDATE lab_bills SET id = id + 1000 WHERE id < 10").await;
    clinic.write("BEGIN; DELETE FROM lab_bills WHERE id > 1000; SAVEPOINT a; UPDATE lab_bills SET amount = 7; ROLLBACK TO a; COMMIT").await;
    clinic.drain().await;
    clinic.assert_ledger_equals_bills().await;
    assert_eq!(clinic.text("SELECT count(*) FROM daybook.sync_audit_log WHERE origin = 'wal'").await, "0");
    assert_eq!(gaps(&clinic).await, "");
}

#[tokio::test]
async fn every_bypass_of_the_triggers_is_found_in_the_wal_within_seconds_and_healed() {
    let bypasses = [
        ("1", "ALTER TABLE lab_bills DISABLE TRIGGER daybook_capture; UPDATE lab_bills SET amount = 901 WHERE id = 1;
               ALTER TABLE lab_bills ENABLE ALWAYS TRIGGER daybook_capture"),
        ("2", "ALTER TABLE lab_bills ENABLE TRIGGER daybook_capture; SET session_replication_role = replica;
               UPDATE lab_bills SET amount = 902 WHERE id = 2; RESET session_replication_role;
               ALTER TABLE lab_bills ENABLE ALWAYS TRIGGER daybook_capture"),
        ("3", "CREATE OR REPLACE FUNCTION daybook.capture_lab() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
               DELETE FROM lab_bills WHERE id = 3; SELECT daybook.write_capture_function('lab_bills')"),
        ("4", "DROP TRIGGER daybook_capture ON lab_bills; UPDATE lab_bills SET amount = 904 WHERE id = 4;
               CREATE TRIGGER daybook_capture AFTER INSERT OR UPDATE OR DELETE ON lab_bills
               FOR EACH ROW EXECUTE FUNCTION daybook.capture_lab();
               ALTER TABLE lab_bills ENABLE ALWAYS TRIGGER daybook_capture"),
        ("99", "ALTER TABLE lab_bills DISABLE TRIGGER daybook_capture;
                INSERT INTO lab_bills (id, amount, paid, payment_mode, invoice_number) VALUES (99, 999, true, 'cash', 'L99');
                ALTER TABLE lab_bills ENABLE ALWAYS TRIGGER daybook_capture"),
    ];
    let clinic = clinic("both").await;
    clinic.write(&format!("{LAB} SELECT 100 + g, true, 'cash', 'L' || g FROM generate_series(1, 10) AS g")).await;
    clinic.drain().await;
    let running = Running::start(&clinic).await;
    for (id, bypass) in bypasses {
        let began = Instant::now();
        clinic.dba.batch_execute(bypass).await.expect("bypasses");
        until(
            &clinic,
            &format!("EXISTS (SELECT FROM daybook.reconciliation_findings WHERE finding_key = 'capture_gap LAB {id}')"),
        )
        .await;
        assert!(began.elapsed() < Duration::from_secs(10), "{id}: found after {:?}", began.elapsed());
        clinic.assert_ledger_equals_bills().await;
    }
    let alert = "SELECT severity || ' ' || message FROM daybook.current_alerts WHERE alert_type = 'CAPTURE_GAP' AND cause = 'LAB'";
    let alert = clinic.text(alert).await;
    assert!(
        alert.contains("critical changes of LAB bypassed its triggers") && alert.contains("by transaction"),
        "{alert}"
    );
    running.end().await;
}

#[tokio::test]
async fn a_change_of_columns_that_nobody_maps_is_no_gap_nor_is_one_with_a_captured_change_close_behind() {
    let clinic = clinic("both").await;
    clinic.write(&format!("{LAB} SELECT 100 + g, true, 'cash', 'L' || g FROM generate_series(1, 10) AS g")).await;
    clinic.drain().await;
    clinic.write("UPDATE lab_bills SET printed = NOT printed").await;
    clinic.drain().await;
    let looked =
        "SELECT count(*) || ' ' || string_agg(DISTINCT outcome, ',') FROM daybook.sync_audit_log WHERE origin = 'wal'";
    assert_eq!(clinic.text(looked).await, "10 no_effect", "the stream cannot tell that nothing mapped was changed");
    // Both wait in the queue when the first is read.
    clinic.write("UPDATE lab_bills SET printed = NOT printed; UPDATE lab_bills SET amount = amount + 1").await;
    clinic.drain().await;
    clinic.assert_ledger_equals_bills().await;
    assert_eq!(gaps(&clinic).await, "");
    // Nor where each is taken up on its own; and the cause is the one that says who wrote.
    clinic.configure("queue_batch_size", "1").await;
    clinic.write("UPDATE lab_bills SET amount = amount + 1").await;
    clinic.write("UPDATE lab_bills SET printed = NOT printed").await;
    clinic.drain().await;
    clinic.assert_ledger_equals_bills().await;
    let causes = "SELECT string_agg(DISTINCT event_origin, ',') FROM ledger.journal_entries
                  WHERE revision = (SELECT max(revision) FROM ledger.journal_entries)";
    assert_eq!(clinic.ledger_text(causes).await, "trigger");
    assert_eq!(gaps(&clinic).await, "");
}

#[tokio::test]
async fn a_row_from_before_its_table_was_attached_is_no_gap() {
    let clinic = clinic("both").await;
    clinic.drain().await;
    clinic.dba.batch_execute("SELECT daybook.detach('lab_bills')").await.expect("detaches");
    clinic.write(&format!("{LAB} SELECT 100 + g, true, 'cash', 'L' || g FROM generate_series(1, 10) AS g")).await;
    let attach = attach_lab_with("capture_mode => 'both'");
    clinic.dba.batch_execute(&attach).await.expect("attaches");
    // Nobody enqueued them; the stream cannot tell that nothing mapped is changed.
    clinic.write("UPDATE lab_bills SET printed = NOT printed WHERE id = 3").await;
    clinic.drain().await;
    assert_eq!(clinic.ledger_text("SELECT string_agg(reference_id, ',') FROM ledger.journal_entries").await, "3");
    assert_eq!(gaps(&clinic).await, "");
    // A row that is new is one.
    let bypass = format!(
        "SET session_replication_role = replica; ALTER TABLE lab_bills ENABLE TRIGGER daybook_capture; {LAB} VALUES (7, true, 'cash', 'L11')"
    );
    clinic.dba.batch_execute(&bypass).await.expect("writes");
    clinic.drain().await;
    assert_eq!(gaps(&clinic).await, "LAB 11");
}

#[tokio::test]
async fn a_truncate_is_captured_from_the_wal_and_told_to_a_person() {
    for mode in ["wal", "both"] {
        let clinic = clinic(mode).await;
        clinic.write(&format!("{LAB} SELECT 100, true, 'cash', 'L' || g FROM generate_series(1, 5) AS g")).await;
        clinic.drain().await;
        clinic.write("TRUNCATE lab_bills").await;
        clinic.drain().await;
        let events = "SELECT string_agg(origin, ',') FROM daybook.sync_audit_log WHERE operation = 'truncate' AND reference_id IS NULL";
        assert_eq!(clinic.text(events).await, if mode == "wal" { "wal" } else { "trigger" });
        let kept = "SELECT count(*) FROM ledger.sync_master_status WHERE reference_type = 'LAB' AND state = 'retained'";
        assert_eq!(clinic.ledger_text(kept).await, "5", "{mode}: no revenue is reversed by it");
    }
}

#[tokio::test]
async fn a_truncate_past_the_triggers_is_found() {
    let clinic = clinic("both").await;
    clinic.write(&format!("{LAB} SELECT 100, true, 'cash', 'L' || g FROM generate_series(1, 5) AS g")).await;
    clinic.drain().await;
    let bypass = "ALTER TABLE lab_bills DISABLE TRIGGER daybook_capture_truncate; TRUNCATE lab_bills;
                  ALTER TABLE lab_bills ENABLE ALWAYS TRIGGER daybook_capture_truncate";
    clinic.dba.batch_execute(bypass).await.expect("truncates");
    clinic.drain().await;
    let events = "SELECT string_agg(origin, ',') FROM daybook.sync_audit_log WHERE operation = 'truncate' AND reference_id IS NULL";
    assert_eq!(clinic.text(events).await, "wal");
}

#[tokio::test]
async fn a_prepared_transaction_arrives_when_it_is_committed() {
    let clinic = clinic("wal").await;
    clinic.drain().await;
    clinic.write(&format!("BEGIN; {LAB} VALUES (100, true, 'cash', 'L1'); PREPARE TRANSACTION 'bill'")).await;
    clinic.write(&format!("{LAB} VALUES (200, true, 'cash', 'L2')")).await;
    clinic.drain().await;
    assert_eq!(clinic.ledger_text("SELECT string_agg(reference_id, ',') FROM ledger.journal_entries").await, "2");
    clinic.write("COMMIT PREPARED 'bill'").await;
    clinic.drain().await;
    clinic.assert_ledger_equals_bills().await;
    assert_eq!(
        clinic.ledger_text("SELECT string_agg(reference_id, ',' ORDER BY id) FROM ledger.journal_entries").await,
        "2,1"
    );
}

/// The condition under which a session's commit waits for a synchronous standby.
async fn is_waiting_for_a_standby(session: &tokio_postgres::Client) -> String {
    let pid: i32 = session.query_one("SELECT pg_backend_pid()", &[]).await.expect("asks").get(0);
    format!("EXISTS (SELECT FROM pg_stat_activity WHERE pid = {pid} AND wait_event = 'SyncRep')")
}

/// Commits wait for a standby that does not exist, but for the DBA's.
async fn keep_commits_waiting(clinic: &Clinic) {
    let set = [
        "SET synchronous_commit = local",
        "ALTER SYSTEM SET synchronous_standby_names = 'nobody'",
        "SELECT pg_reload_conf()",
    ];
    for sql in set {
        clinic.dba.batch_execute(sql).await.expect("sets");
    }
    // They do from when the checkpointer has read it, which is when a first one does.
    let first = clinic.another_desk().await;
    let is_waiting = is_waiting_for_a_standby(&first).await;
    let trying = tokio::spawn(async move {
        loop {
            let commit = "SET synchronous_commit = on; SELECT pg_logical_emit_message(true, 'a first commit', '')";
            first.batch_execute(commit).await.expect("commits");
        }
    });
    until(clinic, &is_waiting).await;
    trying.abort();
}

async fn let_commits_through(clinic: &Clinic) {
    for sql in ["ALTER SYSTEM RESET synchronous_standby_names", "SELECT pg_reload_conf()"] {
        clinic.dba.batch_execute(sql).await.expect("resets");
    }
}

#[tokio::test]
async fn a_bill_is_not_read_before_its_commit_is_seen_by_others() {
    let cluster = Cluster::start_with(&["fsync=off", "wal_level=logical", "wal_sender_timeout=4s"]);
    let clinic = Clinic::with_both_on(&cluster).await;
    capture_by(&clinic, "wal").await;
    clinic.write(&format!("{LAB} VALUES (100, true, 'cash', 'L1')")).await;
    let running = Running::start(&clinic).await;
    // What the slot's making had reconciled is through, too: it would find the new row beside the stream.
    until(&clinic, "EXISTS (SELECT FROM daybook.sync_audit_log WHERE outcome = 'posted')").await;
    until(&clinic, "NOT EXISTS (SELECT FROM daybook.sync_queue)").await;
    // The commit is durable, and so sent to the stream, and waits for a standby that does not exist: nobody else sees it.
    keep_commits_waiting(&clinic).await;
    let waiting = clinic.another_desk().await;
    let is_waiting = is_waiting_for_a_standby(&waiting).await;
    waiting.batch_execute("SET synchronous_commit = on").await.expect("sets");
    let writing = tokio::spawn(async move {
        waiting.batch_execute("UPDATE lab_bills SET amount = 777").await.expect("writes, in the end");
    });
    until(&clinic, &is_waiting).await;
    // Longer than the walsender waits for a word of ours, which comes on a timer of its own, however long we wait.
    let sender = "SELECT active_pid FROM pg_replication_slots WHERE slot_name = daybook.slot_name()";
    let sender_before = clinic.text(sender).await;
    // Our own commits wait for nobody meanwhile, as where only the application asks for `remote_apply`.
    let cancel =
        "SELECT count(pg_cancel_backend(pid)) FROM pg_stat_activity WHERE usename <> 'desk' AND wait_event = 'SyncRep'";
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(9) {
        clinic.text(cancel).await;
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(clinic.text(sender).await, sender_before, "the walsender is the one that it was");
    let seen = "SELECT (SELECT count(*) FROM daybook.sync_queue WHERE origin = 'wal')
                     + (SELECT count(*) FROM daybook.sync_audit_log WHERE origin = 'wal')";
    assert_eq!(clinic.text(seen).await, "0", "an event now would find the old row, and be done with");
    let_commits_through(&clinic).await;
    writing.await.expect("is committed");
    until(&clinic, "EXISTS (SELECT FROM daybook.sync_audit_log WHERE origin = 'wal' AND operation = 'update' AND outcome = 'posted')").await;
    clinic.assert_ledger_equals_bills().await;
    running.end().await;
}

#[tokio::test]
async fn reconciling_finds_nothing_that_the_stream_has_still_to_bring() {
    let clinic = clinic("wal").await;
    clinic.write(&format!("{LAB} SELECT 100, true, 'cash', 'L' || g FROM generate_series(1, 500) AS g")).await;
    clinic.drain().await;
    let running = Running::start(&clinic).await;
    let writer = clinic.another_desk().await;
    let writing = tokio::spawn(async move {
        for round in 0..300 {
            let sql = format!("UPDATE lab_bills SET amount = amount + 1 WHERE id % 50 = {}", round % 50);
            writer.batch_execute(&sql).await.expect("writes");
        }
    });
    let mut looked = 0;
    while !writing.is_finished() || looked < 3 {
        let report = clinic.reconcile(looked % 2 == 0).await;
        assert_eq!(report.critical(), 0, "{}", report.to_text());
        looked += 1;
    }
    writing.await.expect("ends");
    running.end().await;
    clinic.drain().await;
    clinic.assert_ledger_equals_bills().await;
}

#[tokio::test]
async fn where_the_stream_does_not_run_nothing_is_proven_of_its_tables_and_nothing_is_blamed() {
    let clinic = clinic("wal").await;
    clinic.write(&format!("{LAB} VALUES (100, true, 'cash', 'L1')")).await;
    clinic.drain().await;
    clinic.write("UPDATE lab_bills SET amount = 200").await;
    let options = daybook::reconcile::Options { reference_type: Some("LAB".into()), ..Default::default() };
    let report = daybook::reconcile::reconcile(&clinic.options(1), options).await.expect("reconciles");
    assert_eq!((report.outcome, report.critical()), ("incomplete", 0), "{}", report.to_text());
    assert!(report.to_text().contains("the stream of changes from the WAL is behind"), "{}", report.to_text());
}
