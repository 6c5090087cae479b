//! The billing log of a real regional hospital, replayed as lives of laboratory bills (see the log's own README; amounts
//! are added by arithmetic). The log is not part of the project: where it is absent, the test says so.

use std::collections::{BTreeMap, HashMap};
use std::io::Write as _;

use crate::harness::Clinic;

const LOG: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../shared/data/hospital_billing.csv.gz");

/// How many of the log's cases are replayed; all their events are.
const CASES: usize = 1_500;

#[tokio::test(flavor = "multi_thread")]
async fn the_real_billing_log_is_followed_through_every_life_of_a_bill() {
    let Ok(output) = std::process::Command::new("zcat").arg(LOG).output() else { return skip() };
    if !output.status.success() || output.stdout.is_empty() {
        return skip();
    }
    let text = String::from_utf8(output.stdout).expect("the log is UTF-8");
    let clinic = Clinic::new().await;
    let mut bills: HashMap<&str, i64> = HashMap::new();
    let mut counts: BTreeMap<&str, u32> = BTreeMap::new();
    let mut days = 0;
    let mut day = "";
    for line in text.lines().skip(1) {
        let mut fields = line.split(',');
        let (Some(case), Some(activity), Some(at)) = (fields.next(), fields.next(), fields.next()) else { continue };
        let known = bills.len() as i64 + 1;
        if !bills.contains_key(case) && bills.len() >= CASES {
            continue;
        }
        let id = *bills.entry(case).or_insert(known);
        *counts.entry(activity).or_default() += 1;
        // A bill is created as a draft, invoiced, reopened, cancelled or deleted; other activities touch it without effect.
        let amount = format!("{}.{:02}", 100 + id * 37 % 900, id % 100);
        let sql = match activity {
            "NEW" => format!("INSERT INTO lab_bills (id, amount, created_at) VALUES ({id}, {amount}, '{at}') ON CONFLICT DO NOTHING"),
            "BILLED" => format!(
                "INSERT INTO lab_bills (id, amount, created_at, invoice_number, paid) VALUES ({id}, {amount}, '{at}', 'INV-{id}', false)
                 ON CONFLICT (id) DO UPDATE SET invoice_number = excluded.invoice_number, paid = false"
            ),
            "STORNO" | "REJECT" => format!("UPDATE lab_bills SET invoice_number = NULL WHERE id = {id}"),
            "REOPEN" => format!("UPDATE lab_bills SET invoice_number = NULL, amount = amount + 1 WHERE id = {id}"),
            "DELETE" => format!("DELETE FROM lab_bills WHERE id = {id}"),
            "CHANGE DIAGN" | "SET STATUS" | "MANUAL" => format!("UPDATE lab_bills SET printed = NOT printed WHERE id = {id}"),
            _ => continue,
        };
        clinic.write(&sql).await;
        if at.get(..7) != Some(day) {
            day = at.get(..7).unwrap_or_default();
            days += 1;
            // Once a month of the log's time: post, and let the half of what is owed be paid.
            clinic.drain().await;
            clinic
                .write("UPDATE lab_bills SET paid = true WHERE invoice_number IS NOT NULL AND NOT paid AND id % 2 = 0")
                .await;
        }
    }
    clinic.drain().await;
    clinic.assert_ledger_equals_bills().await;
    let kinds = clinic.ledger_text("SELECT string_agg(kind || ' ' || n, ', ' ORDER BY kind) FROM (SELECT kind, count(*) AS n FROM ledger.journal_entries GROUP BY kind) AS k").await;
    assert!(kinds.contains("original") && kinds.contains("reversal") && kinds.contains("settlement"), "{kinds}");
    println!("replayed {CASES} cases over {days} months: {counts:?}; entries: {kinds}");
}

fn skip() {
    let _ = writeln!(std::io::stderr(), "SKIPPED: the hospital's billing log is not beside the project ({LOG})");
}
