//! Consuming: nothing lost, nothing twice, and one bill never in the way of another.

use std::time::Duration;

use daybook::consumer;

use crate::harness::{Clinic, Cluster, pharmacy_bill};

#[tokio::test]
async fn an_event_with_a_lower_id_that_commits_later_is_not_lost_and_gaps_are_no_matter() {
    let clinic = Clinic::new().await;
    let slow = clinic.another_desk().await;
    slow.batch_execute("BEGIN; INSERT INTO lab_bills (id, amount, invoice_number) VALUES (1, 10, 'A')")
        .await
        .expect("writes");
    clinic.write("BEGIN; INSERT INTO lab_bills (id, amount, invoice_number) VALUES (9, 10, 'A'); ROLLBACK").await; // a gap
    clinic.write("INSERT INTO lab_bills (id, amount, invoice_number) VALUES (2, 10, 'A')").await;
    clinic.drain().await;
    slow.batch_execute("COMMIT").await.expect("commits");
    clinic.drain().await;
    assert_eq!(clinic.balances("LAB", "1").await, "1000 10.00, 4200 -10.00");
    clinic.assert_ledger_equals_bills().await;
    assert_eq!(clinic.text("SELECT count(*) FROM daybook.sync_alerts").await, "0");
}

/// The acknowledgement fails after the ledger has committed, as if the process had died between the two.
#[tokio::test]
async fn a_crash_between_the_ledgers_commit_and_the_acknowledgement_repeats_without_effect() {
    let clinic = Clinic::with_ledger_elsewhere().await;
    clinic.configure("max_retry_attempts", "100").await;
    clinic.configure("retry_delay_seconds", "0").await;
    let sql = "CREATE FUNCTION public.crash() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN RAISE 'crash' USING ERRCODE = '57P02'; END$$;
               CREATE TRIGGER crash BEFORE INSERT ON daybook.sync_audit_log FOR EACH ROW EXECUTE FUNCTION public.crash();";
    clinic.write("INSERT INTO pharmacy_bills (id, total_amount) VALUES (1000, 1)").await; // not the first event of its table
    clinic.drain().await;
    clinic.dba.batch_execute("TRUNCATE daybook.sync_audit_log").await.expect("forgets it");
    let id = pharmacy_bill(&clinic, "2024-03-05").await;
    clinic.dba.batch_execute(sql).await.expect("plants the crash");
    assert_eq!(clinic.drain_for(Duration::from_millis(500)).await.unfinished, 1);
    assert_eq!(clinic.entries("PHARMACY", &id).await.len(), 1, "the ledger has committed");
    clinic.dba.batch_execute("DROP FUNCTION public.crash CASCADE").await.expect("mends");
    clinic.drain().await;
    assert_eq!(clinic.entries("PHARMACY", &id).await.len(), 1);
    let outcome = "SELECT string_agg(outcome || ' ' || entry_id, ', ') FROM daybook.sync_audit_log";
    let entry = clinic.ledger_text("SELECT id FROM ledger.journal_entries").await;
    assert_eq!(clinic.text(outcome).await, format!("posted {entry}"), "the event has its one outcome, and its entry");
}

#[tokio::test]
async fn events_of_one_bill_are_covered_by_one_synchronisation_attributed_to_the_latest() {
    let clinic = Clinic::new().await;
    clinic.write("INSERT INTO lab_bills (id, amount, invoice_number) VALUES (1, 10, 'A')").await;
    clinic.write("UPDATE lab_bills SET amount = 20").await;
    clinic.write("UPDATE lab_bills SET amount = 30").await;
    clinic.drain().await;
    assert_eq!(clinic.entries("LAB", "1").await.len(), 1);
    let outcomes = "SELECT string_agg(operation || ' ' || outcome || ' ' || (entry_id IS NOT NULL), ', ' ORDER BY seq) FROM daybook.sync_audit_log";
    assert_eq!(clinic.text(outcomes).await, "insert covered true, update covered true, update posted true");
    let seq = clinic.text("SELECT max(seq) FROM daybook.sync_audit_log").await;
    assert_eq!(clinic.ledger_text("SELECT event_seq FROM ledger.journal_entries").await, seq);
}

#[tokio::test]
async fn what_is_delivered_twice_or_too_late_has_no_effect() {
    let clinic = Clinic::new().await;
    let id = pharmacy_bill(&clinic, "2024-03-05").await;
    clinic.drain().await;
    for _ in 0..3 {
        clinic.dba.batch_execute(&format!("SELECT daybook.enqueue('PHARMACY', '{id}')")).await.expect("enqueues");
    }
    clinic.drain().await;
    assert_eq!(clinic.entries("PHARMACY", &id).await.len(), 1);
    let outcomes = "SELECT string_agg(outcome, ', ' ORDER BY seq) FROM daybook.sync_audit_log";
    assert_eq!(clinic.text(outcomes).await, "posted, covered, covered, no_effect");
}

#[tokio::test]
async fn a_poison_bill_blocks_no_other_and_heals_when_its_row_is_mended() {
    let clinic = Clinic::new().await;
    clinic.write("INSERT INTO lab_bills (id, amount, payment_mode, invoice_number) SELECT g, g, CASE g WHEN 50 THEN 'barter' ELSE 'cash' END, 'A' FROM generate_series(1, 100) AS g").await;
    let drained = clinic.drain().await;
    assert_eq!(drained.parked, 1);
    clinic.assert_ledger_equals_bills().await;
    let letter = "SELECT reason || ' | ' || advice FROM daybook.sync_dead_letter WHERE resolved_at IS NULL";
    assert_eq!(
        clinic.text(letter).await,
        "LAB 50: column payment_mode holds a text of 6 characters that no account is mapped to | Set payment_mode to a value that rule LAB maps; or map this one there, and SELECT daybook.retry('LAB', ...)."
    );
    clinic.write("UPDATE lab_bills SET payment_mode = 'upi' WHERE id = 50").await;
    assert_eq!(clinic.drain().await.parked, 0);
    assert_eq!(clinic.balances("LAB", "50").await, "1030 50.00, 4200 -50.00");
    assert_eq!(clinic.text("SELECT resolution FROM daybook.sync_dead_letter").await, "healed");
}

/// The database refuses the bill, not our own code: a batch that fails is split until the bill is found.
#[tokio::test]
async fn a_bill_that_the_database_refuses_is_found_within_its_batch_and_parked_alone() {
    let clinic = Clinic::new().await;
    let sql = "ALTER TABLE ledger.journal_lines ADD CONSTRAINT no_37 CHECK (debit <> 37)";
    clinic.accountant.batch_execute(sql).await.expect("adds a constraint");
    clinic
        .write("INSERT INTO lab_bills (id, amount, invoice_number) SELECT g, g, 'A' FROM generate_series(1, 64) AS g")
        .await;
    assert_eq!(clinic.drain().await.parked, 1);
    assert_eq!(clinic.ledger_text("SELECT count(*) FROM ledger.journal_entries").await, "63");
    let letter = clinic.text("SELECT reference_id || ': ' || reason FROM daybook.sync_dead_letter").await;
    assert!(letter.starts_with("37: LAB 37: the database refuses it") && letter.contains("no_37"), "{letter}");
    clinic.accountant.batch_execute("ALTER TABLE ledger.journal_lines DROP CONSTRAINT no_37").await.expect("mends");
    clinic.dba.batch_execute("SELECT daybook.retry('LAB', '37')").await.expect("retries");
    assert_eq!(clinic.drain().await.parked, 0);
    assert_eq!(clinic.text("SELECT resolution FROM daybook.sync_dead_letter").await, "retried");
    clinic.assert_ledger_equals_bills().await;
}

/// A lock that is never free makes a bill fail; its attempts are counted, spread out, and at the end it is parked, not lost.
#[tokio::test]
async fn a_bill_that_gave_up_is_parked_and_stays_in_every_count() {
    let clinic = Clinic::new().await;
    for (key, value) in [("max_retry_attempts", "3"), ("retry_delay_seconds", "0.1"), ("retry_backoff_multiplier", "2")]
    {
        clinic.configure(key, value).await;
    }
    let sql = "CREATE FUNCTION public.fail() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN RAISE 'deadlock' USING ERRCODE = '40P01'; END$$;
               CREATE TRIGGER fail BEFORE INSERT ON ledger.journal_entries FOR EACH ROW WHEN (NEW.reference_id = '7') EXECUTE FUNCTION public.fail();";
    clinic.accountant.batch_execute(sql).await.expect("plants an error");
    clinic
        .write("INSERT INTO lab_bills (id, amount, invoice_number) SELECT g, g, 'A' FROM generate_series(1, 20) AS g")
        .await;
    let drained = clinic.drain().await;
    assert_eq!(drained.parked, 1);
    let letter = clinic.text("SELECT reason FROM daybook.sync_dead_letter WHERE resolved_at IS NULL").await;
    assert!(letter.contains("LAB 7: failed 3 times") && letter.contains("deadlock"), "{letter}");
    assert_eq!(
        clinic.text("SELECT attempts || ' ' || outcome FROM daybook.sync_audit_log WHERE reference_id = '7'").await,
        "2 parked"
    );
    assert_eq!(
        clinic.text("SELECT alert_type || ' ' || message FROM daybook.current_alerts").await,
        "BILLS_PARKED 1 bills of LAB are parked; reasons and advice stand in daybook.sync_dead_letter"
    );
    let status = daybook::status::status(&clinic.source, &clinic.ledger).await.expect("looks");
    assert_eq!(status.tables.iter().map(|table| table.parked).sum::<i64>(), 1);
    assert!(status.needs_attention());
}

#[tokio::test]
async fn a_failed_attempt_is_waited_for_and_tried_again() {
    let clinic = Clinic::new().await;
    clinic.configure("retry_delay_seconds", "0.5").await;
    let sql = "CREATE SEQUENCE public.failures; GRANT USAGE ON SEQUENCE public.failures TO PUBLIC;
               CREATE FUNCTION public.fail() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN
                   IF nextval('public.failures') < 3 THEN RAISE 'busy' USING ERRCODE = '40001'; END IF; RETURN NEW; END$$;
               CREATE TRIGGER fail BEFORE INSERT ON ledger.journal_entries FOR EACH ROW EXECUTE FUNCTION public.fail();";
    clinic.accountant.batch_execute(sql).await.expect("plants an error");
    let id = pharmacy_bill(&clinic, "2024-03-05").await;
    // One worker: an attempt that two fail on at once counts once.
    daybook::consumer::drain(clinic.options(1), Duration::from_secs(60)).await.expect("drains");
    assert_eq!(clinic.entries("PHARMACY", &id).await.len(), 1);
    assert_eq!(clinic.text("SELECT attempts || ' ' || outcome FROM daybook.sync_audit_log").await, "2 posted");
}

/// With `synchronous_commit = off` a commit is visible before it is durable; what was posted is durable.
#[tokio::test]
async fn what_was_read_is_durable_before_it_is_posted() {
    // A cluster of its own: any other durable commit would flush this one along.
    let cluster = Cluster::start();
    let clinic = Clinic::with_source_on(&cluster).await;
    // The WAL writer flushes whole pages, and what is older than its delay of ten seconds. So the bill is written until its
    // commit lies at the beginning of a page, which draining does not fill, and has just not been flushed.
    clinic
        .write("SET synchronous_commit = off; INSERT INTO lab_bills (id, amount, invoice_number) VALUES (1, 10, 'A')")
        .await;
    let position = "SELECT (pg_current_wal_insert_lsn() - '0/0') % 8192 < 3000
                       AND pg_current_wal_insert_lsn() > pg_current_wal_flush_lsn()";
    for _ in 0..1000 {
        clinic.write("UPDATE lab_bills SET amount = 10").await;
        tokio::time::sleep(Duration::from_millis(20)).await;
        if clinic.text(position).await == "true" {
            break;
        }
    }
    let committed = clinic.text("SELECT pg_current_wal_insert_lsn()").await;
    let durable = format!("SELECT pg_current_wal_flush_lsn() >= '{committed}'::pg_lsn");
    assert_eq!(clinic.text(&durable).await, "false", "the commit is visible, and not durable");
    clinic.drain().await;
    assert_eq!(clinic.balances("LAB", "1").await, "1000 10.00, 4200 -10.00");
    assert_eq!(clinic.text(&durable).await, "true");
}

#[tokio::test]
async fn source_and_ledger_in_two_clusters_agree() {
    let clinic = Clinic::with_ledger_elsewhere().await;
    clinic
        .write("INSERT INTO lab_bills (id, amount, invoice_number) SELECT g, g, 'A' FROM generate_series(1, 50) AS g")
        .await;
    clinic.drain().await;
    clinic.write("UPDATE lab_bills SET amount = amount * 2 WHERE id < 10; DELETE FROM lab_bills WHERE id > 40").await;
    clinic.drain().await;
    clinic.assert_ledger_equals_bills().await;
    assert_eq!(
        clinic.text("SELECT count(*) FROM ledger.journal_entries").await,
        "0",
        "the source's own database has no part in it"
    );
}

#[tokio::test]
async fn an_alter_table_rewrite_while_bills_are_posted_reverses_nothing() {
    let clinic = Clinic::new().await;
    clinic.configure("queue_batch_size", "5").await;
    clinic.configure("table_retry_seconds", "0.1").await;
    clinic
        .write("INSERT INTO lab_bills (id, amount, invoice_number) SELECT g, g, 'A' FROM generate_series(1, 300) AS g")
        .await;
    let rewrite = async {
        for precision in [10, 12, 14, 16] {
            let sql = format!("ALTER TABLE lab_bills ALTER COLUMN amount TYPE numeric({precision}, 2)");
            clinic.dba.batch_execute(&sql).await.expect("the vendor's DDL goes through");
            clinic.write("UPDATE lab_bills SET amount = amount + 1 WHERE id % 10 = 0").await;
        }
    };
    tokio::join!(clinic.drain(), rewrite);
    clinic.drain().await;
    clinic.assert_ledger_equals_bills().await;
    let lost = "SELECT count(*) FROM ledger.journal_entries WHERE kind = 'original' AND revision > 1";
    assert_eq!(clinic.ledger_text(lost).await, "0", "no bill was taken for deleted");
}

#[tokio::test]
async fn a_table_locked_by_ddl_waits_without_using_up_attempts_and_the_others_go_on() {
    let clinic = Clinic::new().await;
    clinic.configure("table_retry_seconds", "0.1").await;
    clinic.write("INSERT INTO lab_bills (id, amount, invoice_number) VALUES (1, 10, 'A'); INSERT INTO ultrasound_bills (id, total_amount, invoice_number) VALUES (1, 10, 'A')").await;
    clinic.dba.batch_execute("BEGIN; LOCK TABLE lab_bills IN ACCESS EXCLUSIVE MODE").await.expect("locks");
    let vendor = async {
        let other = Cluster::shared().admin(&clinic.database).await;
        let posted = "SELECT count(*) FROM ledger.journal_entries";
        while other.query_one(posted, &[]).await.expect("counts").get::<_, i64>(0) == 0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        tokio::time::sleep(Duration::from_millis(300)).await;
        clinic.dba.batch_execute("COMMIT").await.expect("unlocks");
    };
    tokio::join!(clinic.drain(), vendor);
    assert_eq!(clinic.text("SELECT max(attempts) FROM daybook.sync_audit_log").await, "0");
    clinic.assert_ledger_equals_bills().await;
}

#[tokio::test]
async fn settings_are_taken_up_while_running_and_nonsense_is_refused() {
    let clinic = Clinic::new().await;
    for (key, value) in [
        ("queue_batch_size", "0"),
        ("queue_batch_size", "many"),
        ("retry_delay_seconds", "-1"),
        ("retry_backoff_multiplier", "NaN"),
        ("max_retry_attempts", "1.5"),
        ("max_retry_attempts", ""),
    ] {
        let sql = format!("UPDATE daybook.sync_configuration SET config_value = '{value}' WHERE config_key = '{key}'");
        let message = crate::harness::refused(&clinic.dba, &sql).await;
        assert!(message.contains("config_value_is_of_its_kind_and_within_its_bounds"), "{key} {value}: {message}");
    }
    for sql in [
        "UPDATE daybook.sync_configuration SET config_value = 'other' WHERE config_key = 'source_name'",
        "DELETE FROM daybook.sync_configuration WHERE config_key = 'queue_batch_size'",
        "INSERT INTO daybook.sync_configuration (config_key, config_value) VALUES ('queue_batchsize', '5')",
    ] {
        crate::harness::refused(&clinic.dba, sql).await;
    }
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let running = tokio::spawn(consumer::run(clinic.options(1), async {
        let _ = stopped.await;
    }));
    while clinic.text("SELECT count(*) FROM daybook.sync_system_health").await == "0" {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    clinic.configure("queue_batch_size", "1").await;
    tokio::time::sleep(Duration::from_millis(2500)).await;
    clinic.write("INSERT INTO lab_bills (id, amount, invoice_number) VALUES (1, 10, 'A'), (2, 10, 'A')").await;
    while clinic.text("SELECT count(*) FROM daybook.sync_queue").await != "0" {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let _ = stop.send(());
    running.await.expect("ends").expect("runs");
    // Entries of one batch are inserted by one transaction.
    assert_eq!(clinic.ledger_text("SELECT count(DISTINCT xmin::text) FROM ledger.journal_entries").await, "2");
}

#[tokio::test]
async fn a_dead_consumer_is_seen_without_any_process() {
    let clinic = Clinic::new().await;
    clinic.write("INSERT INTO lab_bills (id, amount, invoice_number) VALUES (1, 10, 'A')").await;
    clinic.dba.batch_execute("UPDATE daybook.sync_queue SET due_at = now() - interval '2 minutes', enqueued_at = now() - interval '2 minutes'").await.expect("ages");
    assert_eq!(
        clinic.text("SELECT alert_type || ' ' || severity FROM daybook.current_alerts").await,
        "SYSTEM_DOWN critical"
    );
    clinic.drain().await;
    assert_eq!(clinic.text("SELECT count(*) FROM daybook.current_alerts").await, "0");
}

/// Whoever lists the bills that the ledger knows waits for batches under way, which may post one that the list lacks.
#[tokio::test]
async fn a_truncate_waits_for_the_batches_that_read_before_it() {
    let clinic = Clinic::new().await;
    pharmacy_bill(&clinic, "2024-03-05").await;
    clinic.drain().await;
    let lock = "BEGIN; SELECT pg_advisory_xact_lock_shared(hashtextextended('daybook batches of (\"main\", \"main\", \"PHARMACY\")', 0))";
    clinic.accountant.batch_execute(lock).await.expect("takes part in the table's batches");
    clinic.write("TRUNCATE pharmacy_bills").await;
    assert_eq!(clinic.drain_for(Duration::from_millis(700)).await.unfinished, 1);
    assert_eq!(
        clinic.text("SELECT operation || ' ' || coalesce(reference_id, '*') FROM daybook.sync_queue").await,
        "truncate *"
    );
    clinic.accountant.batch_execute("COMMIT").await.expect("ends");
    clinic.dba.batch_execute("UPDATE daybook.sync_queue SET due_at = now()").await.expect("is due");
    clinic.drain().await;
    assert_eq!(clinic.ledger_text("SELECT state FROM ledger.sync_master_status").await, "retained");
}

/// Closing a period may take its time; no bill is to blame.
#[tokio::test]
async fn waiting_for_a_book_that_is_being_closed_uses_up_no_attempt() {
    let clinic = Clinic::new().await;
    clinic.configure("table_retry_seconds", "0.1").await;
    clinic.accountant.batch_execute("BEGIN; SELECT FROM ledger.books FOR UPDATE").await.expect("locks the book");
    pharmacy_bill(&clinic, "2024-03-05").await;
    assert_eq!(clinic.drain_for(Duration::from_secs(6)).await.unfinished, 1);
    assert_eq!(clinic.text("SELECT attempts FROM daybook.sync_queue").await, "0");
    clinic.accountant.batch_execute("COMMIT").await.expect("unlocks");
    clinic.drain().await;
    clinic.assert_ledger_equals_bills().await;
}

/// A worker posts on account of the latest event that it sees, claimed by it or not; the event is told so at its own turn.
#[tokio::test]
async fn an_event_that_another_worker_posted_for_ends_as_posted_with_its_own_entry() {
    let clinic = Clinic::new().await;
    clinic.write("INSERT INTO lab_bills (id, amount, invoice_number) VALUES (1, 10, 'A')").await;
    clinic.write("UPDATE lab_bills SET amount = 20").await;
    let holder = Cluster::shared().admin(&clinic.database).await;
    let hold = "BEGIN; SELECT FROM daybook.sync_queue WHERE operation = 'update' FOR UPDATE";
    holder.batch_execute(hold).await.expect("holds the event");
    assert_eq!(clinic.drain_for(Duration::from_secs(1)).await.unfinished, 1);
    clinic.write("UPDATE lab_bills SET amount = 30").await;
    assert_eq!(clinic.drain_for(Duration::from_secs(1)).await.unfinished, 1);
    holder.batch_execute("COMMIT").await.expect("lets go");
    clinic.drain().await;
    let outcomes = "SELECT string_agg(operation || ' ' || outcome || ' ' || entry_id, ', ' ORDER BY seq) FROM daybook.sync_audit_log";
    let ids = "SELECT string_agg(id::text, ' ' ORDER BY id) FROM ledger.journal_entries";
    let ids = clinic.ledger_text(ids).await;
    let ids: Vec<&str> = ids.split(' ').collect(); // original, reversal, correction
    let expected = format!("insert covered {0}, update posted {0}, update posted {1}", ids[0], ids[2]);
    assert_eq!(clinic.text(outcomes).await, expected);
}
