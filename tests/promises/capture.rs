//! Capture by trigger: no committed change is lost, and the application never fails because of us.

use crate::harness::{Clinic, refused};

pub async fn queue(clinic: &Clinic) -> String {
    let sql =
        "SELECT coalesce(string_agg(reference_type || ' ' || coalesce(reference_id, '*') || ' ' || operation, ', '
               ORDER BY seq), '') FROM daybook.sync_queue";
    clinic.text(sql).await
}

pub async fn forget_queue(clinic: &Clinic) {
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
        ("UPDATE lab_bills SET id = 2 WHERE id = 1", "LAB 2 update, LAB 1 delete"),
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
async fn an_update_that_changes_no_filter_column_leaves_no_event() {
    let clinic = Clinic::new().await;
    clinic.write("INSERT INTO pharmacy_bills (id, total_amount) VALUES (1, 10)").await;
    forget_queue(&clinic).await;
    clinic.write("UPDATE pharmacy_bills SET printed = true, discount_type = 'percent'").await;
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
async fn a_key_that_only_looks_equal_counts_as_absent() {
    let clinic = Clinic::new().await;
    clinic.write("INSERT INTO lab_bills (id, amount, invoice_number) VALUES (42, 10, 'A')").await;
    clinic.dba.batch_execute("SELECT daybook.enqueue('LAB', '042'), daybook.enqueue('LAB', 'x'), daybook.enqueue('LAB', '99999999999999999999')").await.expect("enqueues");
    clinic.drain().await;
    assert_eq!(clinic.ledger_text("SELECT string_agg(reference_id, ',') FROM ledger.journal_entries").await, "42");
}
