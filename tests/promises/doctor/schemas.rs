//! What stands in the schemas daybook and ledger: functions, guards, owners, rights.

use super::{ERROR, Patient, WARNING};
use crate::harness::Clinic;

#[tokio::test(flavor = "multi_thread")]
async fn doctor_is_content_with_what_install_makes_in_one_database_and_in_two() {
    Patient::of(&Clinic::new().await).is_content().await;
    Patient::of(&Clinic::with_ledger_elsewhere().await).is_content().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn doctor_finds_functions_that_are_not_as_installed_and_its_advice_mends_them() {
    let clinic = Clinic::with_ledger_elsewhere().await;
    let patient = Patient::of(&clinic);
    let functions = [("functions", ERROR)];
    patient.source("ALTER FUNCTION daybook.resolve(text, text, text) SET search_path = public", &functions).await;
    patient.source("ALTER FUNCTION daybook.refresh_capture(text) SECURITY INVOKER", &functions).await;
    patient.source("DROP FUNCTION daybook.retry(text, text)", &functions).await;
    patient
        .source("CREATE OR REPLACE FUNCTION daybook.key_text(integer) RETURNS text LANGUAGE sql IMMUTABLE AS 'SELECT ''1'''", &functions)
        .await;
    patient.source("CREATE FUNCTION daybook.mine() RETURNS int LANGUAGE sql AS 'SELECT 1'; REVOKE EXECUTE ON FUNCTION daybook.mine FROM PUBLIC", &[("functions", WARNING), ("owners", ERROR)]).await;
    patient
        .ledger(
            "CREATE OR REPLACE FUNCTION ledger.refuse_change() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'",
            &functions,
        )
        .await;
    patient.ledger("ALTER FUNCTION ledger.seal_lines() RESET enable_seqscan", &functions).await;
    let gone = [("functions", ERROR), ("guards", ERROR)];
    patient.ledger("DROP FUNCTION ledger.seal_lines() CASCADE", &gone).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn doctor_finds_guards_that_do_not_guard_and_its_advice_puts_them_in_place() {
    let clinic = Clinic::with_ledger_elsewhere().await;
    let patient = Patient::of(&clinic);
    let guards = [("guards", ERROR)];
    for illness in [
        "ALTER TABLE ledger.journal_lines DISABLE TRIGGER append_only",
        "ALTER TABLE ledger.journal_entries ENABLE REPLICA TRIGGER sealed",
        "ALTER TABLE ledger.books ENABLE TRIGGER guard_book",
        "DROP TRIGGER guard_account ON ledger.accounts",
        "DROP TRIGGER refuse_change ON ledger.period_log",
        "DROP TRIGGER append_only ON ledger.journal_lines; CREATE TRIGGER append_only BEFORE UPDATE OR DELETE ON ledger.journal_lines
             FOR EACH STATEMENT EXECUTE FUNCTION ledger.refuse_change(); ALTER TABLE ledger.journal_lines ENABLE ALWAYS TRIGGER append_only",
        "DROP TRIGGER sealed ON ledger.journal_lines; CREATE TRIGGER sealed AFTER INSERT ON ledger.journal_lines
             REFERENCING NEW TABLE AS new_lines FOR EACH STATEMENT WHEN (false) EXECUTE FUNCTION ledger.seal_lines();
         ALTER TABLE ledger.journal_lines ENABLE ALWAYS TRIGGER sealed",
        "CREATE RULE quiet AS ON INSERT TO ledger.journal_lines DO INSTEAD NOTHING",
        "ALTER TABLE ledger.journal_entries ENABLE ROW LEVEL SECURITY",
    ] {
        patient.ledger(illness, &guards).await;
    }
    patient
        .ledger(
            "CREATE FUNCTION public.meddle() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
             CREATE TRIGGER meddle BEFORE INSERT ON ledger.journal_lines FOR EACH ROW EXECUTE FUNCTION public.meddle()",
            &[("guards", WARNING)],
        )
        .await;
    patient.source("ALTER TABLE daybook.sync_configuration DISABLE TRIGGER guard_configuration", &guards).await;
    patient.source("ALTER TABLE daybook.sync_queue ENABLE ROW LEVEL SECURITY", &guards).await;
    let inheritance = [("inheritance", ERROR)];
    patient.ledger("CREATE TABLE public.child () INHERITS (ledger.journal_lines)", &inheritance).await;
    patient
        .ledger("CREATE TABLE public.parent (LIKE ledger.journal_entries); ALTER TABLE ledger.journal_entries INHERIT public.parent", &inheritance)
        .await;
    patient
        .ledger(
            "CREATE TABLE public.whole (LIKE ledger.journal_lines) PARTITION BY LIST (currency);
             ALTER TABLE public.whole ATTACH PARTITION ledger.journal_lines DEFAULT",
            &inheritance,
        )
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn doctor_finds_owners_and_rights_that_are_too_many_or_too_few_and_its_advice_mends_them() {
    let clinic = Clinic::with_ledger_elsewhere().await;
    let patient = Patient::of(&clinic);
    for illness in [
        "ALTER TABLE daybook.sync_alerts OWNER TO postgres",
        "ALTER VIEW daybook.current_alerts OWNER TO postgres",
        "ALTER FUNCTION daybook.resume() OWNER TO postgres",
    ] {
        patient.source(illness, &[("owners", ERROR)]).await;
    }
    // A function of ours then lacks the right to look into its own schema.
    patient.source("ALTER SCHEMA daybook OWNER TO postgres", &[("owners", ERROR), ("incomplete", ERROR)]).await;
    patient.ledger("ALTER SEQUENCE ledger.journal_entry_id OWNER TO postgres", &[("owners", ERROR)]).await;

    let schema_rights = [("schema_rights", ERROR)];
    patient.source("GRANT USAGE ON SCHEMA daybook TO PUBLIC", &schema_rights).await;
    patient.source("GRANT CREATE ON SCHEMA daybook TO desk", &schema_rights).await;
    patient.source("REVOKE USAGE ON SCHEMA daybook FROM daybook_consumer", &schema_rights).await;

    let table_rights = [("table_rights", ERROR)];
    patient.ledger("GRANT INSERT ON ledger.journal_lines TO PUBLIC", &table_rights).await;
    patient.ledger("GRANT UPDATE (debit) ON ledger.journal_lines TO desk", &table_rights).await;
    patient.ledger("GRANT TRUNCATE ON ledger.journal_entries TO daybook_controller", &table_rights).await;
    patient.ledger("REVOKE INSERT ON ledger.journal_entries FROM daybook_consumer", &table_rights).await;
    patient.ledger("REVOKE USAGE ON SEQUENCE ledger.journal_entry_id FROM daybook_consumer", &table_rights).await;
    patient.ledger("GRANT DELETE ON ledger.sources TO desk", &[("table_rights", WARNING)]).await;
    patient.source("GRANT INSERT ON daybook.sync_queue TO desk", &[("table_rights", WARNING)]).await;
    patient.source("REVOKE UPDATE (rules) ON daybook.sync_source FROM daybook_consumer", &table_rights).await;
    patient.source("REVOKE DELETE ON daybook.sync_queue FROM daybook_consumer", &table_rights).await;

    patient
        .ledger(
            "GRANT EXECUTE ON FUNCTION ledger.reopen_period(text, date, text) TO PUBLIC, desk",
            &[("function_rights", WARNING), ("function_rights", WARNING)],
        )
        .await;
    patient
        .source(
            "REVOKE EXECUTE ON FUNCTION daybook.key_text(bigint) FROM daybook_consumer",
            &[("function_rights", ERROR)],
        )
        .await;
}

/// What is dropped for good is told as such, and never a failure.
#[tokio::test(flavor = "multi_thread")]
async fn doctor_tells_versions_that_differ_and_parts_that_are_gone() {
    let clinic = Clinic::with_ledger_elsewhere().await;
    let patient = Patient::of(&clinic);
    let version = [("schema_version", ERROR)];
    let newest = "(SELECT max(version) FROM daybook.schema_history)";
    clinic
        .dba
        .batch_execute(&format!("INSERT INTO daybook.schema_history SELECT version + 1, 'later', '', '1' FROM daybook.schema_history WHERE version = {newest}"))
        .await
        .expect("is newer");
    let findings = patient.findings().await;
    assert_eq!(findings.iter().map(|finding| finding.check).collect::<Vec<_>>(), ["schema_version"]);
    assert!(findings[0].problem.contains("use the program that installed it"), "{findings:?}");
    clinic
        .dba
        .batch_execute(&format!("DELETE FROM daybook.schema_history WHERE version = {newest}"))
        .await
        .expect("is not");
    // An older one: what its last migration made is gone, too.
    patient
        .source(
            &format!(
                "DELETE FROM daybook.schema_history WHERE version = {newest};
                 ALTER TABLE daybook.sync_source DROP COLUMN capture_mode_began_at"
            ),
            &version,
        )
        .await;
    clinic.dba.batch_execute("DROP TABLE daybook.sync_dead_letter CASCADE").await.expect("drops");
    let findings = patient.findings().await;
    assert!(findings.iter().any(|finding| finding.check == "incomplete"), "{findings:?}");
}
