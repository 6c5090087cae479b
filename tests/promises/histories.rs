//! Random histories of rows in a real database, posted with random batches, workers, duplicates and delays: whatever the
//! order, the ledger ends as what the bills say, by the word of SQL that shares nothing with the posting code.
//!
//! `PROPTEST_CASES=200 cargo test histories` runs more of them.

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use crate::harness::Clinic;
use crate::streaming;

const TABLES: [(&str, &str); 4] = [
    ("consultation_invoices", "CONSULTATION"),
    ("pharmacy_bills", "PHARMACY"),
    ("lab_bills", "LAB"),
    ("ultrasound_bills", "ULTRASOUND"),
];

/// One thing that happens.
#[derive(Debug, Clone)]
enum Step {
    /// An upsert of the bill with these values.
    Write {
        table: usize,
        id: u8,
        amount: i32,
        mode: u8,
        invoice: bool,
        odd: u8,
        day: u8,
    },
    Delete {
        table: usize,
        id: u8,
    },
    /// The bill gets another key.
    Rename {
        table: usize,
        id: u8,
        to: u8,
    },
    /// What follows is one transaction, up to the next of these; every third of them is rolled back.
    Boundary,
    /// An event that is delivered once more, or of a bill that does not exist.
    Duplicate {
        table: usize,
        id: u8,
    },
    /// The next steps are written while the queue is drained, in batches of this size.
    Drain {
        batch: u8,
        workers: u8,
    },
}

fn step() -> impl Strategy<Value = Step> {
    let bill = || (0..4_usize, 1..6_u8);
    prop_oneof![
        12 => (bill(), -300..50_000_i32, 0..12_u8, prop::bool::weighted(0.8), 0..20_u8, 0..60_u8)
            .prop_map(|((table, id), amount, mode, invoice, odd, day)| Step::Write { table, id, amount, mode, invoice, odd, day }),
        3 => bill().prop_map(|(table, id)| Step::Delete { table, id }),
        1 => (bill(), 1..6_u8).prop_map(|((table, id), to)| Step::Rename { table, id, to }),
        6 => Just(Step::Boundary),
        2 => bill().prop_map(|(table, id)| Step::Duplicate { table, id }),
        2 => (1..6_u8, 1..4_u8).prop_map(|(batch, workers)| Step::Drain { batch, workers }),
    ]
}

fn sql_of(step: &Step) -> Option<String> {
    match step {
        Step::Write { table, id, amount, mode, invoice, odd, day } => {
            let modes =
                ["cash", " CASH", "card", "upi", "neft", "credit", "due", "Bank Transfer", "", "barter", "gpay"];
            let mode = modes.get(*mode as usize).map_or("NULL".to_string(), |mode| format!("'{mode}'"));
            let amount = format!("({amount}::numeric / 100)");
            let amount = match odd {
                0 => "'NaN'::numeric".to_string(),
                1 => "12.345".into(),
                _ => amount,
            };
            let invoice = if *invoice { "'INV'" } else { "NULL" };
            let paid = ["true", "false", "NULL"][*odd as usize % 3];
            let discounted = if odd % 4 == 0 { "7.50" } else { "NULL" };
            let day = format!("'2024-01-01 20:00+00'::timestamptz + {day} * interval '6 hours'");
            Some(match TABLES[*table].0 {
                "consultation_invoices" => format!(
                    "INSERT INTO consultation_invoices (id, patient_id, amount, mode, paid, created_at) VALUES ({id}, 1, {amount}, {mode}, {paid}, {day})
                     ON CONFLICT (id) DO UPDATE SET amount = excluded.amount, mode = excluded.mode, paid = excluded.paid"
                ),
                "pharmacy_bills" => format!(
                    "INSERT INTO pharmacy_bills (id, total_amount, gst_amount, cost_amount, discounted_total, payment_mode, invoice_number, created_at)
                     VALUES ({id}, {amount}, round({amount} * 0.1, 2), CASE WHEN {odd} > 9 THEN round({amount} / 2, 2) END, {discounted}, {mode}, {invoice}, {day})
                     ON CONFLICT (id) DO UPDATE SET total_amount = excluded.total_amount, gst_amount = excluded.gst_amount,
                         cost_amount = excluded.cost_amount, payment_mode = excluded.payment_mode, invoice_number = excluded.invoice_number"
                ),
                "lab_bills" => format!(
                    "INSERT INTO lab_bills (id, visit_id, amount, discounted_amount, paid, payment_mode, invoice_number, created_at)
                     VALUES ({id}, {odd}, {amount}, {discounted}, {paid}, {mode}, {invoice}, {day})
                     ON CONFLICT (id) DO UPDATE SET amount = excluded.amount, discounted_amount = excluded.discounted_amount, paid = excluded.paid,
                         payment_mode = excluded.payment_mode, invoice_number = excluded.invoice_number, created_at = excluded.created_at"
                ),
                _ => format!(
                    "INSERT INTO ultrasound_bills (id, visit_id, total_amount, payment_mode, invoice_number, created_at) VALUES ({id}, {odd}, {amount}, {mode}, {invoice}, {day})
                     ON CONFLICT (id) DO UPDATE SET visit_id = excluded.visit_id, total_amount = excluded.total_amount,
                         payment_mode = excluded.payment_mode, invoice_number = excluded.invoice_number"
                ),
            })
        }
        Step::Delete { table, id } => Some(format!("DELETE FROM {} WHERE id = {id}", TABLES[*table].0)),
        Step::Rename { table, id, to } => {
            let table = TABLES[*table].0;
            Some(format!(
                "DELETE FROM {table} WHERE id = {to} AND {to} <> {id}; UPDATE {table} SET id = {to} WHERE id = {id}"
            ))
        }
        Step::Boundary | Step::Duplicate { .. } | Step::Drain { .. } => None,
    }
}

async fn live(clinic: &Clinic, steps: &[Step]) {
    let mut transaction: Vec<String> = Vec::new();
    let mut boundaries = 0;
    let mut drains = tokio::task::JoinSet::new();
    for step in steps {
        match step {
            Step::Boundary => {
                boundaries += 1;
                let end = if boundaries % 3 == 0 { "ROLLBACK" } else { "COMMIT" };
                clinic.write(&format!("BEGIN; {}; {end}", transaction.join("; "))).await;
                transaction.clear();
            }
            Step::Duplicate { table, id } => {
                let sql = format!("SELECT daybook.enqueue('{}', '{id}')", TABLES[*table].1);
                clinic.dba.batch_execute(&sql).await.expect("enqueues");
            }
            Step::Drain { batch, workers } => {
                clinic.configure("queue_batch_size", &batch.to_string()).await;
                let options = clinic.options((*workers).into());
                drains.spawn(daybook::consumer::drain(options, std::time::Duration::from_secs(60)));
            }
            step => transaction.extend(sql_of(step)),
        }
    }
    clinic.write(&format!("BEGIN; {}; COMMIT", transaction.join("; "))).await;
    while let Some(drained) = drains.join_next().await {
        drained.expect("ends").expect("drains");
    }
    clinic.drain().await;
    clinic.assert_ledger_equals_bills().await;
    // What is captured from the WAL is proven only while it is streamed.
    let running = streaming::Running::start(clinic).await;
    let report = clinic.reconcile(true).await;
    running.end().await;
    assert_eq!(report.outcome, "proven", "{}", report.to_text());
    let dates = "SELECT string_agg(reference_id || ' ' || d, ',' ORDER BY reference_id) FROM (
        SELECT id::text, (created_at AT TIME ZONE 'Asia/Kolkata')::date::text FROM lab_bills
        WHERE invoice_number IS NOT NULL AND coalesce(discounted_amount, amount) NOT IN ('NaN', 12.345, 0)
          AND (lower(btrim(coalesce(payment_mode, ''))) <> 'barter' OR paid IS FALSE)) AS b (reference_id, d)";
    let posted = "SELECT string_agg(e.reference_id || ' ' || e.effective_date, ',' ORDER BY e.reference_id)
        FROM ledger.sync_master_status AS s JOIN ledger.journal_entries AS e ON e.id = s.live_entry_ids[1]
        WHERE s.reference_type = 'LAB' AND s.state = 'current'";
    assert_eq!(clinic.text(dates).await, clinic.ledger_text(posted).await, "effective dates");
    let outcomes =
        "SELECT count(*) FROM (SELECT FROM daybook.sync_audit_log GROUP BY seq HAVING count(*) > 1) AS twice";
    assert_eq!(clinic.text(outcomes).await, "0", "each event has one outcome");
    let unexplained = "SELECT count(*) FROM ledger.journal_entries AS e WHERE NOT EXISTS (
        SELECT FROM daybook.sync_audit_log AS a WHERE a.seq = e.event_seq AND a.outcome = 'posted' AND a.entry_id >= e.id)";
    if clinic.source.get_hosts() == clinic.ledger.get_hosts() {
        assert_eq!(clinic.text(unexplained).await, "0", "each entry has its event");
    }
}

/// Where a history takes place.
#[derive(Clone, Copy, PartialEq)]
enum Place {
    OneDatabase,
    TwoClusters,
    /// In one database, captured in this mode.
    Streamed(&'static str),
}

/// One history; what it takes of the server is given back.
async fn history(place: Place, steps: &[Step]) {
    let clinic = match place {
        Place::OneDatabase => Clinic::new().await,
        Place::TwoClusters => Clinic::with_ledger_elsewhere().await,
        Place::Streamed(mode) => streaming::clinic(mode).await,
    };
    live(&clinic, steps).await;
    if let Place::Streamed(mode) = place {
        assert_eq!(streaming::gaps(&clinic).await, "", "no trigger was bypassed");
        if mode == "wal" {
            let by_triggers = "SELECT count(*) FROM daybook.sync_audit_log WHERE origin = 'trigger'";
            assert_eq!(clinic.text(by_triggers).await, "0");
        }
        let drop = "SELECT pg_drop_replication_slot(daybook.slot_name())";
        clinic.dba.batch_execute(drop).await.expect("drops the slot");
    }
}

fn histories(cases: u32, place: Place) {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
    let cases = std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(cases);
    let config = Config { cases, max_shrink_iters: 60, failure_persistence: None, ..Config::default() };
    let result = TestRunner::new(config).run(&prop::collection::vec(step(), 5..60), |steps| {
        runtime.block_on(async {
            let outcome = tokio::spawn(async move { history(place, &steps).await }).await;
            outcome.map_err(|error| TestCaseError::fail(error.to_string()))
        })
    });
    if let Err(error) = result {
        panic!("{error}");
    }
}

#[test]
fn random_histories_in_one_database_end_as_the_bills_say() {
    histories(24, Place::OneDatabase);
}

#[test]
fn random_histories_in_two_clusters_end_as_the_bills_say() {
    histories(8, Place::TwoClusters);
}

#[test]
fn random_histories_captured_from_the_wal_end_as_the_bills_say() {
    histories(10, Place::Streamed("wal"));
}

#[test]
fn random_histories_captured_by_both_ways_end_as_the_bills_say_without_a_false_gap() {
    histories(10, Place::Streamed("both"));
}
