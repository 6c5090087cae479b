//! Transactions of any size, in bounded memory, and none of them lost.

use super::{
    LAB, Running, attach_by, capture_by, clinic, gaps, is_waiting_for_a_standby, keep_commits_waiting,
    let_commits_through, until,
};
use crate::harness::{Clinic, Cluster};

#[tokio::test]
async fn the_two_channels_of_a_large_transaction_are_matched_outside_of_memory() {
    let clinic = clinic("both").await;
    clinic.drain().await;
    clinic.configure("queue_batch_size", "10000").await;
    // All rows come first, then all queue rows; five bills bypass the triggers in the same transaction.
    let write = format!(
        "BEGIN; SELECT pg_current_xact_id(); {LAB} SELECT 100, true, 'cash', 'L' || g FROM generate_series(1, 130000) AS g;
         ALTER TABLE lab_bills DISABLE TRIGGER daybook_capture;
         {LAB} SELECT 200, true, 'cash', 'M' || g FROM generate_series(1, 5) AS g;
         ALTER TABLE lab_bills ENABLE ALWAYS TRIGGER daybook_capture; COMMIT"
    );
    clinic.dba.batch_execute(&write).await.expect("writes");
    let drained = clinic.drain_for(std::time::Duration::from_secs(300)).await;
    assert_eq!(drained.unfinished, 0);
    let found = "SELECT count(*) || ' ' || min(reference_id::bigint) FROM daybook.sync_audit_log WHERE origin = 'wal'";
    assert_eq!(clinic.text(found).await, "5 130001");
    assert_eq!(gaps(&clinic).await, "LAB 130001, LAB 130002, LAB 130003, LAB 130004, LAB 130005");
}

#[tokio::test]
async fn a_transaction_that_is_larger_than_memory_is_enqueued_with_the_last_of_what_it_did() {
    let clinic = clinic("trigger").await;
    attach_by(&clinic, "lab_bills", "wal").await;
    clinic.drain().await;
    let write = format!(
        "BEGIN; {LAB} SELECT 100, true, 'cash', 'L' || g FROM generate_series(1, 120000) AS g;
         UPDATE lab_bills SET amount = 101 WHERE id <= 110000; DELETE FROM lab_bills WHERE id <= 119990; COMMIT"
    );
    clinic.write(&write).await;
    let options = clinic.options(2);
    let drained = daybook::consumer::drain(options, std::time::Duration::from_secs(300)).await.expect("drains");
    assert_eq!(drained.unfinished, 0);
    let operations = "SELECT string_agg(operation || ' ' || count, ', ' ORDER BY operation)
                      FROM (SELECT operation, count(*) FROM daybook.sync_audit_log WHERE origin = 'wal' GROUP BY 1) AS o";
    assert_eq!(clinic.text(operations).await, "delete 119990, insert 10");
    clinic.assert_ledger_equals_bills().await;
}

/// The most memory that a process has had so far, in kilobytes.
fn peak_kb(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    peak.and_then(|peak| peak.trim().trim_end_matches(" kB").trim().parse().ok()).unwrap_or_default()
}

#[tokio::test]
async fn rows_with_large_documents_wait_at_the_server_and_not_in_memory() {
    let cluster = Cluster::start_with(&["fsync=off", "wal_level=logical"]);
    let clinic = Clinic::with_both_on(&cluster).await;
    capture_by(&clinic, "wal").await;
    let document = "ALTER TABLE lab_bills ADD COLUMN document text; ALTER TABLE lab_bills ALTER COLUMN document SET STORAGE EXTERNAL";
    clinic.dba.batch_execute(document).await.expect("adds a column");
    clinic.drain().await;
    let url = format!("host={} user=postgres dbname={}", cluster.server.directory().display(), clinic.database);
    let mut running = std::process::Command::new(env!("CARGO_BIN_EXE_daybook"))
        .args(["run", "--source-url", &url])
        .stderr(std::process::Stdio::null())
        .spawn()
        .expect("starts");
    until(&clinic, "EXISTS (SELECT FROM pg_replication_slots WHERE slot_name = daybook.slot_name() AND active)").await;
    let before = peak_kb(running.id());
    // A commit that nobody sees yet keeps the stream waiting, and what follows behind it.
    let waiting = clinic.another_desk().await;
    keep_commits_waiting(&clinic).await;
    let is_waiting = is_waiting_for_a_standby(&waiting).await;
    let writing = tokio::spawn(async move {
        let sql =
            "SET synchronous_commit = on; INSERT INTO lab_bills (amount, paid, payment_mode) VALUES (1, true, 'cash')";
        let _ = waiting.batch_execute(sql).await;
    });
    until(&clinic, &is_waiting).await;
    for _ in 0..150 {
        let sql = "INSERT INTO lab_bills (amount, paid, payment_mode, document) VALUES (1, true, 'cash', repeat('x', 2000000))";
        clinic.dba.batch_execute(sql).await.expect("writes");
    }
    tokio::time::sleep(std::time::Duration::from_secs(3)).await;
    let after = peak_kb(running.id());
    let _ = running.kill();
    let _ = running.wait();
    let_commits_through(&clinic).await;
    writing.await.expect("ends");
    assert!(after - before < 130_000, "300 MB wait behind a commit, and memory went from {before} to {after} kB");
}

#[tokio::test]
async fn a_large_transaction_that_may_wait_nowhere_is_told_with_the_right_that_it_takes() {
    let clinic = clinic("wal").await;
    clinic.drain().await;
    let revoke = format!("REVOKE TEMPORARY ON DATABASE {} FROM PUBLIC", clinic.database);
    clinic.dba.batch_execute(&revoke).await.expect("revokes");
    let write = format!(
        "BEGIN; {LAB} SELECT 100, true, 'cash', 'L' || g FROM generate_series(1, 26000) AS g; DELETE FROM lab_bills WHERE id > 5; COMMIT"
    );
    clinic.write(&write).await;
    let running = Running::start(&clinic).await;
    let told = "EXISTS (SELECT FROM daybook.current_alerts WHERE alert_type = 'STREAM_STOPPED' AND message LIKE '%GRANT TEMPORARY ON DATABASE%')";
    until(&clinic, told).await;
    let grant = format!("GRANT TEMPORARY ON DATABASE {} TO daybook_consumer", clinic.database);
    clinic.dba.batch_execute(&grant).await.expect("grants");
    until(&clinic, &format!("NOT {told}")).await;
    running.end().await;
    clinic.drain().await;
    clinic.assert_ledger_equals_bills().await;
}
