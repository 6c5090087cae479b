//! The two proofs: the posting function, and plain SQL that is written from the rule file.

use std::collections::{BTreeMap, BTreeSet};

use daybook::reconcile::findings::Kind;
use daybook::sql::reconcile as sql;
use rust_decimal::Decimal;
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;

use super::{BILLS, kinds};
use crate::harness::Clinic;

#[tokio::test]
async fn words_are_the_same_to_both_proofs_whatever_their_blanks_and_the_collation_of_their_column() {
    let clinic = Clinic::new().await;
    // In Turkish a capital I is no i; in the other no text is told from the same in another case, and no pattern can be looked for.
    let collations = "CREATE COLLATION blind (provider = icu, locale = 'und-u-ks-level1', deterministic = false);
                      ALTER TABLE lab_bills ALTER payment_mode TYPE text COLLATE \"tr-x-icu\";
                      ALTER TABLE pharmacy_bills ALTER payment_mode TYPE text COLLATE blind";
    clinic.dba.batch_execute(collations).await.expect("changes the collations");
    let bills = "INSERT INTO lab_bills (id, amount, paid, payment_mode, invoice_number) VALUES
                     (1, 10, true, 'UPI', 'A'), (2, 20, true, E'\\u00a0cash\\u3000\\u2003\\t', 'A'), (3, 30, true, E'\\u200bcash', 'A');
                 INSERT INTO pharmacy_bills (id, total_amount, gst_amount, payment_mode, invoice_number) VALUES
                     (1, 112, 12, 'CASH', 'A'), (2, 224, 24, E'c\\u00e0sh', 'A')";
    clinic.write(bills).await;
    assert_eq!(clinic.drain().await.parked, 2, "what is no blank is not trimmed, and another letter is another word");
    for full in [false, true] {
        let report = clinic.reconcile(full).await;
        assert_eq!((kinds(&report), report.outcome), (vec![], "proven"), "{}", report.to_text());
    }
}

#[tokio::test]
async fn two_proofs_that_disagree_are_a_finding() {
    let clinic = Clinic::new().await;
    clinic.write(BILLS).await;
    // A superuser replaces a function by which bills are read: the posting function goes by it, and plain SQL does not.
    let amount_text = "SELECT pg_get_functiondef('daybook.amount_text(numeric)'::regprocedure)";
    let as_installed = clinic.text(amount_text).await;
    let wrongly = as_installed.replace("$1::pg_catalog.text", "CASE $1 WHEN 87 THEN '88' ELSE $1::pg_catalog.text END");
    assert_ne!(wrongly, as_installed);
    clinic.dba.batch_execute(&wrongly).await.expect("replaces the function");
    clinic.write("UPDATE lab_bills SET payment_mode = 'card' WHERE id = 7").await;
    clinic.drain().await;
    let report = clinic.reconcile(false).await;
    assert_eq!(kinds(&report), [(Kind::Tampered, String::new())], "{}", report.to_text());
    let report = clinic.reconcile(true).await;
    assert_eq!(
        kinds(&report),
        [(Kind::ProofDisagrees, "7".into()), (Kind::Tampered, String::new())],
        "{}",
        report.to_text()
    );
    clinic.dba.batch_execute(&as_installed).await.expect("puts it back");
    clinic.write("UPDATE lab_bills SET payment_mode = 'upi' WHERE id = 7").await;
    clinic.drain().await;
    assert_eq!(clinic.reconcile(true).await.outcome, "proven");
}

/// One statement reads all lines in the order of ids, the other those of single bills: of settlements, too, which are dated by the day of the
/// payment and count on the day of the bill, and of bills that moved to another day.
#[tokio::test]
async fn the_totals_of_the_journal_are_the_sums_of_its_single_bills() {
    let clinic = Clinic::new().await;
    for change in [
        BILLS,
        "UPDATE consultation_invoices SET paid = true WHERE NOT paid",
        "UPDATE consultation_invoices SET amount = amount + 1 WHERE id % 5 = 0 AND id % 3 = 0; UPDATE lab_bills SET amount = 1 WHERE id > 30",
        "UPDATE consultation_invoices SET created_at = created_at + interval '3 days' WHERE id % 4 = 0",
        "DELETE FROM consultation_invoices WHERE id % 10 = 0; UPDATE consultation_invoices SET paid = false WHERE id % 6 = 0",
    ] {
        clinic.write(change).await;
        clinic.drain().await;
    }
    let kinds = "SELECT count(*) FILTER (WHERE kind = 'settlement') || ' ' || count(*) FILTER (WHERE kind = 'reversal' AND reverses_id = ANY (
                     SELECT id FROM ledger.journal_entries WHERE kind = 'settlement')) FROM ledger.journal_entries";
    assert_eq!(clinic.ledger_text(kinds).await, "11 4", "settlements, and those that were reversed");

    let (main, types, none): (_, _, Vec<String>) = ("main", vec!["CONSULTATION", "LAB"], Vec::new());
    let left_out = vec!["7".to_string()];
    let cell = |row: &Row, at: usize| -> (String, String, String) { (row.get(at), row.get(at + 1), row.get(at + 2)) };
    let mut totals: BTreeMap<(String, (String, String, String)), Decimal> = BTreeMap::new();
    let parameters: &[&(dyn ToSql + Sync)] = &[&main, &main, &types, &vec!["LAB"], &left_out];
    let rows = clinic.dba.query(sql::LEDGER_TOTALS, parameters).await.expect("totals");
    for row in &rows {
        *totals.entry((row.get(0), cell(row, 1))).or_default() += decimal(row.get(5));
    }
    totals.retain(|_, balance| !balance.is_zero());
    let mut singles: BTreeMap<(String, (String, String, String)), Decimal> = BTreeMap::new();
    let (mut bills, mut in_totals) = (BTreeSet::new(), 0);
    for of in &types {
        let ids: Vec<String> =
            (1..=40).map(|id: i32| id.to_string()).filter(|id| *of != "LAB" || *id != left_out[0]).collect();
        let parameters: &[&(dyn ToSql + Sync)] = &[&main, &main, of, &none, &ids];
        for row in &clinic.dba.query(sql::LEDGER_BILLS, parameters).await.expect("single bills") {
            bills.insert((of.to_string(), row.get::<_, String>(0)));
            *singles.entry((of.to_string(), cell(row, 1))).or_default() += decimal(row.get(4));
        }
    }
    singles.retain(|_, balance| !balance.is_zero());
    assert!(totals.len() > 40, "{} totals", totals.len());
    assert_eq!(totals, singles);
    for row in &rows {
        in_totals += row.get::<_, i64>(4);
    }
    assert_eq!(in_totals, bills.len() as i64, "each bill counts once, on its day");
}

fn decimal(text: &str) -> Decimal {
    text.parse().expect("a number")
}
