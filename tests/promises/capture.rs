//! Capture by trigger: no committed change is lost, and the application never fails because of us.

use std::time::Duration;

use crate::harness::{Clinic, pharmacy_bill, refused};

async fn queue(clinic: &Clinic) -> String {
    let sql =
        "SELECT coalesce(string_agg(reference_type || ' ' || coalesce(reference_id, '*') || ' ' || operation, ', '
               ORDER BY seq), '') FROM daybook.sync_queue";
    clinic.text(sql).await
}

async fn forget_queue(clinic: &Clinic) {
    clinic.dba.batch_execute("DELETE FROM daybook.sync_queue").await.expect("forgets");
}

#[tokio::test]
async fn every_way_to_write_a_row_leaves_its_key() {
    let clinic = Clinic::new().await;
    let ways = [
        ("INSERT INTO lab_bills (id, amount, invoice_number) VALUES (1, 10, 'A')", "LAB 1 insert"),
        ("UPDATE lab_bills SET amount = 11 WHERE id = 1", "LAB 1 update"),
        (
            "INSERT INTO lab_bills (id, amount) VALUES (1, 12) ON CONFLICT (id) DO UPDATE SET amount = excluded.amount",
            "LAB 1 update",
        ),
        ("INSERT INTO lab_bills (id, amount) VALUES (1, 12) ON CONFLICT (id) DO NOTHING", ""),
        ("UPDATE lab_bills SET id = 2 WHERE id = 1", "LAB 2 update, LAB 1 update"),
        (
            "BEGIN; UPDATE lab_bills SET amount = 13; SAVEPOINT s; UPDATE lab_bills SET amount = 14; ROLLBACK TO s; COMMIT",
            "LAB 2 update",
        ),
        ("BEGIN; DELETE FROM lab_bills; ROLLBACK", ""),
        ("DELETE FROM lab_bills", "LAB 2 delete"),
        (
            "INSERT INTO lab_bills (id, amount) SELECT g, g FROM generate_series(5, 6) AS g",
            "LAB 5 insert, LAB 6 insert",
        ),
    ];
    for (sql, expected) in ways {
        clinic.write(sql).await;
        assert_eq!(queue(&clinic).await, expected, "{sql}");
        forget_queue(&clinic).await;
    }
    let version: i32 = clinic.text("SELECT current_setting('server_version_num')").await.parse().expect("a number");
    if version >= 150_000 {
        let merge = "MERGE INTO lab_bills AS b USING (VALUES (5), (7)) AS v (id) ON b.id = v.id
                     WHEN MATCHED THEN UPDATE SET amount = 1 WHEN NOT MATCHED THEN INSERT (id, amount) VALUES (v.id, 1)";
        clinic.write(merge).await;
        assert_eq!(queue(&clinic).await, "LAB 5 update, LAB 7 insert");
    }
}

#[tokio::test]
async fn a_copy_is_captured_row_by_row() {
    let clinic = Clinic::new().await;
    let sink = clinic.desk.copy_in("COPY lab_bills (id, amount) FROM STDIN").await.expect("copies");
    futures_util::pin_mut!(sink);
    futures_util::SinkExt::send(&mut sink, bytes_of("1\t10\n2\t20\n")).await.expect("sends");
    sink.finish().await.expect("ends");
    assert_eq!(queue(&clinic).await, "LAB 1 insert, LAB 2 insert");
}

fn bytes_of(text: &'static str) -> bytes::Bytes {
    bytes::Bytes::from_static(text.as_bytes())
}

#[tokio::test]
async fn a_cascade_is_captured() {
    let clinic = Clinic::new().await;
    let sql = "CREATE TABLE visits (id bigint PRIMARY KEY);
               ALTER TABLE lab_bills ADD FOREIGN KEY (visit_id) REFERENCES visits ON DELETE CASCADE;
               INSERT INTO visits VALUES (1);
               INSERT INTO lab_bills (id, visit_id, amount) VALUES (9, 1, 10);";
    clinic.dba.batch_execute(sql).await.expect("writes");
    forget_queue(&clinic).await;
    clinic.dba.batch_execute("DELETE FROM visits").await.expect("deletes");
    assert_eq!(queue(&clinic).await, "LAB 9 delete");
}

#[tokio::test]
async fn a_write_under_session_replication_role_replica_is_captured() {
    let clinic = Clinic::new().await;
    let sql = "SET session_replication_role = replica; INSERT INTO lab_bills (id, amount) VALUES (1, 10);
               TRUNCATE lab_bills; RESET session_replication_role";
    clinic.dba.batch_execute(sql).await.expect("writes");
    assert_eq!(queue(&clinic).await, "LAB 1 insert, LAB * truncate");
}

#[tokio::test]
async fn a_truncate_is_recorded_and_alerted_and_reverses_nothing() {
    let clinic = Clinic::new().await;
    let id = pharmacy_bill(&clinic, "2024-03-05").await;
    clinic.drain().await;
    clinic.write("TRUNCATE pharmacy_bills").await;
    clinic.drain().await;
    assert_eq!(clinic.balances("PHARMACY", &id).await, "1000 112.00, 2100 -12.00, 4100 -100.00");
    assert_eq!(
        clinic.ledger_text("SELECT state FROM ledger.sync_master_status WHERE reference_type = 'PHARMACY'").await,
        "retained"
    );
    let outcomes = "SELECT string_agg(operation || ' ' || outcome, ', ' ORDER BY seq) FROM daybook.sync_audit_log";
    assert_eq!(clinic.text(outcomes).await, "insert posted, truncate covered, truncate retained");
    let alert = "SELECT severity || ' ' || message FROM daybook.current_alerts WHERE alert_type = 'TABLE_TRUNCATED'";
    assert!(clinic.text(alert).await.starts_with("critical the table of PHARMACY was truncated. 1 bills"));

    // Reconciling keeps it, a row that is back makes it ordinary again, and only an operator's word reverses it.
    clinic.dba.batch_execute(&format!("SELECT daybook.enqueue('PHARMACY', '{id}')")).await.expect("enqueues");
    clinic.drain().await;
    assert_eq!(clinic.balances("PHARMACY", &id).await, "1000 112.00, 2100 -12.00, 4100 -100.00");
    clinic.dba.batch_execute(&format!("SELECT daybook.release('PHARMACY', '{id}')")).await.expect("releases");
    clinic.drain().await;
    assert_eq!(clinic.balances("PHARMACY", &id).await, "");
}

#[tokio::test]
async fn a_row_that_is_back_after_a_truncate_is_ordinary_again() {
    let clinic = Clinic::new().await;
    let id = pharmacy_bill(&clinic, "2024-03-05").await;
    clinic.drain().await;
    clinic
        .write(
            "BEGIN; CREATE TEMPORARY TABLE kept AS SELECT * FROM pharmacy_bills; TRUNCATE pharmacy_bills;
                  INSERT INTO pharmacy_bills SELECT * FROM kept; COMMIT",
        )
        .await;
    clinic.drain().await;
    assert_eq!(clinic.entries("PHARMACY", &id).await.len(), 1, "a refresh of the table posts nothing");
    assert_eq!(
        clinic.ledger_text("SELECT state FROM ledger.sync_master_status WHERE reference_type = 'PHARMACY'").await,
        "current"
    );
    clinic.write("DELETE FROM pharmacy_bills").await;
    clinic.drain().await;
    clinic.assert_ledger_equals_bills().await;
}

#[tokio::test]
async fn an_operators_release_is_applied_only_if_the_row_is_still_absent() {
    let clinic = Clinic::new().await;
    let id = pharmacy_bill(&clinic, "2024-03-05").await;
    clinic.drain().await;
    clinic.write("CREATE TEMPORARY TABLE kept AS SELECT * FROM pharmacy_bills; TRUNCATE pharmacy_bills").await;
    clinic.drain().await;
    clinic.write("INSERT INTO pharmacy_bills SELECT * FROM kept").await;
    clinic.dba.batch_execute(&format!("SELECT daybook.release('PHARMACY', '{id}')")).await.expect("releases");
    clinic.drain().await;
    clinic.assert_ledger_equals_bills().await;
    assert_eq!(clinic.entries("PHARMACY", &id).await.len(), 1);
}

#[tokio::test]
async fn an_update_that_changes_no_filter_column_leaves_no_event() {
    let clinic = Clinic::new().await;
    clinic.write("INSERT INTO pharmacy_bills (id, total_amount) VALUES (1, 10)").await;
    forget_queue(&clinic).await;
    clinic.write("UPDATE pharmacy_bills SET printed = true, discount_value = 5, discount_type = 'percent'").await;
    assert_eq!(queue(&clinic).await, "");
    clinic.write("UPDATE pharmacy_bills SET total_amount = 10").await;
    assert_eq!(queue(&clinic).await, "", "the same value again");
}

#[tokio::test]
async fn an_update_from_or_to_null_is_captured() {
    let clinic = Clinic::new().await;
    clinic.write("INSERT INTO pharmacy_bills (id, total_amount) VALUES (1, 10)").await;
    for set in ["invoice_number = 'A'", "invoice_number = NULL", "discounted_total = 1", "discounted_total = NULL"] {
        forget_queue(&clinic).await;
        clinic.write(&format!("UPDATE pharmacy_bills SET {set}")).await;
        assert_eq!(queue(&clinic).await, "PHARMACY 1 update", "{set}");
    }
}

/// Every column of the table is added, dropped, renamed or retyped under a session that wrote before, and the session goes
/// on writing.
#[tokio::test]
async fn the_vendors_ddl_never_makes_a_write_fail_nor_is_a_write_lost() {
    let clinic = Clinic::new().await;
    clinic.write("INSERT INTO pharmacy_bills (id, total_amount) VALUES (1, 10)").await;
    clinic.write("UPDATE pharmacy_bills SET total_amount = 11").await;
    let vendor = [
        "ALTER TABLE pharmacy_bills ADD COLUMN note text DEFAULT 'x'",
        "ALTER TABLE pharmacy_bills ALTER COLUMN total_amount TYPE double precision",
        "ALTER TABLE pharmacy_bills ALTER COLUMN total_amount TYPE numeric(12, 2)",
        "ALTER TABLE pharmacy_bills RENAME COLUMN payment_mode TO mode_of_payment",
        "ALTER TABLE pharmacy_bills ALTER COLUMN created_at TYPE timestamp",
        "ALTER TABLE pharmacy_bills DROP COLUMN gst_amount",
        "ALTER TABLE pharmacy_bills ADD COLUMN gst_amount json",
        "ALTER TABLE pharmacy_bills DROP COLUMN printed",
        "ALTER TABLE pharmacy_bills ALTER COLUMN id TYPE integer",
        "ALTER TABLE pharmacy_bills ALTER COLUMN id TYPE text USING 'bill ' || id",
        "ALTER TABLE pharmacy_bills ALTER COLUMN id DROP IDENTITY IF EXISTS",
        "ALTER TABLE pharmacy_bills RENAME COLUMN id TO bill_id",
        "ALTER TABLE pharmacy_bills RENAME TO bills; CREATE VIEW pharmacy_bills AS SELECT * FROM bills; GRANT ALL ON pharmacy_bills TO desk",
        "DROP VIEW pharmacy_bills; ALTER TABLE bills RENAME TO pharmacy_bills",
        "ALTER TABLE pharmacy_bills DROP CONSTRAINT pharmacy_bills_pkey",
        "ALTER TABLE pharmacy_bills DROP COLUMN bill_id",
    ];
    for ddl in vendor {
        if ddl.contains("TYPE text USING") {
            clinic
                .dba
                .batch_execute("ALTER TABLE pharmacy_bills ALTER COLUMN id DROP IDENTITY IF EXISTS")
                .await
                .expect("vendor");
        }
        clinic.dba.batch_execute(ddl).await.unwrap_or_else(|error| panic!("the vendor's DDL fails: {ddl}: {error:?}"));
        forget_queue(&clinic).await;
        clinic.write("UPDATE pharmacy_bills SET total_amount = total_amount + 1").await;
        assert_ne!(queue(&clinic).await, "", "after {ddl}, a change leaves an event");
    }
}

#[tokio::test]
async fn a_retyped_key_marks_the_table_dirty_and_the_table_is_reconciled() {
    let clinic = Clinic::new().await;
    clinic.write("INSERT INTO lab_bills (id, amount, invoice_number) VALUES (1, 10, 'A'), (2, 20, 'B')").await;
    clinic.drain().await;
    clinic.dba.batch_execute("ALTER TABLE lab_bills ALTER COLUMN id TYPE integer").await.expect("retypes");
    clinic.write("UPDATE lab_bills SET amount = 15 WHERE id = 1").await;
    assert_eq!(queue(&clinic).await, "LAB * update");
    clinic.drain().await;
    clinic.assert_ledger_equals_bills().await;
    let alert = "SELECT state FROM daybook.sync_alerts WHERE alert_type = 'TABLE_DIRTY' AND cause = 'LAB'";
    assert_eq!(clinic.text(alert).await, "resolved");
    clinic.write("UPDATE lab_bills SET amount = 16 WHERE id = 1").await;
    assert_eq!(queue(&clinic).await, "LAB 1 update", "the new type is taken up, in the same session too");
}

#[tokio::test]
async fn a_key_retyped_to_one_without_canonical_text_waits_with_an_alert() {
    let clinic = Clinic::new().await;
    clinic.dba.batch_execute("ALTER TABLE lab_bills ALTER COLUMN id DROP IDENTITY; ALTER TABLE lab_bills ALTER COLUMN id TYPE double precision").await.expect("retypes");
    clinic.write("INSERT INTO lab_bills (id, amount, invoice_number) VALUES (1, 10, 'A')").await;
    assert_eq!(queue(&clinic).await, "LAB * insert");
    assert_eq!(clinic.drain_for(Duration::from_millis(300)).await.unfinished, 1);
    let alert = "SELECT message FROM daybook.current_alerts WHERE alert_type = 'TABLE_UNREADABLE' AND cause = 'LAB'";
    let alert = clinic.text(alert).await;
    assert!(alert.contains("double precision") && alert.contains("unique column"), "{alert}");
}

#[tokio::test]
async fn a_renamed_key_waits_with_an_alert_until_the_table_is_attached_anew() {
    let clinic = Clinic::new().await;
    clinic.write("INSERT INTO lab_bills (id, amount, invoice_number) VALUES (1, 10, 'A')").await;
    clinic.drain().await;
    clinic.dba.batch_execute("ALTER TABLE lab_bills RENAME COLUMN id TO bill_id").await.expect("renames");
    clinic.write("UPDATE lab_bills SET amount = 15").await;
    clinic.write("INSERT INTO ultrasound_bills (id, total_amount, invoice_number) VALUES (1, 10, 'A')").await;
    assert_eq!(clinic.drain_for(Duration::from_millis(300)).await.unfinished, 1, "the other table goes on");
    let alert = "SELECT message FROM daybook.current_alerts WHERE cause = 'LAB'";
    assert!(
        clinic.text(alert).await.contains("daybook.attach('public.lab_bills', 'LAB'"),
        "{}",
        clinic.text(alert).await
    );
    let attach = "SELECT daybook.attach('lab_bills', 'LAB', ARRAY['bill_id'], ARRAY['visit_id', 'amount', 'paid',
                  'discounted_amount', 'payment_mode', 'invoice_number', 'created_at'])";
    clinic.dba.batch_execute(attach).await.expect("attaches");
    clinic.dba.batch_execute("UPDATE daybook.sync_queue SET due_at = now()").await.expect("is due");
    clinic.drain().await;
    assert_eq!(clinic.balances("LAB", "1").await, "1000 15.00, 4200 -15.00");
    assert_eq!(clinic.text("SELECT count(*) FROM daybook.current_alerts").await, "0");
}

#[tokio::test]
async fn a_dropped_mapped_column_makes_its_table_wait_while_the_application_and_other_tables_go_on() {
    let clinic = Clinic::new().await;
    clinic.configure("table_retry_seconds", "0.1").await;
    clinic.write("INSERT INTO lab_bills (id, amount, invoice_number) VALUES (1, 10, 'A')").await;
    clinic.drain().await;
    clinic.dba.batch_execute("ALTER TABLE lab_bills RENAME COLUMN discounted_amount TO rebate").await.expect("renames");
    clinic.write("UPDATE lab_bills SET amount = 15 WHERE id = 1").await;
    clinic.write("INSERT INTO ultrasound_bills (id, total_amount, invoice_number) VALUES (1, 10, 'A')").await;
    assert_eq!(clinic.drain_for(Duration::from_millis(300)).await.unfinished, 1);
    assert_eq!(clinic.balances("ULTRASOUND", "1").await, "1000 10.00, 4300 -10.00");
    assert_eq!(clinic.balances("LAB", "1").await, "1000 10.00, 4200 -10.00");
    let alert = "SELECT severity || ' ' || message FROM daybook.sync_alerts WHERE cause = 'LAB' AND state = 'open'";
    let alert = clinic.text(alert).await;
    assert!(
        alert.starts_with("critical") && alert.contains("column discounted_amount of public.lab_bills is gone"),
        "{alert}"
    );
    assert_eq!(clinic.text("SELECT attempts FROM daybook.sync_queue").await, "0", "waiting uses up no attempt");

    clinic.dba.batch_execute("ALTER TABLE lab_bills RENAME COLUMN rebate TO discounted_amount").await.expect("renames");
    clinic.drain().await;
    assert_eq!(clinic.balances("LAB", "1").await, "1000 15.00, 4200 -15.00");
    assert_eq!(clinic.text("SELECT count(*) FROM daybook.current_alerts").await, "0", "it resolves by itself");
}

#[tokio::test]
async fn the_queue_holds_keys_and_no_row_value() {
    let clinic = Clinic::new().await;
    clinic.write("INSERT INTO pharmacy_bills (total_amount, payment_mode, invoice_number) VALUES (4711.11, 'Geheimnis', 'Secret')").await;
    let queue = clinic.text("SELECT q::text FROM daybook.sync_queue AS q").await;
    clinic.drain().await;
    let letter = clinic.text("SELECT d::text FROM daybook.sync_dead_letter AS d").await;
    let log = clinic.text("SELECT a::text FROM daybook.sync_audit_log AS a").await;
    for text in [queue, letter, log] {
        for value in ["4711.11", "Geheimnis", "Secret"] {
            assert!(!text.contains(value), "{text}");
        }
    }
}

#[tokio::test]
async fn an_event_names_who_changed_the_bill_in_which_transaction() {
    let clinic = Clinic::new().await;
    clinic.write("SET application_name = 'reception 3'").await;
    let sql = "WITH w AS (INSERT INTO lab_bills (id, amount, invoice_number) VALUES (1, 10, 'A') RETURNING id) SELECT pg_current_xact_id()::text FROM w";
    let xid: String = clinic.desk.query_one(sql, &[]).await.expect("writes").get(0);
    clinic.drain().await;
    let provenance =
        "SELECT event_xid || ' ' || session_user_name || ' ' || application_name || ' ' || event_origin || ' '
                      || (changed_at > now() - interval '1 minute') FROM ledger.journal_entries";
    assert_eq!(clinic.ledger_text(provenance).await, format!("{xid} desk reception 3 trigger true"));
}

#[tokio::test]
async fn the_application_needs_no_right_and_gets_none() {
    let clinic = Clinic::new().await;
    for sql in [
        "SELECT * FROM daybook.sync_queue",
        "SELECT daybook.enqueue('LAB', '1')",
        "INSERT INTO daybook.sync_queue (source, reference_type, operation) VALUES ('main', 'LAB', 'truncate')",
        "SELECT daybook.key_text(1)",
        "SELECT * FROM ledger.journal_entries",
        "CREATE TEMPORARY TABLE forged (id int); CREATE TRIGGER t AFTER INSERT ON forged FOR EACH ROW EXECUTE FUNCTION daybook.capture_lab()",
    ] {
        assert!(refused(&clinic.desk, sql).await.contains("permission denied"), "{sql}");
    }
}

#[tokio::test]
async fn a_hostile_search_path_changes_nothing() {
    let clinic = Clinic::new().await;
    let sql = "CREATE SCHEMA evil; GRANT USAGE ON SCHEMA evil TO desk;
               CREATE FUNCTION evil.lower(text) RETURNS text LANGUAGE sql AS $$SELECT 'truncate'$$;
               CREATE FUNCTION evil.pg_typeof(\"any\") RETURNS regtype LANGUAGE internal AS 'pg_typeof';";
    clinic.dba.batch_execute(sql).await.expect("plants");
    clinic
        .write("SET search_path = evil, pg_catalog, public; INSERT INTO public.lab_bills (id, amount) VALUES (1, 10)")
        .await;
    assert_eq!(queue(&clinic).await, "LAB 1 insert");
}

#[tokio::test]
async fn writes_into_a_partition_are_captured_however_they_come() {
    let clinic = Clinic::new().await;
    let sql = "CREATE TABLE scans (id bigint, year int, amount numeric, PRIMARY KEY (id, year)) PARTITION BY RANGE (year);
               CREATE TABLE scans_2024 PARTITION OF scans FOR VALUES FROM (2024) TO (2025);
               GRANT ALL ON scans, scans_2024 TO desk;
               SELECT daybook.attach('scans', 'SCAN', ARRAY['id', 'year'], ARRAY['amount']);
               CREATE TABLE scans_2025 PARTITION OF scans FOR VALUES FROM (2025) TO (2026); GRANT ALL ON scans_2025 TO desk;";
    clinic.dba.batch_execute(sql).await.expect("attaches");
    clinic.write("INSERT INTO scans VALUES (1, 2024, 10)").await;
    clinic.write("INSERT INTO scans_2024 VALUES (2, 2024, 10)").await;
    clinic.write("INSERT INTO scans_2025 VALUES (3, 2025, 10)").await;
    assert_eq!(
        queue(&clinic).await,
        r#"SCAN ["1", "2024"] insert, SCAN ["2", "2024"] insert, SCAN ["3", "2025"] insert"#
    );
    forget_queue(&clinic).await;
    clinic
        .dba
        .batch_execute(
            "SET session_replication_role = replica; UPDATE scans_2025 SET amount = 1; RESET session_replication_role",
        )
        .await
        .expect("writes");
    clinic.write("TRUNCATE scans_2024").await;
    clinic.write("UPDATE scans SET year = 2024 WHERE id = 3").await;
    let queue = queue(&clinic).await;
    assert!(queue.starts_with(r#"SCAN ["3", "2025"] update, SCAN * truncate"#), "{queue}");
    assert!(queue.contains(r#"SCAN ["3", "2024"]"#) && queue.matches(r#"["3", "2025"]"#).count() == 2, "{queue}");
}

#[tokio::test]
async fn one_key_has_one_text_under_any_settings() {
    let clinic = Clinic::new().await;
    let sql = "CREATE TABLE odd (at timestamptz, day date, number numeric, name text, id uuid, PRIMARY KEY (at, day, number, name, id), v int);
               GRANT ALL ON odd TO desk;
               SELECT daybook.attach('odd', 'ODD', ARRAY['at', 'day', 'number', 'name', 'id'], ARRAY['v']);
               INSERT INTO odd VALUES ('2024-03-05 10:00:00.5+00', '2024-03-05', 1.00, 'Ünï \"q\"', '8B6BCB3C-3EE7-4F3A-8A3E-3D3A3B3C3D3E', 0)";
    clinic.dba.batch_execute(sql).await.expect("attaches");
    for settings in [
        "",
        "SET TimeZone = 'America/New_York'; SET DateStyle = 'SQL, DMY'",
        "SET TimeZone = 'Asia/Kathmandu'; SET DateStyle = 'German'; SET bytea_output = 'escape'",
    ] {
        clinic.write(&format!("{settings}; UPDATE odd SET v = v + 1, number = 1.000")).await;
    }
    let keys = clinic.text("SELECT string_agg(DISTINCT reference_id, ' / ') FROM daybook.sync_queue").await;
    assert_eq!(
        keys,
        r#"["2024-03-05T10:00:00.5Z", "2024-03-05", "1", "Ünï \"q\"", "8b6bcb3c-3ee7-4f3a-8a3e-3d3a3b3c3d3e"]"#
    );
}

/// The outer, older image of the row comes last in the queue; the row itself is what is posted.
#[tokio::test]
async fn the_applications_own_trigger_that_writes_again_is_followed() {
    let clinic = Clinic::new().await;
    let sql = "CREATE FUNCTION add_fee() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN
                   UPDATE public.lab_bills SET amount = amount + 5 WHERE id = NEW.id AND amount < 100; RETURN NULL; END$$;
               CREATE TRIGGER a_fee AFTER INSERT OR UPDATE ON lab_bills FOR EACH ROW EXECUTE FUNCTION add_fee();";
    clinic.dba.batch_execute(sql).await.expect("creates the trigger");
    clinic.write("INSERT INTO lab_bills (id, amount, invoice_number) VALUES (1, 90, 'A')").await;
    clinic.drain().await;
    assert_eq!(clinic.balances("LAB", "1").await, "1000 100.00, 4200 -100.00");
    clinic.assert_ledger_equals_bills().await;
}

/// With a deferrable key, the last event of a live row can be a delete.
#[tokio::test]
async fn a_delete_that_comes_last_does_not_reverse_a_live_row() {
    let clinic = Clinic::new().await;
    let sql = "ALTER TABLE lab_bills DROP CONSTRAINT lab_bills_pkey, ADD UNIQUE (id) DEFERRABLE INITIALLY DEFERRED";
    clinic.dba.batch_execute(sql).await.expect("defers the key");
    clinic.write("INSERT INTO lab_bills (id, amount, invoice_number) VALUES (1, 10, 'A')").await;
    clinic.drain().await;
    clinic
        .write(
            "BEGIN; INSERT INTO lab_bills (id, amount, invoice_number) VALUES (1, 20, 'B');
                  DELETE FROM lab_bills WHERE amount = 10; COMMIT",
        )
        .await;
    assert_eq!(queue(&clinic).await, "LAB 1 insert, LAB 1 delete");
    clinic.drain().await;
    assert_eq!(clinic.balances("LAB", "1").await, "1000 20.00, 4200 -20.00");
}

#[tokio::test]
async fn attaching_a_busy_table_gives_up_with_a_clear_message_and_changes_nothing() {
    let clinic = Clinic::new().await;
    clinic
        .dba
        .batch_execute("CREATE TABLE busy (id int PRIMARY KEY); GRANT ALL ON busy TO desk")
        .await
        .expect("creates");
    clinic.write("BEGIN; INSERT INTO busy VALUES (1)").await;
    let message = refused(
        &clinic.dba,
        "SELECT daybook.attach('busy', 'BUSY', ARRAY['id'], ARRAY['id'], lock_timeout => '100 milliseconds')",
    )
    .await;
    assert!(message.contains("somebody is using public.busy") && message.contains("pg_stat_activity"), "{message}");
    assert_eq!(clinic.text("SELECT count(*) FROM daybook.sync_source WHERE reference_type = 'BUSY'").await, "0");
    clinic.write("COMMIT").await;
}

/// An application locks its table first and our queue second; attach does the same.
#[tokio::test]
async fn attaching_and_writing_do_not_deadlock() {
    let clinic = Clinic::new().await;
    clinic.dba.batch_execute("SELECT daybook.detach('lab_bills')").await.expect("detaches");
    let writers = (0..2).map(async |writer: i64| {
        let desk = clinic.another_desk().await;
        for n in 0..60 {
            let sql = format!("BEGIN; INSERT INTO lab_bills (amount, invoice_number) VALUES ({writer}, 'A');
                               UPDATE lab_bills SET amount = amount + {n} WHERE id = (SELECT max(id) FROM lab_bills); COMMIT");
            desk.batch_execute(&sql).await.expect("the application's write does not fail");
        }
    });
    let attaching = async {
        for _ in 0..10 {
            for sql in [crate::harness::TRIGGERS[2], "SELECT daybook.detach('lab_bills', discard_unfinished => true)"] {
                if let Err(error) = clinic.dba.batch_execute(sql).await {
                    assert_eq!(error.code().map(|state| state.code()), Some("55P03"), "{error:?}");
                }
            }
        }
    };
    let mut writers = writers.collect::<Vec<_>>().into_iter();
    let (first, second) = (writers.next().expect("one"), writers.next().expect("two"));
    tokio::join!(first, second, attaching);
}

#[tokio::test]
async fn a_suspended_table_is_written_without_capture_and_reconciled_when_resumed() {
    let clinic = Clinic::new().await;
    clinic.write("INSERT INTO lab_bills (id, amount, invoice_number) VALUES (1, 10, 'A'), (2, 20, 'B')").await;
    clinic.drain().await;
    // A writer holds its lock on the table meanwhile: suspending takes none.
    let writer = clinic.another_desk().await;
    writer
        .batch_execute("BEGIN; INSERT INTO lab_bills (id, amount, invoice_number) VALUES (3, 30, 'C')")
        .await
        .expect("writes");
    clinic
        .dba
        .batch_execute("SET lock_timeout = '100ms'; SELECT daybook.suspend('lab_bills')")
        .await
        .expect("suspends without a lock");
    clinic.write("UPDATE lab_bills SET amount = 11 WHERE id = 1; DELETE FROM lab_bills WHERE id = 2; TRUNCATE ultrasound_bills").await;
    assert_eq!(queue(&clinic).await, "ULTRASOUND * truncate");
    clinic.dba.batch_execute("SELECT daybook.resume('lab_bills')").await.expect("resumes");
    assert_eq!(clinic.drain_for(Duration::from_millis(400)).await.unfinished, 1, "waits for the older transaction");
    writer.batch_execute("COMMIT").await.expect("commits");
    clinic.drain().await;
    clinic.assert_ledger_equals_bills().await;
    assert_eq!(clinic.balances("LAB", "2").await, "");
    clinic.write("UPDATE lab_bills SET amount = 12 WHERE id = 1").await;
    assert_eq!(queue(&clinic).await, "LAB 1 update");
}

#[tokio::test]
async fn resuming_waits_for_a_prepared_transaction_and_for_an_old_snapshot() {
    let clinic = Clinic::new().await;
    clinic.dba.batch_execute("SELECT daybook.suspend('lab_bills')").await.expect("suspends");
    let name = format!("p{}", clinic.database);
    clinic.write(&format!("BEGIN; INSERT INTO lab_bills (id, amount, invoice_number) VALUES (1, 10, 'A'); PREPARE TRANSACTION '{name}'")).await;
    let reader = clinic.another_desk().await;
    reader.batch_execute("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM lab_bills").await.expect("reads");
    clinic.dba.batch_execute("SELECT daybook.resume('lab_bills')").await.expect("resumes");
    assert_eq!(clinic.drain_for(Duration::from_millis(300)).await.unfinished, 1);
    clinic.write(&format!("COMMIT PREPARED '{name}'")).await;
    assert_eq!(
        clinic.drain_for(Duration::from_millis(1500)).await.unfinished,
        1,
        "the snapshot is older, and may write yet"
    );
    reader
        .batch_execute("INSERT INTO lab_bills (id, amount, invoice_number) VALUES (2, 20, 'B'); COMMIT")
        .await
        .expect("writes");
    clinic.drain().await;
    clinic.assert_ledger_equals_bills().await;
}

#[tokio::test]
async fn a_prepared_transaction_is_posted_when_it_commits() {
    let clinic = Clinic::new().await;
    let name = format!("q{}", clinic.database);
    clinic.write(&format!("BEGIN; INSERT INTO lab_bills (id, amount, invoice_number) VALUES (1, 10, 'A'); PREPARE TRANSACTION '{name}'")).await;
    clinic.drain().await;
    clinic.write(&format!("COMMIT PREPARED '{name}'")).await;
    clinic.drain().await;
    assert_eq!(clinic.balances("LAB", "1").await, "1000 10.00, 4200 -10.00");
}

#[tokio::test]
async fn row_security_stops_the_table_with_an_alert_and_reverses_nothing() {
    let clinic = Clinic::new().await;
    let id = pharmacy_bill(&clinic, "2024-03-05").await;
    clinic.drain().await;
    clinic.dba.batch_execute("ALTER TABLE pharmacy_bills ENABLE ROW LEVEL SECURITY; CREATE POLICY p ON pharmacy_bills TO desk USING (true)").await.expect("secures");
    clinic.write("UPDATE pharmacy_bills SET total_amount = 224").await;
    assert_eq!(clinic.drain_for(Duration::from_millis(300)).await.unfinished, 1);
    assert_eq!(clinic.balances("PHARMACY", &id).await, "1000 112.00, 2100 -12.00, 4100 -100.00");
    assert!(clinic.text("SELECT message FROM daybook.current_alerts").await.contains("row-level security"));
}

#[tokio::test]
async fn a_key_that_only_looks_equal_counts_as_absent() {
    let clinic = Clinic::new().await;
    clinic.write("INSERT INTO lab_bills (id, amount, invoice_number) VALUES (42, 10, 'A')").await;
    clinic.dba.batch_execute("SELECT daybook.enqueue('LAB', '042'), daybook.enqueue('LAB', 'x'), daybook.enqueue('LAB', '99999999999999999999')").await.expect("enqueues");
    clinic.drain().await;
    assert_eq!(clinic.ledger_text("SELECT string_agg(reference_id, ',') FROM ledger.journal_entries").await, "42");
}

#[tokio::test]
async fn detaching_leaves_the_table_as_it_was_and_refuses_while_events_are_unfinished() {
    let clinic = Clinic::new().await;
    let dump = "SELECT string_agg(c::text, ',') FROM (SELECT relacl, (SELECT array_agg(attacl::text) FROM pg_attribute WHERE attrelid = c.oid
                AND attname = 'amount') FROM pg_class AS c WHERE relname = 'plain') AS c";
    clinic
        .dba
        .batch_execute("CREATE TABLE plain (id int PRIMARY KEY, amount numeric); GRANT ALL ON plain TO desk")
        .await
        .expect("creates");
    let before = clinic.text(dump).await;
    clinic
        .dba
        .batch_execute("SELECT daybook.attach('plain', 'PLAIN', ARRAY['id'], ARRAY['amount'])")
        .await
        .expect("attaches");
    clinic.write("INSERT INTO plain VALUES (1, 1)").await;
    let message = refused(&clinic.dba, "SELECT daybook.detach('plain')").await;
    assert!(
        message.contains("1 events of PLAIN are not posted yet") && message.contains("discard_unfinished"),
        "{message}"
    );
    clinic.dba.batch_execute("SELECT daybook.detach('plain', discard_unfinished => true)").await.expect("detaches");
    assert_eq!(clinic.text("SELECT count(*) FROM pg_trigger WHERE tgrelid = 'plain'::regclass").await, "0");
    assert_eq!(clinic.text(dump).await, before, "privileges are as before");
    assert_eq!(clinic.text("SELECT count(*) FROM pg_proc WHERE proname = 'capture_plain'").await, "0");
    clinic.write("INSERT INTO plain VALUES (2, 1)").await;
}

#[tokio::test]
async fn a_dropped_table_waits_with_an_alert_and_can_be_given_up() {
    let clinic = Clinic::new().await;
    clinic.write("INSERT INTO lab_bills (id, amount, invoice_number) VALUES (1, 10, 'A')").await;
    clinic.dba.batch_execute("DROP TABLE lab_bills").await.expect("the vendor's DROP TABLE does not fail");
    assert_eq!(clinic.drain_for(Duration::from_millis(300)).await.unfinished, 1);
    let alert = clinic
        .text("SELECT string_agg(alert_type || ' ' || message, ' ' ORDER BY 1) FROM daybook.current_alerts AS a")
        .await;
    assert!(alert.contains("TABLE_DROPPED") && alert.contains("TABLE_UNREADABLE"), "{alert}");
    assert_eq!(alert.matches("lab_bills was dropped").count(), 2, "{alert}");
    clinic.dba.batch_execute("SELECT daybook.detach(relation, discard_unfinished => true) FROM daybook.sync_source WHERE reference_type = 'LAB'").await.expect("detaches");
    clinic.drain().await;
}

#[tokio::test]
async fn a_trigger_that_was_disabled_or_is_missing_on_a_partition_is_alerted() {
    let clinic = Clinic::new().await;
    assert_eq!(clinic.text("SELECT count(*) FROM daybook.current_alerts").await, "0");
    clinic.dba.batch_execute("ALTER TABLE lab_bills DISABLE TRIGGER daybook_capture").await.expect("disables");
    let sql = "CREATE TABLE scans (id bigint PRIMARY KEY) PARTITION BY RANGE (id);
               SELECT daybook.attach('scans', 'SCAN', ARRAY['id'], ARRAY['id']);
               CREATE TABLE scans_1 PARTITION OF scans FOR VALUES FROM (1) TO (100)"; // TRUNCATE triggers are not cloned
    clinic.dba.batch_execute(sql).await.expect("attaches");
    let alerts = "SELECT string_agg(alert_type || ' ' || cause, ', ' ORDER BY cause) FROM daybook.current_alerts";
    assert_eq!(clinic.text(alerts).await, "CAPTURE_INCOMPLETE LAB, CAPTURE_INCOMPLETE SCAN");
    clinic.dba.batch_execute(crate::harness::TRIGGERS[2]).await.expect("attaches again");
    clinic
        .dba
        .batch_execute("SELECT daybook.attach('scans', 'SCAN', ARRAY['id'], ARRAY['id'])")
        .await
        .expect("attaches again");
    assert_eq!(clinic.text(alerts).await, "");
}
