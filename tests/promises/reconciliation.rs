//! Reconciliation: every fault that is put between bills and ledger is found and healed, and nothing else is told.

mod clinic_rules;
mod two_proofs;

use daybook::reconcile::findings::Kind;
use daybook::reconcile::{self, Report};

use crate::harness::{Clinic, TRIGGERS, attach_lab_with, pharmacy_bill};

/// Forty bills of every table, some parked, some drafts.
pub const BILLS: &str = "
    INSERT INTO consultation_invoices (id, patient_id, amount, mode, paid, created_at)
    SELECT g, g, 300 + g, (ARRAY['cash', 'upi', 'card', 'credit'])[1 + g % 4], g % 5 <> 0, '2024-03-01 06:00+00'::timestamptz + g * interval '7 hours'
    FROM generate_series(1, 40) AS g;
    INSERT INTO pharmacy_bills (id, visit_id, total_amount, gst_amount, cost_amount, payment_mode, invoice_number, created_at)
    SELECT g, g, 112 + g, 12, 60.50, (ARRAY['cash', 'neft', 'barter', NULL])[1 + g % 4], CASE WHEN g % 7 > 0 THEN 'I' || g END,
           '2024-03-01 06:00+00'::timestamptz + g * interval '7 hours'
    FROM generate_series(1, 40) AS g;
    INSERT INTO lab_bills (id, visit_id, amount, paid, payment_mode, invoice_number, created_at)
    SELECT g, g, 80 + g, true, 'cash', 'L' || g, '2024-03-01 06:00+00'::timestamptz + g * interval '1 hour'
    FROM generate_series(1, 40) AS g;
    INSERT INTO ultrasound_bills (id, visit_id, total_amount, payment_mode, invoice_number, created_at)
    SELECT g, g, 900 + g, 'card', 'U' || g, '2024-03-01 06:00+00'::timestamptz + g * interval '1 hour'
    FROM generate_series(1, 40) AS g";

/// A change of the laboratory's bills that no trigger sees.
fn past_capture(change: &str) -> String {
    format!(
        "ALTER TABLE lab_bills DISABLE TRIGGER USER; {change};
         ALTER TABLE lab_bills ENABLE ALWAYS TRIGGER daybook_capture;
         ALTER TABLE lab_bills ENABLE ALWAYS TRIGGER daybook_capture_truncate"
    )
}

/// The seventh bill of the laboratory is changed, and no trigger sees it.
fn change_past_capture() -> String {
    past_capture("UPDATE lab_bills SET amount = amount + 1 WHERE id = 7")
}

/// The findings without which the ledger would be proven.
pub fn kinds(report: &Report) -> Vec<(Kind, String)> {
    let named = |id: &Option<String>| id.clone().unwrap_or_default();
    let critical = report.findings.iter().filter(|finding| finding.kind.is_critical());
    critical.map(|finding| (finding.kind, named(&finding.reference_id))).collect()
}

#[tokio::test]
async fn a_ledger_that_equals_the_bills_is_proven_up_to_the_moment_of_the_look() {
    for clinic in [Clinic::new().await, Clinic::with_ledger_elsewhere().await] {
        clinic.write(BILLS).await;
        clinic.drain().await;
        for full in [false, true] {
            let before: chrono::DateTime<chrono::Utc> =
                clinic.dba.query_one("SELECT clock_timestamp()", &[]).await.expect("asks").get(0);
            let report = clinic.reconcile(full).await;
            assert_eq!(kinds(&report), [], "{}", report.to_text());
            assert_eq!((report.outcome, report.exit_code()), ("proven", 0), "{}", report.to_text());
            assert!(report.proven_until.expect("proven") >= before);
            assert_eq!(report.tables.iter().map(|table| table.bills).sum::<i64>(), 160);
            let parked: u64 = report.tables.iter().map(|table| table.excused).sum();
            assert_eq!(parked, 9, "parked bills are looked at, and are no findings");
        }
        let kept = clinic
            .text("SELECT string_agg(outcome || ' ' || is_full, ',' ORDER BY run_id) FROM daybook.reconciliation_runs")
            .await;
        assert_eq!(kept, "proven false,proven true");
    }
}

#[tokio::test]
async fn what_is_queued_is_pending_and_no_finding_and_bounds_what_is_proven() {
    let clinic = Clinic::new().await;
    let id = pharmacy_bill(&clinic, "2024-03-05").await;
    clinic.drain().await;
    clinic.write("UPDATE pharmacy_bills SET total_amount = 224; INSERT INTO lab_bills (id, amount, invoice_number) VALUES (7, 10, 'L')").await;
    let report = clinic.reconcile(true).await;
    assert_eq!(kinds(&report), [], "{}", report.to_text());
    assert_eq!(report.tables.iter().map(|table| table.pending).sum::<u64>(), 2, "{}", report.to_text());
    let first: chrono::DateTime<chrono::Utc> =
        clinic.dba.query_one("SELECT min(enqueued_at) FROM daybook.sync_queue", &[]).await.expect("asks").get(0);
    assert_eq!(report.proven_until, Some(first), "what waits is not proven");
    clinic.drain().await;
    assert_eq!(clinic.balances("PHARMACY", &id).await, "1000 224.00, 2100 -12.00, 4100 -212.00");
}

/// A table is added up 200,000 rows at a time, and each stretch goes on where the one before ended. Most rows here are out of scope: they
/// take room. Those in scope are the first and last of the stretches.
#[tokio::test]
async fn a_fault_is_found_at_both_ends_of_each_stretch_of_a_long_table() {
    let clinic = Clinic::new().await;
    let ends = [0, 199999, 200000, 399999, 400000, 599999, 600000, 799999, 800000, 810001];
    let old = past_capture(
        "INSERT INTO lab_bills (id, amount, created_at)
         SELECT g, 1, '2023-01-01' FROM generate_series(1, 810000) AS g WHERE g % 200000 NOT IN (0, 199999)",
    );
    clinic.dba.batch_execute(&old).await.expect("writes old bills");
    let attach = attach_lab_with("go_live => '2024-01-01'");
    clinic.dba.batch_execute(&attach).await.expect("attaches with a go-live date");
    clinic
        .write(&format!(
            "INSERT INTO lab_bills (id, amount, paid, payment_mode, invoice_number, created_at)
             SELECT g, 80, true, 'cash', 'L' || g, '2024-03-05 06:00+00' FROM unnest(ARRAY{ends:?}) AS g"
        ))
        .await;
    clinic.drain().await;
    for full in [false, true] {
        let report = clinic.reconcile(full).await;
        assert_eq!((kinds(&report), report.outcome), (vec![], "proven"), "{}", report.to_text());
        let candidates: u64 = report.tables.iter().map(|table| table.candidates).sum();
        assert_eq!(candidates, 0, "no row is added up twice or left out: {}", report.to_text());
    }
    for full in [false, true] {
        let change = past_capture("UPDATE lab_bills SET amount = amount + 1 WHERE created_at > '2024-01-01'");
        clinic.dba.batch_execute(&change).await.expect("changes past capture");
        let report = clinic.reconcile(full).await;
        let mut found = kinds(&report);
        found.sort_unstable_by_key(|(_, id)| id.parse::<u32>().ok());
        assert_eq!(found, ends.map(|id| (Kind::Stale, id.to_string())), "{}", report.to_text());
        clinic.drain().await;
    }
}

/// Each of them would have a bucket of others opened, and the rows judged one by one.
#[tokio::test]
async fn bills_that_wait_are_left_out_on_both_sides_and_hide_no_fault_beside_them() {
    for full in [false, true] {
        let clinic = Clinic::new().await;
        clinic.write(BILLS).await;
        clinic.drain().await;
        clinic
            .write(
                "UPDATE lab_bills SET amount = amount + 5 WHERE id <> 7; DELETE FROM lab_bills WHERE id BETWEEN 30 AND 34;
                 UPDATE lab_bills SET payment_mode = 'barter' WHERE id = 8;
                 INSERT INTO lab_bills (id, amount, invoice_number) SELECT g, 10, 'N' || g FROM generate_series(41, 45) AS g",
            )
            .await;
        clinic.dba.batch_execute(&change_past_capture()).await.expect("changes past capture");
        let report = clinic.reconcile(full).await;
        assert_eq!(kinds(&report), [(Kind::Stale, "7".into())], "{}", report.to_text());
        let lab = report.tables.iter().find(|table| table.reference_type == "LAB").expect("was looked at");
        assert_eq!((lab.bills, lab.pending), (40, 44), "{}", report.to_text());
        assert!(
            (1..10).contains(&lab.candidates),
            "those in the buckets of the one that differs: {}",
            report.to_text()
        );
        clinic.drain().await;
        let report = clinic.reconcile(full).await;
        assert_eq!((kinds(&report), report.outcome), (vec![], "proven"), "{}", report.to_text());
    }
}

#[tokio::test]
async fn a_finding_that_returns_after_its_repair_says_so_and_one_that_a_person_resolved_stays_so() {
    let clinic = Clinic::new().await;
    clinic.write(BILLS).await;
    clinic.drain().await;
    for times in 0..3 {
        clinic.dba.batch_execute(&change_past_capture()).await.expect("changes past capture");
        let report = clinic.reconcile(false).await;
        assert_eq!(kinds(&report), [(Kind::Stale, "7".into())]);
        assert_eq!(report.repairs, 1);
        let says = report.findings[0].message.contains(&format!("came back: {times} times"));
        assert_eq!(says, times > 0, "{}", report.findings[0].message);
        clinic.drain().await;
        assert_eq!(clinic.reconcile(false).await.outcome, "proven");
    }
    let history = "SELECT concat_ws(' ', finding_key, times_seen, times_returned, resolution) FROM daybook.reconciliation_findings";
    assert_eq!(clinic.text(history).await, "stale LAB 7 3 2 repaired");

    // Without repair it stays, is seen again, and is one finding; a person's word closes it for as long as it is the same.
    clinic.dba.batch_execute(&change_past_capture()).await.expect("changes past capture");
    let options = daybook::reconcile::Options::default();
    for _ in 0..2 {
        let report = daybook::reconcile::reconcile(&clinic.options(1), options.clone()).await.expect("reconciles");
        assert_eq!((kinds(&report).len(), report.repairs, report.exit_code()), (1, 0, 1));
    }
    assert_eq!(clinic.text("SELECT count(*) FROM daybook.sync_queue").await, "0");
    assert_eq!(clinic.text(history).await, "stale LAB 7 5 3");
    let refused = crate::harness::refused(&clinic.dba, "SELECT daybook.resolve_finding('stale LAB 7', ' ')").await;
    assert!(refused.contains("takes a note"), "{refused}");
    clinic
        .dba
        .batch_execute("SELECT daybook.resolve_finding('stale LAB 7', 'the vendor mends it')")
        .await
        .expect("resolves");
    let report = daybook::reconcile::reconcile(&clinic.options(1), options.clone()).await.expect("reconciles");
    assert_eq!(kinds(&report), []);
    assert_eq!(report.outcome, "findings", "the bill differs all the same, and the ledger is not proven");
    clinic.dba.batch_execute(&change_past_capture()).await.expect("changes it again");
    let report = daybook::reconcile::reconcile(&clinic.options(1), options).await.expect("reconciles");
    assert_eq!(kinds(&report), [(Kind::Stale, "7".into())], "it is not the same any more");
}

#[tokio::test]
async fn parked_retained_suspended_and_old_bills_are_no_findings_and_an_archive_job_is_held_by_the_brake() {
    let clinic = Clinic::new().await;
    clinic.write(BILLS).await;
    clinic.drain().await;
    clinic.configure("reversal_brake", "5").await;
    clinic.dba.batch_execute(&past_capture("DELETE FROM lab_bills")).await.expect("archives past capture");
    let report = clinic.reconcile(false).await;
    assert_eq!(
        report.findings.iter().filter(|finding| finding.kind == Kind::Orphan).count(),
        40,
        "{}",
        report.to_text()
    );
    clinic.drain().await;
    let retained = "SELECT count(*) FROM ledger.sync_master_status WHERE retained_because = 'brake'";
    assert_eq!(clinic.ledger_text(retained).await, "40", "a repair is held by the brake like any other event");
    assert_eq!(clinic.reconcile(true).await.outcome, "proven", "what is held is no finding");
    clinic.dba.batch_execute("SELECT daybook.suspend('pharmacy_bills')").await.expect("suspends");
    clinic.write("UPDATE pharmacy_bills SET total_amount = total_amount + 1").await;
    let report = clinic.reconcile(true).await;
    assert_eq!((kinds(&report), report.outcome, report.exit_code()), (vec![], "incomplete", 1), "{}", report.to_text());
    clinic.dba.batch_execute("SELECT daybook.resume('pharmacy_bills')").await.expect("resumes");
    let report = clinic.reconcile(true).await;
    assert_eq!(
        (kinds(&report), report.outcome),
        (vec![], "incomplete"),
        "all of it is on its way: {}",
        report.to_text()
    );
    clinic.drain().await;
    assert_eq!(clinic.reconcile(true).await.outcome, "proven");
}

#[tokio::test]
async fn what_existed_before_attach_is_one_finding_and_is_not_posted_by_a_repair() {
    let clinic = Clinic::new().await;
    clinic.dba.batch_execute("SELECT daybook.detach('lab_bills')").await.expect("detaches");
    clinic.write(BILLS).await;
    clinic.dba.batch_execute(TRIGGERS[2]).await.expect("attaches");
    clinic.drain().await;
    for full in [false, true] {
        let report = clinic.reconcile(full).await;
        assert_eq!(kinds(&report), [(Kind::Missing, String::new())], "{}", report.to_text());
        assert!(report.findings[0].message.contains("40 bills of LAB have never been posted"), "{}", report.to_text());
        assert_eq!(report.repairs, 0);
    }
    clinic.dba.batch_execute("SELECT daybook.backfill('lab_bills')").await.expect("backfills");
    clinic.drain().await;
    assert_eq!(clinic.reconcile(false).await.outcome, "proven");
    assert_eq!(
        clinic
            .text("SELECT count(*) FROM daybook.reconciliation_findings WHERE resolved_at IS NULL AND severity = 'critical'")
            .await,
        "0"
    );
}

#[tokio::test]
async fn a_full_run_that_repairs_nothing_tells_each_bill_once() {
    let clinic = Clinic::new().await;
    clinic.write(BILLS).await;
    clinic.drain().await;
    let change =
        "ALTER TABLE lab_bills DISABLE TRIGGER daybook_capture; UPDATE lab_bills SET amount = amount + 1 WHERE id = 1;
                  ALTER TABLE lab_bills ENABLE ALWAYS TRIGGER daybook_capture";
    clinic.dba.batch_execute(change).await.expect("changes a bill");
    let options = reconcile::Options { full: true, ..Default::default() };
    let report = reconcile::reconcile(&clinic.options(1), options).await.expect("reconciles");
    let of_lab = report.tables.iter().find(|table| table.reference_type == "LAB").expect("is looked at");
    assert_eq!(kinds(&report), [(Kind::Stale, "1".to_string())], "{}", report.to_text());
    assert_eq!(
        (of_lab.findings, clinic.text("SELECT max(times_seen) FROM daybook.reconciliation_findings").await),
        (1, "1".to_string())
    );
}

#[tokio::test]
async fn bills_from_before_the_digests_are_looked_at_once_and_told_as_nothing() {
    let clinic = Clinic::with_ledger_elsewhere().await;
    clinic.write(BILLS).await;
    clinic.drain().await;
    let forgotten = "UPDATE ledger.sync_master_status SET row_digest = NULL, rule_digest = NULL, fingerprint = NULL";
    clinic.accountant.batch_execute(forgotten).await.expect("as an older version left it");
    let looked = |report: &Report| report.tables.iter().map(|table| table.candidates).sum::<u64>();
    let report = clinic.reconcile(false).await;
    assert_eq!((report.outcome, looked(&report)), ("proven", 160), "{}", report.to_text());
    let report = clinic.reconcile(false).await;
    assert_eq!((report.outcome, looked(&report)), ("proven", 9), "only the parked ones again: {}", report.to_text());
}

#[tokio::test]
async fn running_reconciles_by_a_schedule_that_restarts_do_not_put_off_and_looks_again_at_what_it_repaired() {
    let clinic = Clinic::new().await;
    clinic.write(BILLS).await;
    clinic.drain().await;
    let hour = clinic.text("SELECT extract(hour FROM now() AT TIME ZONE 'Asia/Kolkata')::int").await;
    clinic.configure("full_reconciliation_hour", &hour).await;
    let run = || {
        let options = clinic.options(1);
        tokio::spawn(async move { daybook::consumer::run(options, std::future::pending()).await })
    };
    let consumer = run();
    let runs = "SELECT string_agg(concat_ws(' ', outcome, scope), ', ' ORDER BY run_id)
                FROM daybook.reconciliation_runs WHERE is_scheduled AND ended_at IS NOT NULL";
    wait_for(&clinic, runs, "proven").await;
    assert_eq!(clinic.text("SELECT is_full FROM daybook.reconciliation_runs").await, "true");
    consumer.abort();
    clinic.dba.batch_execute(&change_past_capture()).await.expect("changes past capture");
    // As after an hour: the next run is due, however often the process was restarted meanwhile.
    let hour_ago = "UPDATE daybook.reconciliation_runs SET started_at = started_at - interval '61 minutes'";
    clinic.dba.batch_execute(hour_ago).await.expect("lets time pass");
    let consumer = run();
    wait_for(&clinic, runs, "proven, findings, incomplete open findings").await;
    assert_eq!(
        clinic.text("SELECT resolution FROM daybook.reconciliation_findings WHERE severity = 'critical'").await,
        "repaired"
    );
    clinic.assert_bills_of_the_ledger("after the repair").await;
    consumer.abort();
    let overdue = "UPDATE daybook.reconciliation_runs SET started_at = started_at - interval '3 hours'; UPDATE daybook.sync_source SET attached_at = attached_at - interval '3 hours'";
    clinic.dba.batch_execute(overdue).await.expect("lets time pass");
    let alert = "SELECT count(*) FROM daybook.current_alerts WHERE alert_type = 'RECONCILIATION_OVERDUE'";
    assert_eq!(clinic.text(alert).await, "1");
}

async fn wait_for(clinic: &Clinic, sql: &str, text: &str) {
    for _ in 0..300 {
        if clinic.text(sql).await == text {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    panic!("{} instead of {text}", clinic.text(sql).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_line_reconciles_a_table_a_site_and_without_repair_and_its_exit_code_is_the_verdict() {
    use crate::command_line::{run, url};
    let clinic = Clinic::new().await;
    clinic.write(BILLS).await;
    clinic.drain().await;
    let url = url(&clinic);
    let reconcile = |more: &[&str]| {
        let arguments: Vec<&str> =
            ["reconcile", "--source-url", &url].into_iter().chain(more.iter().copied()).collect();
        run(&arguments)
    };
    let (code, told, _) = reconcile(&[]);
    assert!(code == Some(0) && told.contains("PROVEN: the ledger equals 160 bills"), "{told}");
    clinic.dba.batch_execute(&change_past_capture()).await.expect("changes past capture");
    let (code, told, _) = reconcile(&["--table", "lab_bills", "--no-repair"]);
    assert!(code == Some(1) && told.contains("LAB 7: its row was changed"), "{told}");
    assert!(
        told.contains("the bill says   1000 88, 4200 -88") && told.contains("the ledger has  1000 87, 4200 -87"),
        "{told}"
    );
    let (code, told, _) = reconcile(&["--table", "PHARMACY"]);
    assert!(code == Some(0) && told.contains("equals 40 bills"), "{told}");
    let (code, told, _) = reconcile(&["--site", "elsewhere", "--no-repair"]);
    assert_eq!(code, Some(0), "no bill of that site differs: {told}");
    let (code, told, _) = reconcile(&["--site", "main", "--no-repair", "--full", "--json"]);
    let report: serde_json::Value = serde_json::from_str(&told).expect("JSON");
    assert_eq!((code, report["outcome"].as_str()), (Some(1), Some("findings")), "{told}");
    let finding = &report["findings"][0];
    assert_eq!((finding["kind"].as_str(), finding["key"].as_str()), (Some("stale"), Some("stale LAB 7")), "{told}");
    assert_eq!(finding["details"]["bill"]["1000"].as_str(), Some("88"), "money is text: {told}");
    assert_eq!(clinic.text("SELECT count(*) FROM daybook.sync_queue").await, "0", "nothing was enqueued");
    let (code, told, _) = reconcile(&[]);
    assert!(code == Some(1) && told.contains("1 bills were enqueued"), "{told}");
    clinic.drain().await;
    assert_eq!(reconcile(&["--full"]).0, Some(0));
    let (code, _, told) = reconcile(&["--table", "nothing"]);
    assert!(code == Some(2) && told.contains("no attached table is called nothing"), "{told}");
}
