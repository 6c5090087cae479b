//! Attached tables.

use super::{ERROR, INFO, Patient, WARNING};
use crate::harness::Clinic;

#[tokio::test(flavor = "multi_thread")]
async fn doctor_finds_capture_that_is_not_whole_and_its_advice_makes_it_whole() {
    let clinic = Clinic::new().await;
    let patient = Patient::of(&clinic);
    let triggers = [("capture_triggers", ERROR)];
    for illness in [
        "DROP TRIGGER daybook_capture ON lab_bills",
        "ALTER TABLE lab_bills DISABLE TRIGGER daybook_capture",
        "ALTER TABLE lab_bills ENABLE TRIGGER daybook_capture",
        "ALTER TABLE lab_bills DISABLE TRIGGER ALL",
        "DROP TRIGGER daybook_capture ON lab_bills; CREATE TRIGGER daybook_capture AFTER INSERT ON lab_bills FOR EACH ROW
             EXECUTE FUNCTION daybook.capture_lab(); ALTER TABLE lab_bills ENABLE ALWAYS TRIGGER daybook_capture",
        "DROP TRIGGER daybook_capture ON lab_bills; CREATE TRIGGER daybook_capture AFTER INSERT OR UPDATE OR DELETE ON lab_bills
             FOR EACH ROW EXECUTE FUNCTION daybook.capture_pharmacy(); ALTER TABLE lab_bills ENABLE ALWAYS TRIGGER daybook_capture",
    ] {
        patient.source(illness, &triggers).await;
        assert_eq!(
            clinic.text("SELECT count(*) FROM daybook.sync_queue WHERE reference_type = 'LAB' AND operation = 'reconcile'").await,
            "1",
            "what was lost is looked for, after {illness}"
        );
        clinic.drain().await;
    }
    patient.source("DROP TRIGGER daybook_capture_truncate ON lab_bills", &[("capture_triggers", WARNING)]).await;
    patient
        .source("ALTER TABLE lab_bills DISABLE TRIGGER daybook_capture_truncate", &[("capture_triggers", WARNING)])
        .await;
    let function = [("capture_function", ERROR)];
    for illness in [
        "CREATE OR REPLACE FUNCTION daybook.capture_lab() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'",
        "ALTER FUNCTION daybook.capture_lab() SECURITY INVOKER",
        "ALTER FUNCTION daybook.capture_lab() SET search_path = public",
        "ALTER FUNCTION daybook.capture_lab() OWNER TO postgres",
        "REVOKE EXECUTE ON FUNCTION daybook.capture_lab() FROM PUBLIC",
    ] {
        let expected: &[_] = match illness.contains("OWNER") {
            true => &[("capture_function", ERROR), ("owners", ERROR)],
            false => &function,
        };
        patient.source(illness, expected).await;
    }
    // Together with its triggers.
    let gone = [("capture_function", ERROR), ("capture_triggers", ERROR)];
    patient.source("DROP FUNCTION daybook.capture_lab() CASCADE", &gone).await;
    patient.source("SELECT daybook.suspend('lab_bills')", &[("suspended", WARNING)]).await;
    patient.source("CREATE TABLE kid () INHERITS (lab_bills)", &[("inheriting_tables", ERROR)]).await;
    clinic.write("INSERT INTO lab_bills (id, amount, invoice_number) VALUES (1, 10, 'A')").await;
    clinic.drain().await;
    clinic.assert_ledger_equals_bills().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn doctor_finds_keys_and_columns_that_no_longer_fit_and_its_advice_makes_them_fit() {
    let clinic = Clinic::new().await;
    let mut patient = Patient::of(&clinic);
    patient.source("ALTER TABLE lab_bills ALTER COLUMN id TYPE integer", &[("keys", WARNING)]).await;
    patient.source("ALTER TABLE lab_bills DROP CONSTRAINT lab_bills_pkey", &[("keys", ERROR)]).await;
    patient
        .source(
            "ALTER TABLE lab_bills ALTER COLUMN id DROP IDENTITY, ALTER COLUMN id DROP NOT NULL",
            &[("keys", ERROR)],
        )
        .await;
    patient.source("ALTER TABLE lab_bills ALTER COLUMN id TYPE double precision", &[("keys", ERROR)]).await;
    patient.source("ALTER TABLE lab_bills RENAME COLUMN id TO bill_no", &[("columns", ERROR)]).await;
    patient
        .source(
            "SELECT daybook.attach('lab_bills', 'LAB', ARRAY['bill_no'], ARRAY['payment_mode'])",
            &[("columns", ERROR)],
        )
        .await;
    patient
        .source(
            "CREATE TYPE odd AS (a text); ALTER TABLE lab_bills ALTER COLUMN payment_mode TYPE odd USING ROW(payment_mode)::odd",
            &[("columns", ERROR)],
        )
        .await;
    patient.source("REVOKE SELECT (amount) ON lab_bills FROM daybook_consumer", &[("privileges", ERROR)]).await;
    patient.source("CREATE SCHEMA wing; ALTER TABLE lab_bills SET SCHEMA wing", &[("privileges", ERROR)]).await;
    patient.source("ALTER TABLE wing.lab_bills SET SCHEMA public", &[]).await;

    // The editor does what a person would: give the rule the column's new name.
    patient.edit = r#"s/"total_amount"/"sum_total"/g"#.into();
    patient
        .source(
            "ALTER TABLE ultrasound_bills RENAME COLUMN total_amount TO sum_total",
            &[("columns", ERROR), ("columns", ERROR)],
        )
        .await;
    clinic
        .write("INSERT INTO ultrasound_bills (id, sum_total, payment_mode, invoice_number) VALUES (1, 10, 'cash', 'A')")
        .await;
    clinic.drain().await;
    assert_eq!(clinic.entries("ULTRASOUND", "1").await.len(), 1);
    patient.is_content().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn doctor_finds_tables_that_were_dropped_or_repartitioned_and_its_advice_settles_it() {
    let clinic = Clinic::new().await;
    let patient = Patient::of(&clinic);
    patient.source("DROP TABLE ultrasound_bills", &[("dropped", ERROR)]).await;
    assert_eq!(clinic.text("SELECT count(*) FROM daybook.sync_source").await, "3");
    patient
        .source(
            "CREATE TABLE copy (LIKE pharmacy_bills INCLUDING ALL); DROP TABLE pharmacy_bills; ALTER TABLE copy RENAME TO pharmacy_bills",
            &[("dropped", ERROR)],
        )
        .await;
    assert_eq!(clinic.text("SELECT count(*) FROM daybook.sync_source").await, "3");

    let partitioned = "SELECT daybook.detach('lab_bills');
        ALTER TABLE lab_bills RENAME TO old_lab_bills;
        CREATE TABLE lab_bills (LIKE old_lab_bills INCLUDING DEFAULTS, PRIMARY KEY (id)) PARTITION BY RANGE (id);
        CREATE TABLE lab_1 PARTITION OF lab_bills FOR VALUES FROM (0) TO (10);
        CREATE TABLE lab_2 PARTITION OF lab_bills FOR VALUES FROM (10) TO (20)";
    clinic.dba.batch_execute(partitioned).await.expect("partitions");
    clinic.dba.batch_execute(crate::harness::TRIGGERS[2]).await.expect("attaches");
    patient.is_content().await;
    // A new partition lacks the trigger for TRUNCATE. Attaching again takes the partitions up, too.
    patient
        .source(
            "CREATE TABLE lab_3 PARTITION OF lab_bills FOR VALUES FROM (20) TO (30)",
            &[("capture_triggers", WARNING), ("partitions", WARNING)],
        )
        .await;
    patient.source("ALTER TABLE lab_bills DETACH PARTITION lab_2", &[("partitions", WARNING)]).await;
    patient.source("ALTER TABLE lab_1 DISABLE TRIGGER daybook_capture", &[("capture_triggers", ERROR)]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn doctor_finds_rules_and_accounts_that_lack_and_its_advice_brings_them() {
    let clinic = Clinic::with_ledger_elsewhere().await;
    let mut patient = Patient::of(&clinic);
    let replace = "UPDATE ledger.posting_rules SET replaced_at = now(), replaced_by = 'x' WHERE reference_type = 'LAB' AND replaced_at IS NULL";
    patient.ledger(replace, &[("rules", ERROR)]).await;
    let broken = format!(
        "{replace}; INSERT INTO ledger.posting_rules (book, reference_type, version, rule_hash, definition)
         VALUES ('main', 'LAB', 7, encode(sha256('nonsense'), 'hex'), 'nonsense')"
    );
    patient.ledger(&broken, &[("rules", ERROR)]).await;
    patient.ledger("DELETE FROM ledger.accounts WHERE account_code = '4300'", &[("accounts", ERROR)]).await;

    // An account that daybook does not ship: a person says what it is.
    let rule = include_str!("../../../rules/lab.toml").replace("\"4200\"", "\"4399\"");
    assert!(rule.contains("4399"));
    clinic.accountant.batch_execute(replace).await.expect("replaces");
    let apply = "INSERT INTO ledger.posting_rules (book, reference_type, version, rule_hash, definition)
                 VALUES ('main', 'LAB', 9, encode(sha256(convert_to($1, 'UTF8')), 'hex'), $1)";
    clinic.accountant.execute(apply, &[&rule]).await.expect("applies");
    patient.edit = "s/Account 4399/Laboratory/".into();
    patient.cure("a rule with an account of its own", &[("accounts", ERROR)]).await;
    assert_eq!(
        clinic.ledger_text("SELECT account_type FROM ledger.accounts WHERE account_code = '4399'").await,
        "income"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn doctor_tells_of_bills_from_before_attaching_and_backfill_settles_it() {
    let clinic = Clinic::new().await;
    let patient = Patient::of(&clinic);
    clinic.dba.batch_execute("SELECT daybook.detach('lab_bills')").await.expect("detaches");
    clinic.write("INSERT INTO lab_bills (id, amount, invoice_number) VALUES (1, 10, 'A')").await;
    clinic.dba.batch_execute(crate::harness::TRIGGERS[2]).await.expect("attaches");
    // It goes by statistics, since it does not read bills.
    clinic.dba.batch_execute("ANALYZE lab_bills").await.expect("counts");
    let told = async || {
        let report = daybook::doctor::examine(&patient.databases, &patient.limits).await.expect("looks");
        report.findings.into_iter().filter(|finding| finding.check == "backfill").collect::<Vec<_>>()
    };
    let findings = told().await;
    assert_eq!((findings.len(), findings[0].severity, findings[0].fix.as_str()), (1, INFO, "daybook backfill LAB"));
    patient.obey(&findings[0]).await;
    assert_eq!(told().await, []);
    clinic.drain().await;
    clinic.assert_ledger_equals_bills().await;
}
