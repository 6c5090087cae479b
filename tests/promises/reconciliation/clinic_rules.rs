//! The rules of the clinic: warnings about bills that are right in the ledger.

use daybook::reconcile::Report;
use daybook::reconcile::findings::{Finding, Kind};

use crate::harness::{Clinic, TRIGGERS};

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

#[tokio::test]
async fn what_is_owed_is_told_by_the_ledger_where_the_entries_are_not_to_be_what_the_row_says() {
    let clinic = Clinic::new().await;
    let kept = TRIGGERS[2].replace("'created_at'])", "'created_at'], on_delete => 'keep')");
    clinic.dba.batch_execute(&format!("SELECT daybook.detach('lab_bills'); {kept}")).await.expect("attaches");
    // Owed by all of them; 5 is younger, and 6 a credit note.
    clinic
        .write(
            "INSERT INTO lab_bills (id, amount, paid, payment_mode, invoice_number, created_at)
             SELECT g, CASE g WHEN 6 THEN -100 ELSE 100 + g END, true, 'credit', 'L' || g, now() - (CASE g WHEN 5 THEN 6 ELSE 8 END) * interval '1 day'
             FROM generate_series(1, 6) AS g",
        )
        .await;
    clinic.drain().await;
    let owed = |report: &Report| {
        let warnings = report.findings.iter().filter(|finding| finding.kind == Kind::ReceivableOverdue);
        let told = |finding: &Finding| format!("{} {}", finding.key, finding.details["owed"].as_str().unwrap_or(""));
        warnings.map(told).collect::<Vec<_>>().join(", ")
    };
    let told = |bills: &[u32]| {
        let told = bills.iter().map(|bill| format!("receivable_overdue LAB {bill} 10{bill}.00"));
        told.collect::<Vec<_>>().join(", ")
    };
    assert_eq!(owed(&clinic.reconcile(true).await), told(&[1, 2, 3, 4]));
    // 1 is gone and its entries are kept; 2 cannot be posted any more; 3 is resolved by hand and paid after that; 4 and 5 are paid.
    clinic
        .write("DELETE FROM lab_bills WHERE id = 1; UPDATE lab_bills SET payment_mode = 'barter' WHERE id IN (2, 3, 5)")
        .await;
    clinic.drain().await;
    assert_eq!(clinic.text("SELECT daybook.resolve('LAB', '3', 'to be written off')").await, "true");
    clinic.drain().await;
    clinic.write("UPDATE lab_bills SET payment_mode = 'cash' WHERE id IN (4, 5)").await;
    clinic.drain().await;
    let report = clinic.reconcile(true).await;
    let states = "SELECT string_agg(reference_id || ' ' || state, ', ' ORDER BY reference_id::integer) FROM ledger.sync_master_status";
    let states = clinic.ledger_text(states).await;
    assert_eq!(states, "1 retained, 2 parked, 3 resolved, 4 current, 5 current, 6 current", "{}", report.to_text());
    assert_eq!(owed(&report), told(&[1, 2, 3]), "{}", report.to_text());
    clinic.write("UPDATE lab_bills SET payment_mode = 'cash'").await;
    clinic.drain().await;
    assert_eq!(owed(&clinic.reconcile(true).await), told(&[1]), "it is owed for as long as its entries are kept");
    let open = "SELECT string_agg(reference_id, ', ') FROM daybook.reconciliation_findings WHERE resolved_at IS NULL";
    assert_eq!(clinic.text(open).await, "1");
}
