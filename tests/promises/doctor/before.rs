//! Before installing, and with half of it.

use daybook::database::{Side, connect};
use daybook::doctor::finding::{Finding, Place};

use super::{ERROR, INFO, Patient, WARNING};
use crate::harness::Cluster;

#[tokio::test(flavor = "multi_thread")]
async fn before_installing_doctor_says_whether_it_could_be_and_its_advice_installs_it() {
    let (here, there) = (Cluster::shared(), Cluster::elsewhere());
    let (source, ledger) = (here.empty_database().await, there.empty_database().await);
    let (dba, accountant) = (here.admin(&source).await, there.admin(&ledger).await);
    let (source, ledger) = (here.config("postgres", &source), there.config("postgres", &ledger));
    let patient = Patient::with(&source, &ledger, &dba, &accountant);
    let told = async || {
        let mut told: Vec<_> =
            patient.findings().await.into_iter().map(|finding| (finding.check, finding.severity, finding)).collect();
        told.sort_by_key(|(check, severity, _)| (*check, *severity));
        let (names, findings): (Vec<_>, Vec<_>) =
            told.into_iter().map(|(check, severity, finding)| ((check, severity), finding)).unzip();
        (names, findings)
    };
    let (names, _) = told().await;
    assert_eq!(names, [("installed", INFO), ("wal_level", INFO)]);

    // Somebody else's schemas of our names are moved out of the way.
    dba.batch_execute("CREATE SCHEMA daybook CREATE TABLE notes (t text)").await.expect("creates");
    accountant.batch_execute("CREATE SCHEMA ledger").await.expect("creates");
    let (names, findings) = told().await;
    let taken = ("schema_name_taken", ERROR);
    assert_eq!(names, [("installed", INFO), taken, taken, ("wal_level", INFO)]);
    for finding in findings.iter().filter(|finding| finding.check == "schema_name_taken") {
        patient.obey(finding).await;
    }
    let (names, findings) = told().await;
    assert_eq!(names, [("installed", INFO), ("wal_level", INFO)]);
    patient.obey(&findings[0]).await;
    patient.is_content().await;
    assert_eq!(
        dba.query_one("SELECT count(*) FROM daybook_other.notes", &[]).await.expect("is there").get::<_, i64>(0),
        0
    );

    // Half of it: the source is brought in anew.
    patient.source("DROP SCHEMA daybook CASCADE", &[("installed", ERROR), ("wal_level", INFO)]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn before_installing_doctor_looks_at_encodings_zones_and_rights() {
    let cluster = Cluster::shared();
    let source = cluster.empty_database().await;
    let dba = cluster.admin(&source).await;
    let latin = format!("{source}_latin");
    let create = format!("CREATE DATABASE {latin} ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0");
    dba.batch_execute(&create).await.expect("creates");
    let accountant = cluster.admin(&latin).await;
    let patient =
        Patient::with(&cluster.config("postgres", &source), &cluster.config("postgres", &latin), &dba, &accountant);
    let findings = patient.findings().await;
    let encoding = findings.iter().find(|finding| finding.check == "encoding").expect("is found");
    assert_eq!((encoding.severity, encoding.fix_in), (ERROR, Place::Ledger));
    patient.obey(encoding).await;
    let other = format!("{latin}_utf8");
    let accountant = cluster.admin(&other).await;
    let patient =
        Patient::with(&cluster.config("postgres", &source), &cluster.config("postgres", &other), &dba, &accountant);
    assert!(patient.findings().await.iter().all(|finding| finding.severity == INFO));

    // A zone that no other server would know by its name.
    dba.batch_execute(&format!("ALTER DATABASE {source} SET TimeZone = '<+05>-05'")).await.expect("sets");
    let findings = patient.findings().await;
    let zone = findings.iter().find(|finding| finding.check == "zone_of_server").expect("is found");
    assert_eq!(zone.severity, WARNING);
    patient.obey(zone).await;
    patient.is_content().await;
    let book: String = accountant.query_one("SELECT time_zone FROM ledger.books", &[]).await.expect("reads").get(0);
    assert_eq!(book, "Asia/Kolkata");

    let empty = cluster.empty_database().await;
    let login = format!("login_{empty}");
    dba.batch_execute(&format!("CREATE ROLE {login} LOGIN")).await.expect("creates");
    let config = cluster.config(&login, &empty);
    let patient = Patient::with(&config, &config, &dba, &dba);
    let findings = patient.findings().await;
    let rights: Vec<_> = findings.iter().filter(|finding| finding.check == "right_to_install").collect();
    assert_eq!((rights.len(), rights[0].severity), (2, ERROR));
    let withheld = "REVOKE SELECT ON pg_timezone_names FROM public";
    cluster.admin(&empty).await.batch_execute(withheld).await.expect("revokes");
    let findings = patient.findings().await;
    let told = |finding: &Finding| finding.check == "right_to_look" && finding.problem.contains("time zones");
    assert!(findings.iter().any(told), "{findings:?}");
    assert!(connect(Side::Source, &config).await.is_ok());
}
