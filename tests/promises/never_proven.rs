//! When reconciliation must not say that the ledger is proven, and what must not keep it from saying anything.

use daybook::reconcile::Report;
use daybook::reconcile::findings::Kind;

use crate::harness::{CLINIC, Clinic, Cluster, attach_lab_with};
use crate::reconciliation::{BILLS, kinds};

const OFF: &str = "ALTER TABLE lab_bills DISABLE TRIGGER daybook_capture";
const ON: &str = "ALTER TABLE lab_bills ENABLE ALWAYS TRIGGER daybook_capture";

async fn clinic_at_rest() -> Clinic {
    let clinic = Clinic::new().await;
    clinic.write(BILLS).await;
    clinic.drain().await;
    clinic
}

#[tokio::test]
async fn a_repair_that_waits_hides_no_finding_and_nothing_is_proven_while_one_is_open() {
    let clinic = clinic_at_rest().await;
    clinic
        .dba
        .batch_execute(&format!("{OFF}; UPDATE lab_bills SET amount = amount + 1 WHERE id <= 5; {ON}"))
        .await
        .expect("changes past capture");
    assert_eq!(clinic.reconcile(false).await.repairs, 5);
    for full in [false, true] {
        let report = clinic.reconcile(full).await;
        assert_eq!((report.outcome, report.open, report.proven_until), ("findings", 5, None), "{}", report.to_text());
    }
    clinic.drain().await;
    assert_eq!(clinic.reconcile(false).await.outcome, "proven");
    // An event of our own tells nothing of when its bill was changed.
    clinic
        .dba
        .batch_execute(&format!("{OFF}; UPDATE lab_bills SET amount = amount + 1 WHERE id = 9; {ON}"))
        .await
        .expect("changes");
    clinic.dba.batch_execute("SELECT daybook.enqueue('LAB', '9')").await.expect("enqueues by hand");
    let report = clinic.reconcile(false).await;
    assert_eq!((report.outcome, report.proven_until), ("incomplete", None), "{}", report.to_text());
}

#[tokio::test]
async fn a_resolved_finding_that_is_gone_and_comes_back_is_told_again() {
    let clinic = clinic_at_rest().await;
    clinic.dba.batch_execute(OFF).await.expect("switches off");
    assert_eq!(kinds(&clinic.reconcile(false).await), [(Kind::CaptureGap, String::new())]);
    let resolve = "SELECT daybook.resolve_finding(finding_key, 'maintenance') FROM daybook.reconciliation_findings";
    clinic.dba.batch_execute(resolve).await.expect("resolves");
    assert_eq!(clinic.reconcile(false).await.outcome, "proven", "as long as it is the same");
    clinic.dba.batch_execute(ON).await.expect("switches on");
    assert_eq!(clinic.reconcile(false).await.outcome, "proven");
    clinic.dba.batch_execute(OFF).await.expect("switches off again");
    let report = clinic.reconcile(false).await;
    assert_eq!(kinds(&report), [(Kind::CaptureGap, String::new())], "{}", report.to_text());
    assert_eq!(clinic.text("SELECT times_returned FROM daybook.reconciliation_findings").await, "1");
}

#[tokio::test]
async fn a_row_that_cannot_be_read_and_a_locked_table_keep_nothing_else_from_its_proof() {
    let clinic = clinic_at_rest().await;
    clinic
        .write(
            "INSERT INTO consultation_invoices (id, patient_id, amount, mode, paid, created_at)
             VALUES (99, 1, 5, 'cash', true, '294276-12-31 23:00:00+00')",
        )
        .await;
    clinic.drain().await;
    for full in [false, true] {
        let report = clinic.reconcile(full).await;
        assert_eq!(kinds(&report), [], "{}", report.to_text());
        let of = |name: &str| report.tables.iter().find(|table| table.reference_type == name).expect("is looked at");
        assert_eq!(of("CONSULTATION").excused, 1, "{}", report.to_text());
        assert!(of("LAB").not_proven.is_none(), "{}", report.to_text());
    }
    let vendor = clinic.another_desk().await;
    clinic.dba.batch_execute("GRANT ALL ON ultrasound_bills TO desk").await.expect("grants");
    vendor.batch_execute("BEGIN; LOCK TABLE ultrasound_bills").await.expect("locks");
    let report = clinic.reconcile(false).await;
    assert_eq!((report.outcome, report.exit_code()), ("incomplete", 1), "{}", report.to_text());
    let unproven: Vec<_> = report.tables.iter().filter(|table| table.not_proven.is_some()).collect();
    assert_eq!(unproven.len(), 1, "{}", report.to_text());
    assert_eq!(unproven[0].reference_type, "ULTRASOUND");
    vendor.batch_execute("ROLLBACK").await.expect("ends");
    let unended = "SELECT count(*) FROM daybook.reconciliation_runs WHERE outcome IS NULL";
    assert_eq!(clinic.text(unended).await, "0");
}

#[tokio::test]
async fn a_journal_that_cannot_be_totalled_keeps_no_bill_from_being_looked_at() {
    let cluster = Cluster::start();
    let clinic = Clinic::with_both_on(&cluster).await;
    clinic.write(BILLS).await;
    clinic.drain().await;
    let bills = |report: &Report| report.tables.iter().map(|table| table.bills).sum::<i64>();
    let before = clinic.reconcile(true).await;
    assert_eq!(before.outcome, "proven", "{}", before.to_text());
    let other = cluster.admin(&clinic.database).await;
    other.batch_execute("BEGIN; LOCK TABLE ledger.journal_lines").await.expect("locks");
    let report = clinic.reconcile(true).await;
    let told = report.to_text();
    assert_eq!((report.outcome, report.proven_until), ("incomplete", None), "{told}");
    assert!(told.contains("LAB is not proven: the journal cannot be totalled: "), "{told}");
    assert_eq!(bills(&report), bills(&before), "each row was looked at: {told}");
    other.batch_execute("ROLLBACK").await.expect("ends");
    let after = clinic.reconcile(true).await;
    assert_eq!(after.outcome, "proven", "{}", after.to_text());
}

#[tokio::test]
async fn a_key_that_became_null_is_told_and_nothing_panics() {
    let clinic = Clinic::new().await;
    let sql = "ALTER TABLE lab_bills DROP CONSTRAINT lab_bills_pkey, ADD UNIQUE (id); ALTER TABLE lab_bills ALTER id DROP IDENTITY";
    clinic.dba.batch_execute(sql).await.expect("the vendor changes the key");
    clinic.write(BILLS).await;
    clinic.drain().await;
    clinic.dba.batch_execute("ALTER TABLE lab_bills ALTER id DROP NOT NULL; ALTER TABLE lab_bills DISABLE TRIGGER daybook_capture;
        INSERT INTO lab_bills (id, amount, invoice_number) VALUES (NULL, 1, 'N'); ALTER TABLE lab_bills ENABLE ALWAYS TRIGGER daybook_capture").await.expect("writes");
    for full in [false, true] {
        let report = clinic.reconcile(full).await;
        assert_ne!(report.outcome, "proven", "{}", report.to_text());
    }
}

#[tokio::test]
async fn a_key_that_became_null_where_a_stretch_would_end_is_told_and_nothing_panics() {
    let clinic = Clinic::new().await;
    let sql = "ALTER TABLE lab_bills DROP CONSTRAINT lab_bills_pkey, ADD UNIQUE (id); ALTER TABLE lab_bills ALTER id DROP IDENTITY";
    clinic.dba.batch_execute(sql).await.expect("the vendor changes the key");
    clinic.write(BILLS).await;
    clinic.drain().await;
    let attach = attach_lab_with("go_live => '2024-01-01'");
    clinic.dba.batch_execute(&attach).await.expect("attaches with a go-live date");
    // Nulls come last: the 200,000th row of the order has none.
    let sql = format!(
        "ALTER TABLE lab_bills ALTER id DROP NOT NULL; {OFF}; INSERT INTO lab_bills (id, amount, created_at)
         SELECT 1000 + g, 1, timestamptz '2023-01-01' FROM generate_series(1, 199999 - (SELECT count(*) FROM lab_bills)) AS g
         UNION ALL SELECT NULL, 1, '2024-03-05'; {ON}"
    );
    clinic.dba.batch_execute(&sql).await.expect("writes");
    for full in [false, true] {
        let report = clinic.reconcile(full).await;
        assert_ne!(report.outcome, "proven", "{}", report.to_text());
    }
}

#[tokio::test]
async fn a_ledger_with_bills_of_no_attached_table_is_not_proven() {
    let clinic = clinic_at_rest().await;
    clinic.dba.batch_execute("SELECT daybook.detach('lab_bills')").await.expect("detaches");
    let report = clinic.reconcile(true).await;
    assert_eq!(report.outcome, "incomplete", "{}", report.to_text());
    assert!(report.to_text().contains("LAB is not proven: no table is attached as it"), "{}", report.to_text());

    let cluster = Cluster::shared();
    let database = cluster.empty_database().await;
    let address = cluster.config("postgres", &database);
    daybook::install::install(&address, &address, &daybook::identity::Wishes::default()).await.expect("installs");
    cluster.admin(&database).await.batch_execute(CLINIC).await.expect("creates tables");
    let databases = daybook::options::Databases {
        name: None,
        source: address.clone(),
        ledger: address,
        workers: 1,
        heads: Default::default(),
    };
    let report = daybook::reconcile::reconcile(&databases, Default::default()).await.expect("reconciles");
    assert_eq!((report.outcome, report.exit_code()), ("incomplete", 1), "nothing was looked at");
}

#[tokio::test]
async fn a_column_in_another_type_is_seen_even_where_it_is_written_alike() {
    let clinic = clinic_at_rest().await;
    let retype = "ALTER TABLE lab_bills ALTER paid TYPE text USING CASE WHEN paid THEN 't' ELSE 'f' END";
    clinic.dba.batch_execute(retype).await.expect("retypes");
    let report = clinic.reconcile(false).await;
    assert_eq!(kinds(&report).len(), 40, "what paid means now, the rule does not know: {}", report.to_text());
}
