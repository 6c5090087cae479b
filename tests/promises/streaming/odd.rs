//! What a hostile reader found: orders of events in which a change could have been lost, or a person not told.

use std::time::Duration;

use super::{LAB, Running, attach_by, capture_by, clinic, gaps, until};
use crate::harness::{Clinic, Cluster, TRIGGERS, attach_lab_with, refused};

/// Makes lab_bills a table with partitions, captured in this mode.
async fn partitioned(mode: &str) -> Clinic {
    let clinic = clinic(mode).await;
    clinic.drain().await;
    let attach = attach_lab_with(&format!("capture_mode => '{mode}'"));
    let sql = format!(
        "SELECT daybook.detach('lab_bills'); ALTER TABLE lab_bills RENAME TO lab_before;
         CREATE TABLE lab_bills (LIKE lab_before INCLUDING DEFAULTS, PRIMARY KEY (id)) PARTITION BY RANGE (id);
         CREATE TABLE lab_1 PARTITION OF lab_bills FOR VALUES FROM (1) TO (100);
         GRANT SELECT, INSERT, UPDATE, DELETE ON lab_bills TO desk; {attach}"
    );
    clinic.dba.batch_execute(&sql).await.unwrap_or_else(|error| panic!("{error:?}"));
    clinic.drain().await;
    clinic
}

#[tokio::test]
async fn a_partition_that_came_with_rows_or_went_and_came_back_is_noticed_without_triggers() {
    let clinic = partitioned("wal").await;
    let running = Running::start(&clinic).await;
    // The reconciliation of its start, which would find the rows by itself, is over.
    until(&clinic, "EXISTS (SELECT FROM daybook.reconciliation_runs WHERE is_scheduled AND ended_at IS NOT NULL)")
        .await;
    let come = "CREATE TABLE lab_2 (LIKE lab_bills INCLUDING ALL);
                INSERT INTO lab_2 (id, amount, paid, payment_mode, invoice_number) VALUES (150, 70, true, 'cash', 'P');
                ALTER TABLE lab_bills ATTACH PARTITION lab_2 FOR VALUES FROM (100) TO (200)";
    clinic.dba.batch_execute(come).await.expect("comes");
    until(&clinic, "EXISTS (SELECT FROM daybook.sync_audit_log WHERE reference_id = '150' AND outcome = 'posted')")
        .await;
    // Between two looks.
    let back = "BEGIN; ALTER TABLE lab_bills DETACH PARTITION lab_2; UPDATE lab_2 SET amount = 71;
                ALTER TABLE lab_bills ATTACH PARTITION lab_2 FOR VALUES FROM (100) TO (200); COMMIT";
    clinic.dba.batch_execute(back).await.expect("goes and comes back");
    until(
        &clinic,
        "(SELECT count(*) FROM daybook.sync_audit_log WHERE reference_id = '150' AND outcome = 'posted') = 2",
    )
    .await;
    running.end().await;
    clinic.assert_ledger_equals_bills().await;
}

#[tokio::test]
async fn a_large_transaction_after_another_key_was_attached_is_not_passed_over() {
    let clinic = clinic("wal").await;
    let code = "ALTER TABLE lab_bills ADD COLUMN code bigint GENERATED ALWAYS AS IDENTITY (START 500001) UNIQUE;
                ALTER TABLE lab_bills REPLICA IDENTITY FULL";
    clinic.dba.batch_execute(code).await.expect("adds another key");
    clinic.write(&format!("{LAB} SELECT 100, true, 'cash', 'L' || g FROM generate_series(1, 30000) AS g")).await;
    assert_eq!(clinic.drain_for(Duration::from_secs(300)).await.unfinished, 0);
    clinic.configure("reversal_brake", "1000000").await;
    let running = Running::start(&clinic).await;
    let another = TRIGGERS[2].replace("ARRAY['id']", "ARRAY['code']");
    clinic.dba.batch_execute(&another).await.unwrap_or_else(|error| panic!("{error:?}"));
    until(&clinic, "NOT EXISTS (SELECT FROM daybook.sync_queue WHERE operation = 'reconcile')").await;
    let before = clinic.text("SELECT coalesce(max(last_value), 0) FROM daybook.sync_queue_seq_seq").await;
    clinic.write("UPDATE lab_bills SET amount = amount + 1").await;
    let told = format!(
        "EXISTS (SELECT FROM daybook.sync_queue WHERE origin = 'wal' AND seq > {before})
                        OR EXISTS (SELECT FROM daybook.sync_audit_log WHERE origin = 'wal' AND seq > {before})"
    );
    until(&clinic, &told).await;
    running.end().await;
}

#[tokio::test]
async fn a_key_whose_domain_is_dropped_keeps_no_other_table_from_being_streamed_and_is_never_cut_short() {
    let clinic = clinic("wal").await;
    clinic.drain().await;
    let odd = "CREATE DOMAIN bill_id AS integer; CREATE DOMAIN branch AS integer;
               CREATE TABLE single (id bill_id PRIMARY KEY, amount numeric);
               CREATE TABLE pair (a branch, b integer, amount numeric, PRIMARY KEY (a, b));
               SELECT daybook.attach('single', 'SINGLE', ARRAY['id'], ARRAY['amount'], 'wal');
               SELECT daybook.attach('pair', 'PAIR', ARRAY['a', 'b'], ARRAY['amount'], 'wal')";
    clinic.dba.batch_execute(odd).await.unwrap_or_else(|error| panic!("{error:?}"));
    let drop = "ALTER TABLE single ALTER id TYPE integer; ALTER TABLE pair ALTER a TYPE integer; DROP DOMAIN bill_id; DROP DOMAIN branch";
    clinic.dba.batch_execute(drop).await.expect("drops them");
    let running = Running::start(&clinic).await;
    clinic
        .dba
        .batch_execute("INSERT INTO pair VALUES (5, 7, 1); INSERT INTO single VALUES (5, 1)")
        .await
        .expect("writes");
    clinic.write(&format!("{LAB} VALUES (100, true, 'cash', 'L1')")).await;
    until(&clinic, "EXISTS (SELECT FROM daybook.sync_audit_log WHERE reference_type = 'LAB' AND outcome = 'posted')")
        .await;
    // They have no rule, so that their events wait.
    let told = "SELECT string_agg(DISTINCT reference_type || ' ' || coalesce(reference_id, 'whole'), ', ' ORDER BY reference_type || ' ' || coalesce(reference_id, 'whole'))
                FROM daybook.sync_queue WHERE origin = 'wal'";
    assert_eq!(clinic.text(told).await, "PAIR whole, SINGLE whole");
    running.end().await;
}

#[tokio::test]
async fn a_physical_slot_of_our_name_is_told_and_never_touched() {
    let clinic = clinic("wal").await;
    let take = "SELECT pg_create_physical_replication_slot(daybook.slot_name())";
    clinic.dba.batch_execute(take).await.expect("takes the name");
    let drained = clinic.drain_for(Duration::from_secs(3)).await;
    assert!(drained.unfinished > 0);
    let alert = clinic.text("SELECT message FROM daybook.current_alerts WHERE alert_type = 'STREAM_STOPPED'").await;
    assert!(alert.contains("is taken by one that is not daybook's"), "{alert}");
    clinic.dba.batch_execute("SELECT pg_drop_replication_slot(daybook.slot_name())").await.expect("is there still");
}

#[tokio::test]
async fn partitions_that_the_application_makes_can_be_changed_by_it() {
    let clinic = clinic("trigger").await;
    let make = "CREATE TABLE monthly (id bigint NOT NULL, month integer NOT NULL, amount numeric, UNIQUE (id, month)) PARTITION BY LIST (month);
                CREATE TABLE monthly_1 PARTITION OF monthly FOR VALUES IN (1);
                ALTER TABLE monthly_1 REPLICA IDENTITY FULL; ALTER TABLE monthly REPLICA IDENTITY FULL";
    clinic.dba.batch_execute(make).await.expect("makes");
    let attach = "SELECT daybook.attach('monthly', 'MONTHLY', ARRAY['id', 'month'], ARRAY['amount'], 'wal')";
    let message = refused(&clinic.dba, attach).await;
    assert!(message.contains("PRIMARY KEY (id, month)"), "{message}");
    let key = "ALTER TABLE monthly ADD PRIMARY KEY (id, month)";
    clinic.dba.batch_execute(key).await.expect("gives it a primary key");
    clinic.dba.batch_execute(attach).await.unwrap_or_else(|error| panic!("{error:?}"));
    let new = "CREATE TABLE monthly_2 PARTITION OF monthly FOR VALUES IN (2); INSERT INTO monthly VALUES (1, 2, 3);
               UPDATE monthly SET amount = 4; DELETE FROM monthly";
    clinic.dba.batch_execute(new).await.expect("is the application's right");
    let unlogged = "SELECT daybook.detach('monthly', discard_unfinished => true);
                    CREATE UNLOGGED TABLE monthly_3 PARTITION OF monthly FOR VALUES IN (3)";
    if clinic.dba.batch_execute(unlogged).await.is_ok() {
        assert!(refused(&clinic.dba, attach).await.contains("is unlogged"));
    }
}

#[tokio::test]
async fn uninstalling_beside_a_consumer_that_streams_leaves_no_slot() {
    let cluster = Cluster::start_with(&["fsync=off", "wal_level=logical"]);
    for _ in 0..3 {
        let clinic = Clinic::with_both_on(&cluster).await;
        capture_by(&clinic, "wal").await;
        clinic.drain().await;
        let running = Running::start(&clinic).await;
        daybook::install::uninstall(&clinic.source, &clinic.ledger, false).await.expect("uninstalls");
        tokio::time::sleep(Duration::from_secs(2)).await;
        running.abandon();
        let left = "SELECT count(*) FROM pg_replication_slots WHERE database = current_database()";
        assert_eq!(clinic.text(left).await, "0");
    }
}

#[tokio::test]
async fn a_gap_is_told_also_where_the_consumer_dies_between_the_two_commits() {
    let clinic = clinic("both").await;
    clinic.write(&format!("{LAB} SELECT 100 + g, true, 'cash', 'L' || g FROM generate_series(1, 3) AS g")).await;
    clinic.drain().await;
    let bypass = "SET session_replication_role = replica; ALTER TABLE lab_bills ENABLE TRIGGER daybook_capture;
                  UPDATE lab_bills SET amount = 900 WHERE id = 1;
                  INSERT INTO lab_bills (id, amount, paid, payment_mode, invoice_number) VALUES (9, 90, true, 'cash', 'L9')";
    clinic.dba.batch_execute(bypass).await.expect("bypasses");
    let url =
        format!("host={} user=postgres dbname={}", Cluster::streaming().server.directory().display(), clinic.database);
    let ended = tokio::task::spawn_blocking(move || {
        std::process::Command::new(env!("CARGO_BIN_EXE_daybook"))
            .args(["drain", "--source-url", &url])
            .env("DAYBOOK_CRASH_AT", "after_ledger_commit")
            .output()
            .expect("runs")
    });
    assert_eq!(ended.await.expect("ends").status.code(), None, "it dies");
    // What comes meanwhile hides none of it.
    clinic
        .write("UPDATE lab_bills SET printed = NOT printed WHERE id = 1; UPDATE lab_bills SET amount = 91 WHERE id = 9")
        .await;
    clinic.drain().await;
    clinic.assert_ledger_equals_bills().await;
    assert_eq!(gaps(&clinic).await, "LAB 1, LAB 9");
}

#[tokio::test]
async fn a_table_that_was_published_again_by_hand_is_reconciled_by_its_file() {
    let clinic = clinic("wal").await;
    clinic.write(&format!("{LAB} VALUES (100, true, 'cash', 'L1')")).await;
    clinic.drain().await;
    let running = Running::start(&clinic).await;
    clinic.dba.batch_execute("ALTER TABLE lab_bills DROP CONSTRAINT lab_bills_pkey").await.expect("drops");
    let stopped = "EXISTS (SELECT FROM daybook.current_alerts WHERE alert_type = 'CAPTURE_STOPPED' AND cause = 'LAB')";
    until(&clinic, stopped).await;
    clinic.write("UPDATE lab_bills SET amount = 900").await;
    let again = "ALTER TABLE lab_bills ADD PRIMARY KEY (id); ALTER PUBLICATION daybook ADD TABLE lab_bills";
    clinic.dba.batch_execute(again).await.expect("publishes it");
    attach_by(&clinic, "lab_bills", "wal").await;
    running.end().await;
    clinic.drain().await;
    clinic.assert_ledger_equals_bills().await;
    assert_eq!(clinic.text(&format!("SELECT {stopped}")).await, "false");
}

#[tokio::test]
async fn a_publication_whose_options_were_altered_is_mended_by_the_tables_file() {
    let clinic = clinic("wal").await;
    clinic.drain().await;
    clinic.dba.batch_execute("ALTER PUBLICATION daybook SET (publish = 'insert')").await.expect("alters");
    let incomplete = "SELECT count(*) FROM daybook.current_alerts WHERE alert_type = 'CAPTURE_INCOMPLETE'";
    assert_eq!(clinic.text(incomplete).await, "4");
    for (table, _) in super::TABLES {
        attach_by(&clinic, table, "wal").await;
    }
    assert_eq!(clinic.text(incomplete).await, "0");
}

#[tokio::test]
async fn attaching_to_the_wal_says_that_what_is_from_before_is_posted_too() {
    let clinic = clinic("trigger").await;
    clinic.dba.batch_execute("SELECT daybook.detach('lab_bills')").await.expect("detaches");
    clinic.write(&format!("{LAB} VALUES (100, true, 'cash', 'L1')")).await;
    let attach = attach_lab_with("capture_mode => 'wal'");
    let directory = Cluster::streaming().server.directory().display().to_string();
    let psql = std::process::Command::new("psql")
        .args(["-h", &directory, "-U", "postgres", "-d", &clinic.database, "--no-psqlrc", "-c", &attach])
        .output()
        .expect("psql runs");
    let said = String::from_utf8_lossy(&psql.stderr).into_owned();
    assert!(said.contains("go_live"), "{said}");
}
