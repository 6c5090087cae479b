//! Bills from before attach: enqueued in key order, in chunks, throttled, resumable, while the application writes; and those from
//! before the go-live date, which stay out.

use std::time::Duration;

use crate::command_line::{run, url};
use crate::harness::{Clinic, attach_lab_with, refused};
use crate::rules::{done, fails};

/// Lab bills that nobody captured: one a day from 2024-01-01 on, by an id that leaves gaps.
async fn uncaptured(clinic: &Clinic, count: u32) {
    let sql = format!(
        "ALTER TABLE lab_bills DISABLE TRIGGER daybook_capture;
         INSERT INTO lab_bills (id, amount, invoice_number, created_at)
         SELECT 3 * g, g, 'A', '2024-01-01 12:00+05:30'::timestamptz + g * interval '1 day' FROM generate_series(1, {count}) AS g;
         ALTER TABLE lab_bills ENABLE ALWAYS TRIGGER daybook_capture"
    );
    clinic.dba.batch_execute(&sql).await.expect("writes uncaptured");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backfill_posts_what_existed_before_attach_while_the_application_writes() {
    let clinic = Clinic::new().await;
    uncaptured(&clinic, 7000).await;
    assert_eq!(clinic.text("SELECT count(*) FROM daybook.sync_queue").await, "0");
    let writing = async {
        let desk = clinic.another_desk().await;
        for n in 0..60 {
            let sql = format!(
                "INSERT INTO lab_bills (id, amount, invoice_number) VALUES ({}, 5, 'B'); UPDATE lab_bills SET amount = amount + 1 WHERE id = {};
                 DELETE FROM lab_bills WHERE id = {}",
                3 * n + 1, 300 * n + 3, 300 * n + 33
            );
            desk.batch_execute(&sql).await.expect("writes");
        }
    };
    let url = url(&clinic);
    let backfilling = tokio::task::spawn_blocking(move || done(&["backfill", "lab_bills"], &url));
    let (told, ()) = tokio::join!(backfilling, writing);
    let told = told.expect("ends");
    assert!(told.contains("bills of public.lab_bills enqueued; 0 from before the go-live date"), "{told}");
    clinic.drain().await;
    clinic.assert_ledger_equals_bills().await;
    assert_eq!(
        clinic.text("SELECT reconciled_at IS NOT NULL FROM daybook.sync_source WHERE reference_type = 'LAB'").await,
        "true"
    );
    let order = "SELECT bool_and(n > before) FROM (SELECT reference_id::int AS n, lag(reference_id::int, 1, 0) OVER (ORDER BY seq) AS before
                 FROM daybook.sync_audit_log WHERE origin = 'backfill' AND reference_id IS NOT NULL) AS o";
    assert_eq!(clinic.text(order).await, "true", "in key order");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interrupted_backfill_goes_on_where_it_was_and_is_throttled_by_the_queue() {
    let clinic = Clinic::new().await;
    let url = url(&clinic);
    uncaptured(&clinic, 9000).await;
    clinic.configure("backfill_queue_max", "3000").await;
    // Nobody posts: it enqueues as far as it may, and waits.
    let mut waiting = std::process::Command::new(env!("CARGO_BIN_EXE_daybook"))
        .args(["backfill", "LAB", "--source-url", &url])
        .stderr(std::process::Stdio::null())
        .spawn()
        .expect("starts");
    let progress =
        "SELECT keys_seen || ' ' || coalesce(last_error, '') FROM daybook.sync_queue WHERE operation = 'reconcile'";
    let started = std::time::Instant::now();
    while !clinic.text(progress).await.contains("waits until fewer events") {
        assert!(started.elapsed() < Duration::from_secs(20), "is throttled: {}", clinic.text(progress).await);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    waiting.kill().expect("kills with SIGKILL");
    waiting.wait().expect("is gone");
    assert!(clinic.text(progress).await.starts_with("4000 "), "{}", clinic.text(progress).await);
    assert_eq!(clinic.text("SELECT count(*) FROM daybook.sync_queue").await, "4001");
    // Repeated, it goes on with the same event; consumers post meanwhile.
    let again = tokio::task::spawn_blocking(move || done(&["backfill", "LAB"], &url));
    clinic.drain().await;
    assert!(again.await.expect("ends").contains("LAB: 9000 bills"));
    clinic.drain().await;
    clinic.assert_ledger_equals_bills().await;
    let events = "SELECT count(*) || ' ' || count(DISTINCT reference_id) FROM daybook.sync_audit_log WHERE origin = 'backfill' AND reference_id IS NOT NULL";
    assert_eq!(clinic.text(events).await, "9000 9000", "each key once");
}

#[tokio::test(flavor = "multi_thread")]
async fn bills_from_before_the_go_live_date_are_out_of_scope_and_said_to_be() {
    let clinic = Clinic::new().await;
    let url = url(&clinic);
    uncaptured(&clinic, 100).await;
    let attach = attach_lab_with("go_live => '2024-03-01'");
    clinic.dba.batch_execute(&attach).await.expect("attaches with a go-live date");
    clinic.drain().await;
    // As it stands in triggers/, without the date: what was decided stays.
    clinic.dba.batch_execute(crate::harness::TRIGGERS[2]).await.expect("attaches again");
    assert_eq!(clinic.text("SELECT go_live FROM daybook.sync_source WHERE reference_type = 'LAB'").await, "2024-03-01");
    let told = done(&["backfill", "LAB"], &url);
    assert!(told.contains("LAB: 42 bills") && told.contains("58 from before the go-live date were left out"), "{told}");
    clinic.drain().await;
    assert_eq!(
        clinic.ledger_text("SELECT min(effective_date) || ' ' || count(*) FROM ledger.journal_entries").await,
        "2024-03-01 41"
    );
    // An old bill that changes, and one whose values could never be posted: out of scope, nothing is parked.
    clinic.write("UPDATE lab_bills SET amount = amount + 1 WHERE id = 3; UPDATE lab_bills SET amount = 'NaN', payment_mode = 'barter' WHERE id = 6").await;
    assert_eq!(clinic.drain().await.parked, 0);
    let outcomes =
        "SELECT string_agg(DISTINCT outcome, ' ') FROM daybook.sync_audit_log WHERE reference_id IN ('3', '6')";
    assert_eq!(clinic.text(outcomes).await, "out_of_scope");
    assert!(run(&["trace", "LAB", "3", "--source-url", &url]).1.contains("out_of_scope"));
    // A bill that moves to before the date leaves the ledger; one that moves behind it comes in.
    clinic.write("UPDATE lab_bills SET created_at = '2024-02-01' WHERE id = 300; UPDATE lab_bills SET created_at = '2024-04-01' WHERE id = 3").await;
    clinic.drain().await;
    assert_eq!(clinic.balances("LAB", "300").await, "");
    assert_eq!(clinic.balances("LAB", "3").await, "1000 2.00, 4200 -2.00");
    for (arguments, part) in [
        ("go_live => 'infinity'", "go_live is a day"),
        ("on_delete => 'forget'", "on_delete is 'reverse', 'keep' or 'alert'"),
    ] {
        let sql = format!("SELECT daybook.attach('lab_bills', 'LAB', ARRAY['id'], ARRAY['amount'], {arguments})");
        assert!(refused(&clinic.dba, &sql).await.contains(part), "{arguments}");
    }
    let attach = attach_lab_with("go_live => '-infinity'");
    clinic.dba.batch_execute(&attach).await.expect("attaches without a go-live date");
    clinic.drain().await;
    assert_eq!(
        clinic.ledger_text("SELECT count(*) FROM ledger.sync_master_status WHERE live_entry_ids <> '{}'").await,
        "99"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_backfilled_is_told_in_one_line() {
    let clinic = Clinic::new().await;
    let url = url(&clinic);
    fails(&["backfill", "NOBODY"], &url, 2, "no attached table is called NOBODY");
    let all = done(&["backfill"], &url);
    assert_eq!(all.lines().count(), 4, "{all}");
    clinic.drain().await;
    clinic.dba.batch_execute("SELECT daybook.suspend('lab_bills')").await.expect("suspends");
    assert_eq!(done(&["backfill"], &url).lines().count(), 3, "those that are not suspended");
    fails(&["backfill", "LAB"], &url, 2, "is suspended");
    clinic.dba.batch_execute("SELECT daybook.resume('lab_bills')").await.expect("resumes");
    clinic.drain().await;
    // A key that stops being unique: the table cannot be read in order, and its events wait until it can.
    clinic
        .dba
        .batch_execute("ALTER TABLE lab_bills DROP CONSTRAINT lab_bills_pkey")
        .await
        .expect("the vendor drops the key");
    fails(&["backfill", "LAB"], &url, 3, "has no unique index of its key any more");
    clinic.configure("table_retry_seconds", "0.1").await;
    assert_eq!(clinic.drain_for(Duration::from_secs(1)).await.unfinished, 1);
    clinic.dba.batch_execute("ALTER TABLE lab_bills ADD PRIMARY KEY (id)").await.expect("puts it back");
    clinic.drain().await;
}
