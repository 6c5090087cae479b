//! The billing log of a real regional hospital, replayed as lives of laboratory bills (see the log's own README; amounts
//! are added by arithmetic). The log is not part of the project: where it is absent, the test says so.

use std::collections::{BTreeMap, HashMap};
use std::io::Write as _;

use crate::command_line::url;
use crate::harness::Clinic;
use crate::rules::{done, example};

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

/// The shipped example of a hospital's bill, whose status runs through draft, closed, released, billed, cancelled, rejected and
/// reopened, checked by plain SQL written from the meaning of the columns.
#[tokio::test(flavor = "multi_thread")]
async fn the_real_billing_log_runs_through_every_status_of_a_hospitals_bill() {
    let Ok(output) = std::process::Command::new("zcat").arg(LOG).output() else { return skip() };
    if !output.status.success() || output.stdout.is_empty() {
        return skip();
    }
    let text = String::from_utf8(output.stdout).expect("the log is UTF-8");
    let clinic = Clinic::new().await;
    clinic.configure("reversal_brake", "100000").await; // the log deletes some bills by the dozen
    let url = url(&clinic);
    let sql = "CREATE TABLE hospital_bills (case_id text PRIMARY KEY, billed_on date, case_type text, speciality text, status text,
               net_exempt numeric, net_reduced numeric, net_standard numeric); GRANT ALL ON hospital_bills TO desk";
    clinic.dba.batch_execute(sql).await.expect("creates");
    let file = example("hospital_bill.toml");
    done(&["accounts", "import", &example("accounts.csv")], &url);
    done(&["attach", &file], &url);
    done(&["rules", "apply", &file], &url);
    let mut cases: HashMap<&str, i64> = HashMap::new();
    let mut statuses: BTreeMap<&str, u32> = BTreeMap::new();
    let mut month = "";
    for line in text.lines().skip(1) {
        let fields: Vec<&str> = line.split(',').collect();
        let [case, activity, at, _, _, case_type, speciality, ..] = fields.as_slice() else { continue };
        let known = cases.len() as i64;
        if !cases.contains_key(case) && cases.len() >= 800 {
            continue;
        }
        let n = *cases.entry(case).or_insert(known);
        let status = match *activity {
            "NEW" => "draft",
            "FIN" => "Closed",
            "RELEASE" => " released",
            "BILLED" => "Billed",
            "STORNO" => "CANCELLED",
            "REJECT" => "rejected",
            "REOPEN" => "reopened",
            "DELETE" => "",
            _ => continue,
        };
        *statuses.entry(status).or_default() += 1;
        let sql = match status {
            "" => format!("DELETE FROM hospital_bills WHERE case_id = '{case}'"),
            _ => format!(
                "INSERT INTO hospital_bills VALUES ('{case}', '{day}', '{case_type}', '{speciality}', '{status}', {n}, {n} * 1.37, {n} % 700 + 0.55)
                 ON CONFLICT (case_id) DO UPDATE SET status = excluded.status, billed_on = excluded.billed_on,
                     net_reduced = hospital_bills.net_reduced + CASE WHEN excluded.status = 'reopened' THEN 0.07 ELSE 0 END",
                day = &at[..10]
            ),
        };
        clinic.write(&sql).await;
        if at.get(..7) != Some(month) {
            month = at.get(..7).unwrap_or_default();
            clinic.drain().await;
        }
    }
    assert_eq!(clinic.drain().await.parked, 0);
    let expected = "SELECT string_agg(account || ' ' || balance, ', ' ORDER BY account) FROM (
            SELECT account, sum(balance)::numeric(20, 2) AS balance
            FROM hospital_bills
            CROSS JOIN LATERAL (SELECT net_exempt + net_reduced + net_standard AS net, round(net_reduced * 0.07, 2) + round(net_standard * 0.19, 2) AS tax) AS a
            CROSS JOIN LATERAL (VALUES ('1100', round(net + tax)), ('4400', -net), ('2100', -tax), ('4900', net + tax - round(net + tax))) AS l (account, balance)
            WHERE status ILIKE 'billed' GROUP BY account) AS b";
    let posted = "SELECT string_agg(account_code || ' ' || balance, ', ' ORDER BY account_code) FROM ledger.trial_balance WHERE balance <> 0 OR account_code = '1100'";
    assert_eq!(clinic.ledger_text(posted).await, clinic.text(expected).await);
    assert!(statuses.len() == 8 && statuses.values().all(|count| *count > 3), "{statuses:?}");
    let billed_again = "SELECT count(*) FROM (SELECT FROM ledger.journal_entries WHERE kind = 'original' GROUP BY reference_id HAVING count(*) > 1) AS a";
    assert_ne!(clinic.ledger_text(billed_again).await, "0", "some were billed, cancelled and billed again");
}

fn skip() {
    let _ = writeln!(std::io::stderr(), "SKIPPED: the hospital's billing log is not beside the project ({LOG})");
}
