//! Reconciliation: every fault that is put between bills and ledger is found and healed, and nothing else is told.

use daybook::reconcile::Report;
use daybook::reconcile::findings::Kind;

use crate::harness::{Clinic, pharmacy_bill};

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

pub fn kinds(report: &Report) -> Vec<(Kind, String)> {
    let named = |id: &Option<String>| id.clone().unwrap_or_default();
    report.findings.iter().map(|finding| (finding.kind, named(&finding.reference_id))).collect()
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
