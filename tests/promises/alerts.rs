//! Alerts: rows with a life, one open for each cause, which end by themselves when the cause is gone.

use std::time::Duration;

use crate::harness::{Clinic, Cluster, attach_lab_with};

const LIFE: &str = "SELECT string_agg(concat_ws(' ', alert_type, cause, severity, state), ', ' ORDER BY alert_id) FROM daybook.sync_alerts";
const CURRENT: &str =
    "SELECT string_agg(alert_type || ' ' || cause, ', ' ORDER BY alert_type) FROM daybook.current_alerts";

async fn look(clinic: &Clinic) {
    let looks = "SET ROLE daybook_consumer; SELECT daybook.look_for_alerts(); RESET ROLE";
    clinic.dba.batch_execute(looks).await.expect("looks for alerts as a consumer");
}

/// A sign of life of a process that is not this one.
async fn heartbeat(clinic: &Clinic, process: &str, seconds_ago: u32) {
    let sql = format!(
        "INSERT INTO daybook.sync_system_health VALUES ('{process}', '0', 1, now() - interval '1 day', now() - interval '{seconds_ago} seconds', 0)
         ON CONFLICT (process) DO UPDATE SET heartbeat_at = excluded.heartbeat_at"
    );
    clinic.dba.batch_execute(&sql).await.expect("gives a sign of life");
}

async fn lab_bills(clinic: &Clinic, ids: &str, mode: &str) {
    let sql = format!(
        "INSERT INTO lab_bills (id, amount, payment_mode, invoice_number) SELECT g, g, '{mode}', 'A' FROM generate_series({ids}) AS g"
    );
    clinic.write(&sql).await;
}

#[tokio::test]
async fn a_queue_that_grows_too_long_or_too_old_is_alerted_once_and_the_alert_ends_by_itself() {
    let clinic = Clinic::new().await;
    heartbeat(&clinic, "another", 0).await;
    clinic.configure("alert_threshold_queue_size", "10").await;
    lab_bills(&clinic, "1, 10", "cash").await;
    look(&clinic).await;
    assert_eq!(clinic.text(LIFE).await, "", "ten are not more than ten");
    lab_bills(&clinic, "11, 11", "cash").await;
    look(&clinic).await;
    look(&clinic).await;
    assert_eq!(clinic.text(LIFE).await, "QUEUE_BACKUP main warning open");
    assert_eq!(clinic.text("SELECT details ->> 'queued_at_least' FROM daybook.sync_alerts").await, "11");
    // It does not flap about the threshold; who has acknowledged it is not asked again.
    clinic.dba.batch_execute("SELECT daybook.acknowledge(max(alert_id)) FROM daybook.sync_alerts; DELETE FROM daybook.sync_queue WHERE reference_id::int > 8").await.expect("acknowledges");
    look(&clinic).await;
    assert_eq!(clinic.text(LIFE).await, "QUEUE_BACKUP main warning acknowledged");
    clinic.drain().await;
    assert_eq!(clinic.text(LIFE).await, "QUEUE_BACKUP main warning resolved");

    lab_bills(&clinic, "21, 22", "cash").await;
    clinic
        .dba
        .batch_execute("UPDATE daybook.sync_queue SET due_at = now() - interval '299 seconds'")
        .await
        .expect("ages");
    look(&clinic).await;
    assert_eq!(clinic.text(CURRENT).await, "");
    clinic
        .dba
        .batch_execute(
            "UPDATE daybook.sync_queue SET due_at = now() - interval '301 seconds' WHERE reference_id = '22'",
        )
        .await
        .expect("ages");
    look(&clinic).await;
    assert_eq!(clinic.text(CURRENT).await, "QUEUE_BACKUP main");
    clinic
        .dba
        .batch_execute("UPDATE daybook.sync_queue SET due_at = now() + interval '1 hour'")
        .await
        .expect("are not due");
    look(&clinic).await;
    assert_eq!(clinic.text(LIFE).await, "QUEUE_BACKUP main warning resolved, QUEUE_BACKUP main warning resolved");
}

#[tokio::test]
async fn an_open_alert_keeps_its_row_and_is_refreshed_in_it() {
    let clinic = Clinic::new().await;
    clinic.configure("alert_threshold_queue_size", "1").await;
    lab_bills(&clinic, "1, 3", "cash").await;
    look(&clinic).await;
    let aged = "UPDATE daybook.sync_alerts SET opened_at = opened_at - interval '1 hour', last_seen_at = last_seen_at - interval '1 hour'";
    clinic.dba.batch_execute(aged).await.expect("an hour goes by");
    clinic.configure("alert_threshold_queue_size", "2").await;
    look(&clinic).await;
    let row = "SELECT concat_ws(' ', alert_id, opened_at < now() - interval '59 minutes', last_seen_at > now() - interval '1 minute', message LIKE '%more than 2 events%') FROM daybook.sync_alerts";
    assert_eq!(clinic.text(row).await, "1 t t t");
}

#[tokio::test]
async fn bills_of_a_table_that_fail_or_are_parked_are_alerted_from_the_tenth_on() {
    let clinic = Clinic::new().await;
    lab_bills(&clinic, "1, 9", "barter").await;
    clinic.drain().await;
    assert_eq!(clinic.text(LIFE).await, "");
    // The tenth is queued, and has failed once.
    lab_bills(&clinic, "10, 10", "cash").await;
    clinic
        .dba
        .batch_execute("UPDATE daybook.sync_queue SET attempts = 1, due_at = now() + interval '1 hour'")
        .await
        .expect("fails");
    look(&clinic).await;
    assert_eq!(clinic.text(LIFE).await, "SYNC_FAILURES LAB critical open");
    assert_eq!(clinic.text("SELECT details::text FROM daybook.sync_alerts").await, r#"{"failed": 1, "parked": 9}"#);
    clinic.write("UPDATE lab_bills SET payment_mode = 'cash' WHERE id = 1").await;
    clinic.dba.batch_execute("UPDATE daybook.sync_queue SET due_at = now()").await.expect("is due");
    assert_eq!(clinic.drain().await.parked, 8);
    assert_eq!(clinic.text(LIFE).await, "SYNC_FAILURES LAB critical resolved");
}

#[tokio::test]
async fn a_consumer_that_died_is_alerted_without_any_process_also_with_an_empty_queue_and_the_row_is_left_by_who_comes_back()
 {
    let clinic = Clinic::new().await;
    heartbeat(&clinic, "died", 3600).await;
    assert_eq!(clinic.text(CURRENT).await, "SYSTEM_DOWN main");
    assert!(clinic.text("SELECT message FROM daybook.current_alerts").await.contains("did not end in order"));
    clinic.dba.batch_execute("SELECT daybook.pause()").await.expect("pauses");
    assert_eq!(clinic.text(CURRENT).await, "POSTING_PAUSED source", "nobody need be there");
    clinic.dba.batch_execute("SELECT daybook.resume()").await.expect("goes on");
    heartbeat(&clinic, "alive", 0).await;
    assert_eq!(clinic.text(CURRENT).await, "", "another one is alive");
    heartbeat(&clinic, "alive", 61).await;
    assert_eq!(clinic.text(CURRENT).await, "SYSTEM_DOWN main");
    let since = clinic.text("SELECT opened_at FROM daybook.current_alerts").await;
    clinic.drain().await;
    assert_eq!(clinic.text(CURRENT).await, "");
    assert_eq!(clinic.text(LIFE).await, "SYSTEM_DOWN main critical resolved");
    assert_eq!(clinic.text("SELECT opened_at FROM daybook.sync_alerts").await, since);
    assert_eq!(clinic.text("SELECT resolved_at > now() - interval '1 minute' FROM daybook.sync_alerts").await, "true");
    // It ended in order, and the dead are forgotten with it: nobody is missed.
    assert_eq!(clinic.text("SELECT count(*) FROM daybook.sync_system_health").await, "0");
    clinic.drain().await;
    assert_eq!(clinic.text(LIFE).await, "SYSTEM_DOWN main critical resolved", "once for each death");
}

#[tokio::test]
async fn a_source_where_nobody_ever_consumed_is_alerted_when_events_wait() {
    let clinic = Clinic::new().await;
    assert_eq!(clinic.text(CURRENT).await, "");
    lab_bills(&clinic, "1, 1", "cash").await;
    assert_eq!(clinic.text(CURRENT).await, "", "not for a minute");
    clinic
        .dba
        .batch_execute("UPDATE daybook.sync_queue SET due_at = now() - interval '61 seconds'")
        .await
        .expect("ages");
    assert_eq!(clinic.text(CURRENT).await, "SYSTEM_DOWN main");
}

#[tokio::test]
async fn a_ledger_that_contradicts_itself_is_alerted_as_inconsistent_until_the_bill_is_synchronised() {
    let clinic = Clinic::new().await;
    clinic.configure("retry_delay_seconds", "0").await;
    lab_bills(&clinic, "1, 3", "cash").await;
    clinic.drain().await;
    // Somebody's hand: the status forgets the revision that the journal has.
    let break_it = "UPDATE ledger.sync_master_status SET revision = 0 WHERE reference_id = '2'";
    clinic.accountant.batch_execute(break_it).await.expect("breaks it");
    clinic.write("UPDATE lab_bills SET amount = amount + 1").await;
    assert_eq!(clinic.drain().await.parked, 1);
    assert_eq!(clinic.text(LIFE).await, "DATA_INCONSISTENCY LAB critical open");
    let message = clinic.text("SELECT message FROM daybook.sync_alerts").await;
    assert!(message.contains("met what cannot be") && message.contains("duplicate key"), "{message}");
    let later = "UPDATE daybook.sync_alerts SET last_seen_at = now() - interval '1 minute'";
    clinic.dba.batch_execute(later).await.expect("a minute goes by");
    look(&clinic).await;
    assert_eq!(clinic.text(LIFE).await, "DATA_INCONSISTENCY LAB critical open", "the bill is parked yet");
    clinic
        .accountant
        .batch_execute("UPDATE ledger.sync_master_status SET revision = 1 WHERE reference_id = '2'")
        .await
        .expect("mends it");
    clinic.dba.batch_execute("SELECT daybook.retry_all()").await.expect("retries");
    assert_eq!(clinic.drain().await.parked, 0);
    assert_eq!(clinic.text(LIFE).await, "DATA_INCONSISTENCY LAB critical resolved");
    clinic.assert_ledger_equals_bills().await;
}

#[tokio::test]
async fn alerts_about_bills_that_are_gone_end_when_the_last_of_them_is_settled() {
    let clinic = Clinic::with_ledger_elsewhere().await;
    let attach = attach_lab_with("on_delete => 'alert'");
    clinic.dba.batch_execute(&attach).await.expect("attaches");
    lab_bills(&clinic, "1, 4", "cash").await;
    clinic.drain().await;
    clinic.write("DELETE FROM lab_bills WHERE id <= 2").await;
    clinic.drain().await;
    assert_eq!(clinic.text(CURRENT).await, "BILLS_DELETED LAB");
    clinic.dba.batch_execute("SELECT daybook.release('LAB', '1')").await.expect("releases");
    clinic.drain().await;
    assert_eq!(clinic.text(CURRENT).await, "BILLS_DELETED LAB", "one is left");
    clinic.dba.batch_execute("SELECT daybook.release('LAB', '2')").await.expect("releases");
    clinic.drain().await;
    assert_eq!(clinic.text(CURRENT).await, "");
    clinic.write("TRUNCATE lab_bills").await;
    clinic.drain().await;
    clinic.dba.batch_execute("SELECT daybook.release('LAB', '3')").await.expect("releases");
    clinic.drain().await;
    assert_eq!(clinic.text(CURRENT).await, "TABLE_TRUNCATED LAB", "one is left");
    lab_bills(&clinic, "4, 4", "cash").await;
    clinic.drain().await;
    assert_eq!(clinic.text(CURRENT).await, "");
    let closed = "SELECT count(*) FROM daybook.sync_alerts WHERE state = 'resolved'";
    assert_eq!(clinic.text(closed).await, "2", "each had one row");
}

/// The TRUNCATE has been read, its bills have not been told yet.
#[tokio::test]
async fn an_alert_of_a_truncate_does_not_end_before_its_bills_were_told() {
    let clinic = Clinic::new().await;
    lab_bills(&clinic, "1, 1", "cash").await;
    clinic.drain().await;
    clinic.dba.batch_execute("SELECT daybook.raise_alert('TABLE_TRUNCATED', 'LAB', 'critical', 'of now'); SELECT daybook.enqueue('LAB', '1', 'repair', 'truncate')").await.expect("is told");
    clinic
        .dba
        .batch_execute("UPDATE daybook.sync_queue SET due_at = now() + interval '1 hour'")
        .await
        .expect("not yet");
    clinic.drain_for(Duration::from_millis(100)).await;
    assert_eq!(clinic.text(CURRENT).await, "TABLE_TRUNCATED LAB");
    clinic.dba.batch_execute("UPDATE daybook.sync_queue SET due_at = now()").await.expect("now");
    clinic.drain().await;
    assert_eq!(clinic.text(CURRENT).await, "", "its row is there");
}

#[tokio::test]
async fn two_processes_that_look_at_once_open_one_alert() {
    let clinic = Clinic::new().await;
    clinic.configure("alert_threshold_queue_size", "1").await;
    lab_bills(&clinic, "1, 5", "cash").await;
    let sessions = [Cluster::shared().admin(&clinic.database).await, Cluster::shared().admin(&clinic.database).await];
    for _ in 0..20 {
        let look = "SELECT daybook.look_for_alerts()";
        let (a, b) = tokio::join!(sessions[0].batch_execute(look), sessions[1].batch_execute(look));
        assert!(a.is_ok() && b.is_ok());
    }
    assert_eq!(clinic.text(LIFE).await, "QUEUE_BACKUP main warning open");
}
