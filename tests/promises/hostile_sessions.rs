//! What a session of the application may set, lock and hold: capture goes on as it is, posting waits, and other tables go on.

use std::time::Duration;

use tokio::sync::oneshot;

use crate::harness::{Clinic, TRIGGERS, refused};

/// A consumer at work until it is told to stop.
struct AtWork {
    stop: oneshot::Sender<()>,
    running: tokio::task::JoinHandle<daybook::error::Result<()>>,
}

impl AtWork {
    fn on(clinic: &Clinic, workers: usize) -> AtWork {
        let (stop, stopped) = oneshot::channel::<()>();
        let running = tokio::spawn(daybook::consumer::run(clinic.options(workers), async {
            let _ = stopped.await;
        }));
        AtWork { stop, running }
    }

    async fn end(self) {
        let _ = self.stop.send(());
        self.running.await.expect("ends").expect("runs");
    }
}

async fn until(clinic: &Clinic, sql: &str) {
    let started = std::time::Instant::now();
    while clinic.text(sql).await != "true" {
        assert!(started.elapsed().as_secs() < 30, "never: {sql}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Every switch that a session may throw, thrown at once.
#[tokio::test]
async fn whatever_a_session_sets_it_is_captured_with_the_same_keys() {
    let clinic = Clinic::new().await;
    let table = "CREATE TABLE visits (day date, at timestamptz, share numeric, name text, amount numeric, PRIMARY KEY (day, at, share, name));
                 GRANT ALL ON visits TO desk;
                 SELECT daybook.attach('visits', 'VISIT', ARRAY['day', 'at', 'share', 'name'], ARRAY['amount'])";
    clinic.dba.batch_execute(table).await.expect("attaches");
    let write = "INSERT INTO public.visits VALUES ('2024-03-05', '2024-03-05 10:00+00', 1.50, E'a\\\\b', 10);
                 UPDATE public.visits SET amount = 11; DELETE FROM public.visits";
    clinic.write(write).await;
    let switches = "SELECT string_agg(format('SET %I = %L', name, CASE setting WHEN 'on' THEN 'off' ELSE 'on' END), ';') FROM pg_settings
                    WHERE context = 'user' AND vartype = 'bool' AND name NOT IN ('default_transaction_read_only', 'transaction_read_only')";
    let switches = clinic.text(switches).await;
    assert!(switches.matches("SET ").count() > 30);
    clinic.write(&switches).await;
    let others = "SET search_path = ''; SET DateStyle = 'German'; SET IntervalStyle = 'sql_standard'; SET TimeZone = 'Pacific/Chatham'; SET extra_float_digits = -15;
                  SET bytea_output = 'escape'; SET plan_cache_mode = force_custom_plan; SET work_mem = '64kB'; SET client_encoding = 'UTF8';
                  SET default_transaction_isolation = 'serializable'; SET plpgsql.extra_errors = 'all'; SET plpgsql.extra_warnings = 'all';
                  SET application_name = E'x''; DROP TABLE lab_bills; --'";
    clinic.write(others).await;
    clinic.write(write).await;
    let keys = "SELECT string_agg(operation || ' ' || reference_id, E'\\n' ORDER BY seq) FROM daybook.sync_queue WHERE application_name";
    let (plain, odd) =
        (clinic.text(&format!("{keys} NOT LIKE 'x%'")).await, clinic.text(&format!("{keys} LIKE 'x%'")).await);
    assert_eq!(plain, odd);
    assert_eq!(plain.lines().count(), 3, "{plain}");
    assert!(refused(&clinic.desk, "SET session_replication_role = replica").await.contains("permission denied"));
}

#[tokio::test]
async fn a_bill_table_that_the_application_locks_waits_without_attempts_and_others_go_on() {
    let clinic = Clinic::new().await;
    clinic.configure("max_retry_attempts", "1").await;
    clinic.dba.batch_execute("ALTER TABLE lab_bills OWNER TO desk").await.expect("changes the owner");
    clinic.write("INSERT INTO lab_bills (id, amount, invoice_number) VALUES (1, 10, 'A')").await;
    clinic.write("BEGIN; LOCK TABLE lab_bills IN ACCESS EXCLUSIVE MODE; INSERT INTO lab_bills (id, amount, invoice_number) VALUES (2, 10, 'A')").await;
    let at_work = AtWork::on(&clinic, 2);
    until(&clinic, "SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted AND relation = 'lab_bills'::regclass)").await;
    let other = clinic.another_desk().await;
    other
        .batch_execute("INSERT INTO ultrasound_bills (id, total_amount, invoice_number) VALUES (1, 10, 'A')")
        .await
        .expect("writes");
    until(&clinic, "SELECT count(*) = 1 FROM ledger.journal_entries").await;
    assert_eq!(clinic.balances("ULTRASOUND", "1").await, "1000 10.00, 4300 -10.00");
    clinic.write("COMMIT").await;
    until(&clinic, "SELECT count(*) = 0 FROM daybook.sync_queue").await;
    at_work.end().await;
    assert_eq!(clinic.text("SELECT max(attempts) FROM daybook.sync_audit_log").await, "0");
    clinic.assert_ledger_equals_bills().await;
}

/// Advisory locks are anybody's: the numbers that we use can be found out, and held.
#[tokio::test]
async fn an_application_that_holds_our_advisory_locks_delays_its_table_alone_and_parks_nothing() {
    let clinic = Clinic::new().await;
    clinic.configure("max_retry_attempts", "1").await;
    clinic.write("INSERT INTO lab_bills (id, amount, invoice_number) VALUES (1, 10, 'A')").await;
    clinic
        .write("SELECT pg_advisory_lock(hashtextextended('daybook batches of (\"main\", \"main\", \"LAB\")', 0))")
        .await;
    let at_work = AtWork::on(&clinic, 2);
    until(&clinic, "SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted AND locktype = 'advisory' AND database = (SELECT oid FROM pg_database WHERE datname = current_database()))").await;
    clinic.write("INSERT INTO ultrasound_bills (id, total_amount, invoice_number) VALUES (1, 10, 'A')").await;
    until(&clinic, "SELECT count(*) = 1 FROM ledger.journal_entries").await;
    clinic.write("SELECT pg_advisory_unlock_all()").await;
    until(&clinic, "SELECT count(*) = 0 FROM daybook.sync_queue").await;
    at_work.end().await;
    assert_eq!(clinic.text("SELECT max(attempts) FROM daybook.sync_audit_log").await, "0");
    clinic.assert_ledger_equals_bills().await;
}

/// FORCE binds an owner, too; a policy would hide rows, and hidden must not look like deleted.
#[tokio::test]
async fn rows_that_the_owner_hides_by_forced_row_security_are_not_taken_for_deleted_and_no_policy_is_run() {
    let clinic = Clinic::new().await;
    clinic.configure("table_retry_seconds", "0.1").await;
    clinic
        .dba
        .batch_execute("GRANT CREATE ON SCHEMA public TO desk; ALTER TABLE lab_bills OWNER TO desk")
        .await
        .expect("changes the owner");
    clinic.write("INSERT INTO lab_bills (id, amount, invoice_number) VALUES (1, 10, 'A')").await;
    clinic.drain().await;
    let hide = "CREATE SEQUENCE tripped; GRANT ALL ON SEQUENCE tripped TO PUBLIC;
        CREATE FUNCTION hidden() RETURNS boolean LANGUAGE plpgsql AS
            $$BEGIN IF current_user <> 'desk' THEN PERFORM nextval('public.tripped'); END IF; RETURN current_user = 'desk'; END$$;
        CREATE POLICY p ON lab_bills USING (hidden()); ALTER TABLE lab_bills ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
        UPDATE lab_bills SET amount = 11";
    clinic.write(hide).await;
    while !clinic.text("SELECT message FROM daybook.current_alerts").await.contains("row-level security") {
        assert_eq!(clinic.drain_for(Duration::from_secs(1)).await.unfinished, 1);
    }
    assert_eq!(clinic.text("SELECT is_called FROM tripped").await, "false");
    assert_eq!(clinic.balances("LAB", "1").await, "1000 10.00, 4200 -10.00");
    clinic.write("ALTER TABLE lab_bills NO FORCE ROW LEVEL SECURITY, DISABLE ROW LEVEL SECURITY").await;
    clinic.drain().await;
    clinic.assert_ledger_equals_bills().await;
}

/// Defaults, generated columns, rules, triggers and domains of the application's run while it writes, with its own rights.
#[tokio::test]
async fn code_that_the_application_plants_in_its_table_never_runs_with_our_rights() {
    let clinic = Clinic::new().await;
    clinic.configure("table_retry_seconds", "0.1").await;
    let plant = "GRANT CREATE ON SCHEMA public TO desk; SELECT daybook.detach('lab_bills'); ALTER TABLE lab_bills OWNER TO desk; SET ROLE desk;
        CREATE SEQUENCE tripped; GRANT ALL ON SEQUENCE tripped TO PUBLIC;
        CREATE FUNCTION trip(anyelement) RETURNS anyelement LANGUAGE plpgsql IMMUTABLE AS
            $$BEGIN IF current_user <> 'desk' THEN PERFORM nextval('public.tripped'); END IF; RETURN $1; END$$;
        CREATE FUNCTION trip_row() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN PERFORM trip(1); RETURN NEW; END$$;
        CREATE DOMAIN mode AS text CHECK (trip(VALUE) = VALUE);
        ALTER TABLE lab_bills ALTER COLUMN created_at SET DEFAULT trip('2024-03-05 12:00+00'::timestamptz), ALTER COLUMN payment_mode TYPE mode,
            ADD COLUMN net numeric GENERATED ALWAYS AS (trip(amount)) STORED, ADD CHECK (trip(amount) >= 0);
        CREATE TABLE seen (id int); CREATE RULE copied AS ON INSERT TO lab_bills DO ALSO INSERT INTO seen SELECT trip(1);
        CREATE TRIGGER a BEFORE INSERT OR UPDATE ON lab_bills FOR EACH ROW EXECUTE FUNCTION trip_row();
        CREATE TRIGGER z AFTER INSERT OR UPDATE ON lab_bills FOR EACH ROW EXECUTE FUNCTION trip_row(); RESET ROLE";
    clinic.dba.batch_execute(plant).await.expect("plants");
    clinic.dba.batch_execute("SELECT setval('tripped', 1, false)").await.expect("the DBA's own ALTER does not count");
    clinic.write("INSERT INTO lab_bills (id, amount, payment_mode, invoice_number) VALUES (1, 10, 'cash', 'A'), (2, 10, 'upi', 'A')").await;
    clinic.dba.batch_execute(TRIGGERS[2]).await.expect("attaches");
    clinic.dba.batch_execute("SELECT daybook.backfill('lab_bills')").await.expect("begins");
    clinic.write("UPDATE lab_bills SET amount = 12 WHERE id = 1; INSERT INTO lab_bills (id, amount, payment_mode, invoice_number) VALUES (3, 10, 'card', 'A')").await;
    clinic.drain().await;
    clinic
        .dba
        .batch_execute("SELECT daybook.suspend('lab_bills'); SELECT daybook.resume('lab_bills')")
        .await
        .expect("switches");
    clinic.write("DELETE FROM lab_bills WHERE id = 2").await;
    clinic.drain().await;
    assert_eq!(clinic.balances("LAB", "1").await, "1000 12.00, 4200 -12.00");
    assert_eq!(
        (clinic.balances("LAB", "2").await.as_str(), clinic.balances("LAB", "3").await.as_str()),
        ("", "1020 10.00, 4200 -10.00")
    );
    clinic.dba.batch_execute("SELECT daybook.detach('lab_bills')").await.expect("detaches");
    assert_eq!(clinic.text("SELECT is_called FROM tripped").await, "false");
    clinic.dba.batch_execute("UPDATE lab_bills SET amount = 13").await.expect("writes");
    assert_eq!(clinic.text("SELECT is_called FROM tripped").await, "true", "the wire works");
}
