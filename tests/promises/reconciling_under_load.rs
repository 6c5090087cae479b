//! Reconciling while everybody works and things die: nothing that is only on its way is ever told as a finding.
//! `DAYBOOK_RECONCILIATIONS=50 cargo test under_load` runs fifty against one database and fifty against two clusters.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use daybook::consumer;
use daybook::database::{Side, connect};
use daybook::reconcile::{Options, reconcile};
use tokio::task::JoinSet;

use crate::harness::Clinic;

/// One transaction of the application: bills that are written, edited, renamed, deleted, and rolled back now and then.
const WORK: &str = "DO $$
DECLARE
    n int := floor(random() * 400);
    day timestamptz := '2024-03-01'::timestamptz + floor(random() * 20) * interval '1 day';
    mode text := (ARRAY['cash', ' CARD', 'upi', 'neft', 'credit', 'barter', NULL])[1 + floor(random() * 7)];
BEGIN
    FOR i IN 1..1 + floor(random() * 4) LOOP
        INSERT INTO pharmacy_bills (id, visit_id, total_amount, gst_amount, cost_amount, payment_mode, invoice_number, created_at)
        VALUES (n, n, 112 + i, 12, 60.50, mode, CASE WHEN random() < 0.8 THEN 'I' END, day)
        ON CONFLICT (id) DO UPDATE SET total_amount = pharmacy_bills.total_amount + 0.01, payment_mode = excluded.payment_mode,
            discounted_total = CASE WHEN random() < 0.3 THEN 100 END, created_at = excluded.created_at;
        INSERT INTO lab_bills (id, amount, paid, payment_mode, invoice_number, created_at)
        VALUES (n + i, 80, random() < 0.7, mode, 'L', day)
        ON CONFLICT (id) DO UPDATE SET amount = lab_bills.amount + 1, paid = excluded.paid, payment_mode = excluded.payment_mode;
        UPDATE consultation_invoices SET amount = amount + 1, mode = 'cash' WHERE id = n;
    END LOOP;
    INSERT INTO consultation_invoices (id, patient_id, amount, mode, paid, created_at) VALUES (n, n, 300, 'cash', random() < 0.5, day)
    ON CONFLICT (id) DO NOTHING;
    IF random() < 0.1 THEN DELETE FROM pharmacy_bills WHERE id = n + 1; DELETE FROM lab_bills WHERE id = n + 2; END IF;
    IF random() < 0.05 THEN RAISE EXCEPTION 'rolled back'; END IF;
END $$";

async fn runs_find_nothing(clinic: Clinic, runs: usize) {
    clinic.configure("reversal_brake", "999999999").await;
    clinic.configure("retry_delay_seconds", "1").await;
    let stop = Arc::new(AtomicBool::new(false));
    // Of what is on its way nothing is to be told: so that most bills are not, the application waits where the consumers do not keep up.
    let is_behind = Arc::new(AtomicBool::new(false));
    let mut writers = JoinSet::new();
    let (watch, watched, of_watch) =
        (connect(Side::Source, &clinic.source).await.expect("connects"), is_behind.clone(), stop.clone());
    writers.spawn(async move {
        let queued = "SELECT count(*) >= 1000 FROM (SELECT FROM daybook.sync_queue WHERE attempts = 0 LIMIT 1000) AS q";
        while !of_watch.load(Ordering::Relaxed) {
            let behind = watch.query_one(queued, &[]).await.is_ok_and(|row| row.get(0));
            watched.store(behind, Ordering::Relaxed);
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    });
    for at in 0..3 {
        let (desk, stop, is_behind) = (clinic.another_desk().await, stop.clone(), is_behind.clone());
        writers.spawn(async move {
            while !stop.load(Ordering::Relaxed) {
                if is_behind.load(Ordering::Relaxed) {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                    continue;
                }
                let _ = desk.batch_execute(WORK).await; // one that is rolled back, or a deadlock of the application's own
                tokio::time::sleep(Duration::from_millis(15 + 20 * at)).await;
            }
        });
    }
    let mut consumers = JoinSet::new();
    for at in 0..3 {
        let (options, stop) = (clinic.options(2), stop.clone());
        consumers.spawn(async move {
            while !stop.load(Ordering::Relaxed) {
                // Dropped wherever it is, as a process that is killed.
                let life = Duration::from_millis(900 + 700 * at);
                let _ = tokio::time::timeout(life, consumer::run(options.clone(), std::future::pending())).await;
            }
        });
    }
    let runs = std::env::var("DAYBOOK_RECONCILIATIONS").ok().and_then(|runs| runs.parse().ok()).unwrap_or(runs);
    let mut finished = 0;
    let mut failed = 0;
    let mut pending = 0;
    while finished < runs {
        if finished % 7 == 6 {
            let strike = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE '%consumer' AND random() < 0.3
                          AND datname = current_database()";
            clinic.dba.execute(strike, &[]).await.expect("strikes");
            clinic.accountant.execute(strike, &[]).await.expect("strikes");
        }
        let options = Options { full: finished % 2 == 1, repair: true, ..Options::default() };
        match reconcile(&clinic.options(1), options).await {
            Ok(report) => {
                let differ: Vec<_> = report.findings.iter().filter(|finding| finding.kind.is_critical()).collect();
                assert!(differ.is_empty(), "run {finished}: {}\n{differ:#?}", report.to_text());
                pending += report.tables.iter().map(|table| table.pending).sum::<u64>();
                finished += 1;
            }
            Err(error) => {
                failed += 1;
                assert!(failed < runs, "too many runs fail: {error}");
            }
        }
    }
    stop.store(true, Ordering::Relaxed);
    while writers.join_next().await.is_some() {}
    consumers.shutdown().await;
    assert!(pending > 0, "bills were on their way while they were looked at");
    clinic.drain().await;
    clinic.assert_ledger_equals_bills().await;
    assert_eq!(
        clinic.text("SELECT count(*) FROM daybook.reconciliation_findings WHERE severity = 'critical'").await,
        "0"
    );
    let report = clinic.reconcile(true).await;
    assert_eq!(report.outcome, "proven", "{}", report.to_text());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reconciliations_under_load_and_faults_find_nothing_in_one_database() {
    runs_find_nothing(Clinic::new().await, 8).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reconciliations_under_load_and_faults_find_nothing_in_two_clusters() {
    runs_find_nothing(Clinic::with_ledger_elsewhere().await, 8).await;
}
