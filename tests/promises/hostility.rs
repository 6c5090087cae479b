//! Hostile or careless neighbours: no right grows, no other table waits, and the application goes on.

use std::time::Duration;

use crate::harness::{Clinic, Cluster, refused};

/// Cloning a row trigger asks whether the application may execute its function.
#[tokio::test]
async fn the_application_makes_attaches_and_detaches_partitions_of_its_own() {
    let clinic = Clinic::new().await;
    let sql = "GRANT CREATE ON SCHEMA public TO desk; SET ROLE desk;
               CREATE TABLE scans (id int, year int, amount numeric, PRIMARY KEY (id, year)) PARTITION BY LIST (year);
               CREATE TABLE scans_2024 PARTITION OF scans FOR VALUES IN (2024); RESET ROLE;
               SELECT daybook.attach('scans', 'SCAN', ARRAY['id', 'year'], ARRAY['amount'])";
    clinic.dba.batch_execute(sql).await.expect("attaches");
    clinic.write("CREATE TABLE scans_2025 PARTITION OF scans FOR VALUES IN (2025)").await;
    let attach = "CREATE TABLE scans_2026 (LIKE scans INCLUDING ALL);
                  ALTER TABLE scans ATTACH PARTITION scans_2026 FOR VALUES IN (2026)";
    clinic.write(attach).await;
    clinic.write("INSERT INTO scans VALUES (1, 2025, 10), (1, 2026, 10)").await;
    assert_eq!(clinic.text("SELECT count(*) FROM daybook.sync_queue").await, "2");
    clinic.write("ALTER TABLE scans DETACH PARTITION scans_2024").await;
    let detach = "SELECT daybook.detach('scans', discard_unfinished => true)";
    clinic.dba.batch_execute(detach).await.expect("detaches");
    let left = "SELECT count(*) FROM pg_trigger WHERE tgname LIKE 'daybook%' AND tgrelid::regclass::text LIKE 'scans%'";
    assert_eq!(clinic.text(left).await, "0");
}

/// A cast of the application's own would run with the consumer's rights, or a superuser's.
#[tokio::test]
async fn reading_a_bill_never_runs_the_applications_code() {
    let clinic = Clinic::new().await;
    clinic.configure("table_retry_seconds", "0.1").await;
    let evil = "CREATE TYPE evil AS (x text);
        CREATE FUNCTION evil_text(evil) RETURNS text LANGUAGE plpgsql AS $$BEGIN
            PERFORM set_config('role', 'none', false); EXECUTE 'CREATE TABLE public.owned ()'; RETURN 'cash'; END$$;
        CREATE CAST (evil AS text) WITH FUNCTION evil_text(evil) AS IMPLICIT;";
    clinic.dba.batch_execute(evil).await.expect("plants");
    clinic.write("INSERT INTO lab_bills (id, amount, invoice_number) VALUES (1, 10, 'A')").await;
    clinic.drain().await;
    let retype = "ALTER TABLE lab_bills ALTER payment_mode TYPE evil USING ROW('x')::evil";
    clinic.dba.batch_execute(retype).await.expect("retypes");
    clinic.write("UPDATE lab_bills SET amount = 11").await;
    assert_eq!(clinic.drain_for(Duration::from_millis(500)).await.unfinished, 1);
    assert_eq!(clinic.text("SELECT to_regclass('public.owned') IS NULL").await, "true");
    let alert = clinic.text("SELECT message FROM daybook.current_alerts WHERE cause = 'LAB'").await;
    assert!(alert.contains("column payment_mode of public.lab_bills has a type of the application's own"), "{alert}");
    // An enum without casts is harmless.
    let mend = "CREATE TYPE mode AS ENUM ('cash', 'upi');
                ALTER TABLE lab_bills ALTER payment_mode TYPE mode USING 'upi'::mode";
    clinic.dba.batch_execute(mend).await.expect("mends");
    clinic.drain().await;
    assert_eq!(clinic.balances("LAB", "1").await, "1030 11.00, 4200 -11.00");
}

/// The types are compared in the reading transaction, not only when the worker first met the table.
#[tokio::test]
async fn a_column_that_is_retyped_under_a_running_consumer_is_looked_at_again() {
    let clinic = Clinic::new().await;
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let running = tokio::spawn(daybook::consumer::run(clinic.options(1), async {
        let _ = stopped.await;
    }));
    let finished = async |count: &str| {
        while clinic.text("SELECT count(*) FROM daybook.sync_audit_log").await != count {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let bill = "INSERT INTO lab_bills (id, amount, invoice_number, created_at) VALUES";
    clinic.write(&format!("{bill} (1, 10, 'A', '2024-03-05 20:00+00')")).await;
    finished("1").await;
    let retype = "SET TimeZone = 'UTC'; ALTER TABLE lab_bills ALTER created_at TYPE timestamp";
    clinic.dba.batch_execute(retype).await.expect("retypes");
    clinic.write(&format!("{bill} (2, 10, 'A', '2024-03-05 20:00')")).await;
    finished("2").await;
    let _ = stop.send(());
    running.await.expect("ends").expect("runs");
    let days = "SELECT string_agg(reference_id || ' ' || effective_date, ', ' ORDER BY id) FROM ledger.journal_entries";
    assert_eq!(clinic.ledger_text(days).await, "1 2024-03-06, 2 2024-03-05");
}

#[tokio::test]
async fn a_char_key_is_read_at_its_full_length() {
    let clinic = Clinic::new().await;
    let sql = "DROP TABLE lab_bills; CREATE TABLE lab_bills (id char(8) PRIMARY KEY, visit_id int, amount numeric,
                   paid boolean, discounted_amount numeric, discount_value numeric, payment_mode text, invoice_number text,
                   created_at timestamptz DEFAULT now());
               GRANT ALL ON lab_bills TO desk";
    clinic.dba.batch_execute(sql).await.expect("remakes the table");
    clinic.dba.batch_execute(crate::harness::TRIGGERS[2]).await.expect("attaches");
    clinic
        .write("INSERT INTO lab_bills (id, amount, invoice_number) VALUES ('A0000001', 10, 'A'), ('B', 20, 'B')")
        .await;
    clinic.drain().await;
    assert_eq!(clinic.balances("LAB", "A0000001").await, "1000 10.00, 4200 -10.00");
    assert_eq!(clinic.balances("LAB", "B").await, "1000 20.00, 4200 -20.00");
}

/// Add, copy, drop, rename: the vendor's way to rebuild a column. The privilege goes with the old one.
#[tokio::test]
async fn a_column_that_was_rebuilt_is_granted_anew_by_attaching_again() {
    let clinic = Clinic::new().await;
    clinic.configure("table_retry_seconds", "0.1").await;
    let sql = "ALTER TABLE lab_bills ADD pm2 text; UPDATE lab_bills SET pm2 = payment_mode;
               ALTER TABLE lab_bills DROP payment_mode; ALTER TABLE lab_bills RENAME pm2 TO payment_mode";
    clinic.dba.batch_execute(sql).await.expect("rebuilds");
    clinic.write("INSERT INTO lab_bills (id, amount, invoice_number) VALUES (1, 10, 'A')").await;
    assert_eq!(clinic.drain_for(Duration::from_secs(1)).await.unfinished, 1);
    assert!(clinic.text("SELECT message FROM daybook.current_alerts").await.contains("permission denied"));
    clinic.dba.batch_execute(crate::harness::TRIGGERS[2]).await.expect("attaches again");
    clinic.drain().await;
    clinic.assert_ledger_equals_bills().await;
    assert_eq!(clinic.text("SELECT count(*) FROM daybook.current_alerts").await, "0");
}

#[tokio::test]
async fn a_rule_of_another_reference_type_stops_its_table_and_no_other() {
    let clinic = Clinic::new().await;
    let sql = "SELECT ledger.apply_rule('main', 'LAB', definition, replace => true) FROM ledger.posting_rules
               WHERE reference_type = 'ULTRASOUND'";
    clinic.accountant.batch_execute(sql).await.expect("mixes them up");
    clinic.write("INSERT INTO lab_bills (id, amount, invoice_number) VALUES (1, 10, 'A')").await;
    clinic.write("INSERT INTO ultrasound_bills (id, total_amount, invoice_number) VALUES (1, 10, 'A')").await;
    assert_eq!(clinic.drain_for(Duration::from_secs(1)).await.unfinished, 1);
    assert_eq!(clinic.balances("ULTRASOUND", "1").await, "1000 10.00, 4300 -10.00");
    let alert = clinic.text("SELECT message FROM daybook.current_alerts").await;
    assert!(alert.contains("it says reference_type = \"ULTRASOUND\""), "{alert}");
}

#[tokio::test]
async fn a_journal_locked_by_ddl_uses_up_no_attempt() {
    let clinic = Clinic::new().await;
    clinic.configure("max_retry_attempts", "1").await;
    clinic.configure("table_retry_seconds", "0.1").await;
    clinic.accountant.batch_execute("BEGIN; LOCK TABLE ledger.journal_lines IN SHARE MODE").await.expect("locks");
    clinic.write("INSERT INTO lab_bills (amount, invoice_number) SELECT g, 'A' FROM generate_series(1, 4) AS g").await;
    assert_eq!(clinic.drain_for(Duration::from_secs(6)).await.unfinished, 4);
    clinic.accountant.batch_execute("COMMIT").await.expect("unlocks");
    assert_eq!(clinic.drain().await.parked, 0);
    assert_eq!(clinic.text("SELECT max(attempts) FROM daybook.sync_audit_log").await, "0");
}

#[tokio::test]
async fn a_lost_flusher_is_replaced() {
    let clinic = Clinic::with_ledger_elsewhere().await;
    clinic.configure("table_retry_seconds", "0.1").await;
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let running = tokio::spawn(daybook::consumer::run(clinic.options(1), async {
        let _ = stopped.await;
    }));
    let empty = async || {
        let started = std::time::Instant::now();
        while clinic.text("SELECT count(*) FROM daybook.sync_queue").await != "0" {
            assert!(started.elapsed().as_secs() < 20, "goes on");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let bill = "SET synchronous_commit = off; INSERT INTO lab_bills (amount, invoice_number) VALUES (10, 'A')";
    clinic.write(bill).await;
    empty().await;
    let flusher = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE datname = current_database()
                   AND pid <> pg_backend_pid() AND (query LIKE '%emit_message%' OR query = 'SET synchronous_commit = on')";
    assert_eq!(clinic.text(flusher).await, "1");
    for _ in 0..5 {
        clinic.write(bill).await;
        empty().await;
    }
    let _ = stop.send(());
    running.await.expect("ends").expect("runs");
    clinic.assert_ledger_equals_bills().await;
}

#[tokio::test]
async fn truncating_works_in_a_database_of_another_encoding() {
    let cluster = Cluster::shared();
    let create = "CREATE DATABASE latin ENCODING 'LATIN1' TEMPLATE template0";
    cluster.admin("postgres").await.batch_execute(create).await.expect("creates");
    let config = cluster.config("postgres", "latin");
    let wishes = daybook::identity::Wishes::default();
    daybook::install::install(&config, &config, &wishes).await.expect("installs");
    let dba = cluster.admin("latin").await;
    dba.batch_execute(crate::harness::CLINIC).await.expect("creates the bill tables");
    dba.batch_execute(crate::harness::TRIGGERS[2]).await.expect("attaches");
    let options = daybook::options::Databases {
        name: None,
        source: config.clone(),
        ledger: config,
        workers: 1,
        heads: Default::default(),
    };
    for sql in ["INSERT INTO lab_bills (id, amount, invoice_number) VALUES (1, 10, 'é')", "TRUNCATE lab_bills"] {
        dba.batch_execute(sql).await.expect("writes");
        let drained = daybook::consumer::drain(options.clone(), Duration::from_secs(20)).await.expect("drains");
        assert_eq!((drained.unfinished, drained.parked), (0, 0), "{sql}");
    }
}

#[tokio::test]
async fn the_guard_of_settings_holds_their_bounds_too() {
    let clinic = Clinic::new().await;
    for set in ["value_kind = 'name', config_value = 'abc'", "maximum = 1000000", "fixed = true"] {
        let sql = format!("UPDATE daybook.sync_configuration SET {set} WHERE config_key = 'queue_batch_size'");
        assert!(refused(&clinic.dba, &sql).await.contains("Change config_value alone"), "{set}");
    }
}
