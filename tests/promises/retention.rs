//! What is finished is kept for as long as the settings say, and dropped by partitions; what is unfinished is never dropped.

use std::time::{Duration, Instant};

use crate::command_line::url;
use crate::harness::{Clinic, Cluster};
use crate::rules::done;

const PARTITIONS: &str = "SELECT string_agg(inhrelid::regclass::text, ' ' ORDER BY 1) FROM (SELECT inhrelid FROM pg_inherits
    WHERE inhparent IN ('daybook.sync_audit_log'::regclass, 'daybook.sync_health_figures'::regclass) ORDER BY inhrelid::regclass::text) AS p";

/// What consumers have done each day; returns how much was left for later.
async fn keep(clinic: &Clinic, day: &str) -> String {
    clinic.text(&format!("SELECT daybook.keep_partitions_of('{day}')")).await
}

/// A text that PostgreSQL writes under one setting means another time under the next.
#[tokio::test]
async fn months_begin_at_midnight_utc_whatever_dates_look_like_in_the_database() {
    let clinic = Clinic::new().await;
    clinic.dba.batch_execute("SET DateStyle = 'SQL, DMY'; SET TimeZone = 'Asia/Kolkata'").await.expect("sets");
    assert_eq!(of_day(&clinic, "2024-12-05").await, "0");
    let bounds = "SELECT string_agg(pg_get_expr(c.relpartbound, c.oid), ' | ' ORDER BY relname) FROM pg_class AS c
                  WHERE relname LIKE 'sync\\_audit\\_log\\_202%'";
    clinic.dba.batch_execute("SET DateStyle = 'ISO'; SET TimeZone = 'UTC'").await.expect("sets");
    let month = |from: &str, to: &str| format!("FOR VALUES FROM ('{from}-01 00:00:00+00') TO ('{to}-01 00:00:00+00')");
    let expected = [month("2024-12", "2025-01"), month("2025-01", "2025-02"), month("2025-02", "2025-03")].join(" | ");
    assert_eq!(clinic.text(bounds).await, expected);
}

#[tokio::test]
async fn a_consumer_drops_by_the_servers_clock_and_can_name_no_day() {
    let clinic = Clinic::new().await;
    clinic.dba.batch_execute("SET ROLE daybook_consumer").await.expect("is a consumer");
    let refusal = crate::harness::refused(&clinic.dba, "SELECT daybook.keep_partitions_of('2099-01-01')").await;
    assert!(refusal.contains("permission denied"), "{refusal}");
    assert_eq!(clinic.text("SELECT daybook.keep_partitions()").await, "0");
}

#[tokio::test]
async fn a_month_that_somebodys_view_reads_is_told_of_and_keeps_no_other_from_its_turn() {
    let clinic = Clinic::new().await;
    of_day(&clinic, "2024-01-31").await;
    let view = "CREATE VIEW public.report AS SELECT seq FROM daybook.sync_audit_log_2024_01";
    clinic.dba.batch_execute(view).await.expect("reads a month");
    assert_eq!(keep(&clinic, "2027-01-05").await, "0");
    let months = "SELECT string_agg(right(relname, 7), ' ' ORDER BY relname) FROM pg_class WHERE relname LIKE 'sync\\_audit\\_log\\_20%' AND relkind = 'r'";
    assert_eq!(clinic.text(months).await, "2024_01 2027_01 2027_02 2027_03");
    let alert = "SELECT cause || ' ' || message FROM daybook.sync_alerts WHERE state = 'open' AND alert_type = 'RETENTION_STUCK'";
    assert!(clinic.text(alert).await.starts_with("daybook partition sync_audit_log_2024_01 is past its retention"));
    clinic.dba.batch_execute("DROP VIEW public.report").await.expect("drops");
    keep(&clinic, "2027-01-06").await;
    assert_eq!(clinic.text(months).await, "2027_01 2027_02 2027_03");
    assert_eq!(clinic.text(alert).await, "");
}

/// Anybody may take an advisory lock, by any number.
#[tokio::test]
async fn no_lock_of_the_application_silences_alerts_or_keeps_partitions_from_being_made() {
    let clinic = Clinic::new().await;
    let locks = "SELECT pg_advisory_lock(hashtextextended(name, 0)) FROM unnest(ARRAY['daybook alerts', 'daybook partitions']) AS name";
    clinic.write(locks).await;
    clinic.write("INSERT INTO lab_bills (id, amount, invoice_number) VALUES (1, 10, 'A')").await;
    clinic
        .dba
        .batch_execute(
            "UPDATE daybook.sync_queue SET due_at = due_at - interval '1 hour'; SELECT daybook.look_for_alerts()",
        )
        .await
        .expect("looks");
    assert_eq!(clinic.text("SELECT alert_type FROM daybook.sync_alerts").await, "QUEUE_BACKUP");
    assert_eq!(clinic.text("SELECT daybook.keep_partitions()").await, "0");
}

/// The partitions of a day, without those that were made when the clinic was.
async fn of_day(clinic: &Clinic, day: &str) -> String {
    let old = "DO $$DECLARE p regclass; BEGIN FOR p IN SELECT inhrelid FROM pg_inherits WHERE inhparent IN ('daybook.sync_audit_log'::regclass,
               'daybook.sync_health_figures'::regclass) AND inhrelid::regclass::text !~ 'default' LOOP EXECUTE 'DROP TABLE ' || p; END LOOP; END$$";
    clinic.dba.batch_execute(old).await.expect("drops");
    keep(clinic, day).await
}

#[tokio::test]
async fn months_that_are_past_their_retention_are_dropped_and_the_next_ones_made() {
    let clinic = Clinic::new().await;
    clinic.configure("audit_log_retention_days", "31").await;
    clinic.configure("health_retention_days", "10").await;
    assert_eq!(of_day(&clinic, "2024-01-31").await, "0");
    let (audit, figures) = ("daybook.sync_audit_log", "daybook.sync_health_figures");
    let expected = |audit_months: &[&str], figure_months: &[&str]| {
        let of = |table: &str, months: &[&str]| {
            months.iter().map(|month| format!("{table}_{month}")).collect::<Vec<_>>().join(" ")
        };
        of(audit, audit_months) + " " + &of(figures, figure_months)
    };
    let first = ["2024_01", "2024_02", "2024_03", "default"];
    assert_eq!(clinic.text(PARTITIONS).await, expected(&first, &first));
    // January ends 10 days before February 10th, and 31 days before March 3rd.
    keep(&clinic, "2024-02-10").await;
    let second = ["2024_01", "2024_02", "2024_03", "2024_04", "default"];
    assert_eq!(clinic.text(PARTITIONS).await, expected(&second, &second), "not a day too early");
    keep(&clinic, "2024-02-11").await;
    assert_eq!(clinic.text(PARTITIONS).await, expected(&second, &second[1..]));
    keep(&clinic, "2024-03-02").await;
    let third = ["2024_01", "2024_02", "2024_03", "2024_04", "2024_05", "default"];
    assert_eq!(clinic.text(PARTITIONS).await, expected(&third, &third[1..]));
    keep(&clinic, "2024-03-03").await;
    assert_eq!(clinic.text(PARTITIONS).await, expected(&third[1..], &third[1..]));
    let owners = "SELECT string_agg(DISTINCT relowner::regrole::text, ' ') FROM pg_class WHERE relname LIKE 'sync\\_%\\_2024\\_%'";
    assert_eq!(clinic.text(owners).await, "daybook_owner");
}

#[tokio::test]
async fn what_landed_in_a_default_partition_is_deleted_by_age_in_bounded_numbers() {
    let clinic = Clinic::new().await;
    let rows = "INSERT INTO daybook.sync_audit_log (seq, source, reference_type, reference_id, operation, origin, outcome, xid, enqueued_at,
                    session_user_name, application_name, attempts, finished_at)
                SELECT g, 'main', 'LAB', '1', 'insert', 'trigger', 'posted', '1', now(), 'x', '', 0, '2001-01-01' FROM generate_series(1, 10001) AS g";
    clinic.dba.batch_execute(rows).await.expect("writes");
    clinic
        .dba
        .batch_execute("INSERT INTO daybook.sync_health_figures VALUES ('2001-01-01', 'main', 1, 0, NULL, 0, 0, 0, 0)")
        .await
        .expect("writes");
    let today = "SELECT current_date";
    let today = clinic.text(today).await;
    assert_eq!(keep(&clinic, &today).await, "1", "more are left");
    assert_eq!(clinic.text("SELECT count(*) FROM daybook.sync_audit_log").await, "1");
    assert_eq!(keep(&clinic, &today).await, "0");
    assert_eq!(
        clinic
            .text("SELECT (SELECT count(*) FROM daybook.sync_audit_log) + count(*) FROM daybook.sync_health_figures")
            .await,
        "0"
    );
}

#[tokio::test]
async fn nothing_unfinished_is_ever_dropped_however_old() {
    let clinic = Clinic::new().await;
    clinic.write("INSERT INTO lab_bills (id, amount, payment_mode, invoice_number) SELECT g, g, 'barter', 'A' FROM generate_series(1, 3) AS g").await;
    clinic.drain().await;
    clinic.dba.batch_execute("SELECT daybook.resolve('LAB', '2', 'a gift')").await.expect("resolves");
    clinic.write("UPDATE lab_bills SET payment_mode = 'cash' WHERE id = 3").await;
    clinic.drain().await;
    clinic.write("INSERT INTO lab_bills (id, amount, invoice_number) VALUES (9, 9, 'A')").await;
    let sql = "SELECT daybook.raise_alert('ONE', 'x', 'info', 'm'), daybook.raise_alert('TWO', 'x', 'info', 'm'); SELECT daybook.resolve_alert('TWO', 'x');
        UPDATE daybook.sync_queue SET enqueued_at = '2001-01-01', due_at = '2001-01-01';
        UPDATE daybook.sync_dead_letter SET parked_at = '2001-01-01', resolved_at = CASE WHEN resolved_at IS NOT NULL THEN '2001-01-01'::timestamptz END;
        UPDATE daybook.sync_alerts SET opened_at = '2001-01-01', last_seen_at = '2001-01-01', resolved_at = CASE WHEN resolved_at IS NOT NULL THEN '2001-01-01'::timestamptz END";
    clinic.dba.batch_execute(sql).await.expect("twenty years go by");
    let today = clinic.text("SELECT current_date").await;
    assert_eq!(keep(&clinic, &today).await, "0");
    let left = "SELECT (SELECT string_agg(reference_id || ' ' || state, ', ' ORDER BY reference_id) FROM daybook.dead_letters) || '; '
                || (SELECT string_agg(reference_id, ' ') FROM daybook.sync_queue) || '; ' || (SELECT string_agg(alert_type, ' ') FROM daybook.sync_alerts WHERE cause = 'x')";
    assert_eq!(clinic.text(left).await, "1 open, 2 resolved; 9; ONE", "the operator's word stays, too");
}

#[tokio::test(flavor = "multi_thread")]
async fn trace_answers_from_the_ledger_when_the_audit_log_is_gone() {
    let clinic = Clinic::new().await;
    clinic.write("INSERT INTO lab_bills (id, amount, invoice_number) VALUES (1, 10, 'A')").await;
    clinic.drain().await;
    let trace = || {
        serde_json::from_str::<serde_json::Value>(&done(&["trace", "LAB", "1", "--json"], &url(&clinic)))
            .expect("is JSON")
    };
    let before = trace();
    assert_eq!(before["events"][0]["told_by"], "source");
    let in_two_years = clinic.text("SELECT current_date + 800").await;
    assert_eq!(keep(&clinic, &in_two_years).await, "0");
    assert_eq!(clinic.text("SELECT count(*) FROM daybook.sync_audit_log").await, "0");
    let after = trace();
    assert_eq!(after["events"][0]["told_by"], "journal");
    for kept in ["seq", "xid", "session_user", "origin", "changed_at", "entry_id", "outcome"] {
        assert_eq!(after["events"][0][kept], before["events"][0][kept], "{kept}");
    }
    assert_eq!((&after["entries"], &after["balances"]), (&before["entries"], &before["balances"]));
}

#[tokio::test]
async fn dropping_gives_way_to_readers_and_holds_up_no_consumer_behind_them() {
    let clinic = Clinic::new().await;
    of_day(&clinic, "2001-01-01").await;
    let reader = Cluster::shared().admin(&clinic.database).await;
    reader.batch_execute("BEGIN; SELECT count(*) FROM daybook.sync_audit_log").await.expect("reads for long");
    let started = Instant::now();
    let today = clinic.text("SELECT current_date").await;
    assert_ne!(keep(&clinic, &today).await, "0");
    assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
    assert!(clinic.text(PARTITIONS).await.contains("sync_audit_log_2001_01"));
    assert!(!clinic.text(PARTITIONS).await.contains("sync_health_figures_2001_01"), "nobody reads these");
    clinic.write("INSERT INTO lab_bills (id, amount, invoice_number) VALUES (1, 10, 'A')").await;
    clinic.drain().await;
    reader.batch_execute("COMMIT").await.expect("has read");
    assert_eq!(keep(&clinic, &today).await, "0");
    assert!(!clinic.text(PARTITIONS).await.contains("2001"));
}

#[tokio::test]
async fn figures_are_noted_about_each_minute_by_whoever_comes_first() {
    let clinic = Clinic::new().await;
    clinic.write("INSERT INTO lab_bills (id, amount, payment_mode, invoice_number) VALUES (1, 10, 'barter', 'A'), (2, 20, 'cash', 'B')").await;
    clinic.dba.batch_execute("UPDATE daybook.sync_queue SET due_at = now() - interval '100 seconds', attempts = 1 WHERE reference_id = '2'").await.expect("ages");
    let measure = "SET ROLE daybook_consumer; SELECT daybook.measure_health(); RESET ROLE";
    for _ in 0..2 {
        clinic.dba.batch_execute(measure).await.expect("measures as a consumer");
    }
    let figures = "SELECT string_agg(concat_ws(' ', source, processes_alive, queued, oldest_due_seconds, failed, parked), ', ' ORDER BY measured_at) FROM daybook.sync_health_figures";
    assert_eq!(clinic.text(figures).await, "main 0 2 100 1 0");
    clinic
        .dba
        .batch_execute("UPDATE daybook.sync_health_figures SET measured_at = measured_at - interval '1 minute'")
        .await
        .expect("a minute goes by");
    clinic.drain().await; // which measures before its first sign of life
    assert_eq!(clinic.text("SELECT count(*) FROM daybook.sync_health_figures").await, "2");
    clinic
        .dba
        .batch_execute("UPDATE daybook.sync_health_figures SET measured_at = measured_at - interval '1 minute'")
        .await
        .expect("a minute goes by");
    clinic.dba.batch_execute(measure).await.expect("measures");
    assert!(clinic.text(figures).await.ends_with(", main 0 0 0 1"), "{}", clinic.text(figures).await);
}

/// The ledger remembers when a bill was parked last for as long as it lives.
#[tokio::test]
async fn a_dead_letter_that_healed_and_was_deleted_is_not_written_again() {
    let clinic = Clinic::new().await;
    clinic
        .write("INSERT INTO lab_bills (id, amount, payment_mode, invoice_number) VALUES (1, 10, 'barter', 'A')")
        .await;
    clinic.drain().await;
    clinic.write("UPDATE lab_bills SET payment_mode = 'cash'").await;
    clinic.drain().await;
    let age = "UPDATE daybook.sync_dead_letter SET resolved_at = resolved_at - interval '500 days'";
    clinic.dba.batch_execute(age).await.expect("ages");
    let age = "UPDATE ledger.sync_master_status SET parked_at = parked_at - interval '500 days'";
    clinic.accountant.batch_execute(age).await.expect("ages");
    clinic.text("SELECT daybook.keep_partitions()").await;
    assert_eq!(clinic.text("SELECT count(*) FROM daybook.sync_dead_letter").await, "0");
    clinic.write("UPDATE lab_bills SET amount = 11").await;
    clinic.drain().await;
    assert_eq!(clinic.text("SELECT count(*) FROM daybook.sync_dead_letter").await, "0");
    clinic.write("UPDATE lab_bills SET payment_mode = 'barter'").await;
    assert_eq!(clinic.drain().await.parked, 1);
}
