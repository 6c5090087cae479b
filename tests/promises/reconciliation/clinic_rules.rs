//! The rules of the clinic: warnings about bills that are right in the ledger.

use daybook::reconcile::Report;
use daybook::reconcile::findings::{Finding, Kind};

use super::past_capture;
use crate::harness::{Clinic, attach_lab_with};

#[tokio::test]
async fn the_clinics_rules_are_warnings_dated_and_set_by_the_controller() {
    let clinic = Clinic::new().await;
    clinic
        .write(
            "INSERT INTO consultation_invoices (id, patient_id, visit_id, amount, mode, paid, created_at) VALUES
                 (1, 1, 5, 300, 'cash', false, now() - interval '8 days'), (2, 1, 5, 300, 'cash', false, now() - interval '6 days'),
                 (3, 1, 5, 300, 'cash', true, now() - interval '90 days'), (4, 1, 5, -300, 'credit', NULL, now() - interval '90 days');
             INSERT INTO pharmacy_bills (id, total_amount, discount_value, discounted_total, invoice_number, created_at) VALUES
                 (1, 100, NULL, NULL, NULL, now() - interval '6 days'), (2, 100, NULL, NULL, NULL, now() - interval '4 days'),
                 (3, 100, 10, NULL, 'I', now()), (4, 100, 10, 90, 'I', now()), (5, 100, 0, NULL, 'I', now()), (6, 100, 10, NULL, NULL, now())",
        )
        .await;
    clinic.drain().await;
    let warnings = async || {
        let report = clinic.reconcile(true).await;
        assert_eq!((report.outcome, report.exit_code()), ("proven", 0), "a warning is none against the ledger");
        let told = |finding: &Finding| {
            format!("{} {}", finding.key, finding.details.get("owed").and_then(|owed| owed.as_str()).unwrap_or(""))
                .trim()
                .to_string()
        };
        report.findings.iter().map(told).collect::<Vec<_>>()
    };
    let found = ["discount_missing PHARMACY 3", "draft_overdue PHARMACY 1", "receivable_overdue CONSULTATION 1 300.00"];
    assert_eq!(warnings().await, found);
    let as_controller = "SET ROLE daybook_controller;
        UPDATE daybook.clinic_rules SET days = 5 WHERE clinic_rule = 'receivable_overdue';
        UPDATE daybook.clinic_rules SET is_enabled = false WHERE clinic_rule = 'discount_missing';
        INSERT INTO daybook.clinic_rules (clinic_rule, valid_from, days) VALUES ('draft_overdue', current_date - 5, 3); RESET ROLE";
    clinic.dba.batch_execute(as_controller).await.expect("sets the rules");
    let found = [
        "draft_overdue PHARMACY 1",
        "draft_overdue PHARMACY 2",
        "receivable_overdue CONSULTATION 1 300.00",
        "receivable_overdue CONSULTATION 2 300.00",
    ];
    assert_eq!(warnings().await, found, "a rule counts from its day on");
    clinic.write("UPDATE consultation_invoices SET paid = true; UPDATE pharmacy_bills SET invoice_number = 'I'").await;
    clinic.drain().await;
    assert_eq!(warnings().await, Vec::<String>::new());
    let open = "SELECT count(*) FROM daybook.reconciliation_findings WHERE resolved_at IS NULL";
    assert_eq!(clinic.text(open).await, "0");
}

/// Bills of the laboratory on credit, of 100 and their number, of so many days ago.
fn on_credit(bills: &str, days_ago: u32) -> String {
    format!(
        "INSERT INTO lab_bills (id, amount, paid, payment_mode, invoice_number, created_at)
         SELECT g, 100 + g, true, 'credit', 'L' || g, now() - interval '{days_ago} days' FROM unnest('{{{bills}}}'::integer[]) AS g"
    )
}

#[tokio::test]
async fn what_is_owed_is_what_the_ledger_says_whether_or_not_the_row_can_tell_it() {
    let clinic = Clinic::new().await;
    let kept = attach_lab_with("on_delete => 'keep'");
    clinic.dba.batch_execute(&format!("SELECT daybook.detach('lab_bills'); {kept}")).await.expect("attaches");
    let owed = |report: &Report| {
        let warnings = report.findings.iter().filter(|finding| finding.kind == Kind::ReceivableOverdue);
        let told = |finding: &Finding| {
            format!(
                "{} {}",
                finding.reference_id.as_deref().unwrap_or(""),
                finding.details["owed"].as_str().unwrap_or("")
            )
        };
        warnings.map(told).collect::<Vec<_>>()
    };
    clinic.write(&on_credit("1, 2, 3, 4", 8)).await;
    clinic.write(&on_credit("5", 6)).await;
    clinic.write("INSERT INTO lab_bills (id, amount, paid, payment_mode, invoice_number, created_at) VALUES (6, -100, true, 'credit', 'L', now() - interval '8 days')").await;
    clinic.drain().await;
    assert_eq!(owed(&clinic.reconcile(true).await), ["1 101.00", "2 102.00", "3 103.00", "4 104.00"]);

    // The entries of 1 are kept, 2 and 3 cannot be posted any more, and 3 is resolved by hand. 4 is paid.
    let changes = "DELETE FROM lab_bills WHERE id = 1; UPDATE lab_bills SET payment_mode = 'barter' WHERE id IN (2, 3);
                   UPDATE lab_bills SET payment_mode = 'cash' WHERE id = 4";
    clinic.write(changes).await;
    clinic.drain().await;
    assert_eq!(clinic.text("SELECT daybook.resolve('LAB', '3', 'to be written off')").await, "true");
    clinic.drain().await;
    let states =
        "SELECT string_agg(reference_id || ' ' || state, ', ' ORDER BY reference_id) FROM ledger.sync_master_status";
    let states = clinic.ledger_text(states).await;
    assert_eq!(states, "1 retained, 2 parked, 3 resolved, 4 current, 5 current, 6 current");
    let of_kept = ["1 101.00", "2 102.00", "3 103.00"];
    assert_eq!(owed(&clinic.reconcile(true).await), of_kept);

    // What is on its way has not been paid yet.
    clinic
        .write("UPDATE lab_bills SET payment_mode = 'cash' WHERE id IN (2, 3); DELETE FROM lab_bills WHERE id = 5")
        .await;
    assert_eq!(owed(&clinic.reconcile(true).await), of_kept);
    clinic.drain().await;
    assert_eq!(owed(&clinic.reconcile(true).await), ["1 101.00"]);

    // What the ledger does not know is not owed by its word.
    clinic.dba.batch_execute(&past_capture(&on_credit("7", 9))).await.expect("writes past capture");
    let report = clinic.reconcile(true).await;
    assert_eq!(owed(&report), ["1 101.00"], "{}", report.to_text());
    assert!(report.findings.iter().any(|finding| finding.kind == Kind::Missing), "{}", report.to_text());
    clinic.drain().await;
    assert_eq!(owed(&clinic.reconcile(true).await), ["1 101.00", "7 107.00"]);

    // A row that cannot be read keeps no other bill's debt from being told.
    clinic.write(&on_credit("8", 10)).await;
    clinic.write("INSERT INTO lab_bills (id, amount, paid, payment_mode, invoice_number, created_at) VALUES (9, 1, true, 'credit', 'L', '294276-12-31 23:00:00+00')").await;
    assert_eq!(clinic.drain().await.parked, 1);
    assert_eq!(owed(&clinic.reconcile(true).await), ["1 101.00", "7 107.00", "8 108.00"]);
}
