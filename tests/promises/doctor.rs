//! `daybook doctor`: what is wrong is found, and what it advises mends it. Each illness is brought about in a real database, the
//! advice is said as it stands, and doctor is then content.

mod before;
mod cluster;
mod pooler;
mod schemas;
mod tables;
mod work;

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;

use daybook::address::Address;
use daybook::doctor::finding::{Finding, Place, Severity};
use daybook::doctor::{Limits, examine};
use daybook::options::Databases;
use tokio_postgres::Client;

use crate::harness::Clinic;

/// A source and a ledger, however they came about.
struct Patient<'a> {
    databases: Databases,
    source_url: String,
    ledger_url: String,
    dba: &'a Client,
    accountant: &'a Client,
    limits: Limits,
    /// What the editor that some advice opens does to the file: a command of sed.
    edit: String,
}

fn url(config: &Address) -> String {
    let host = match config.get_hosts().first() {
        Some(tokio_postgres::config::Host::Unix(path)) => path.display().to_string(),
        _ => panic!("test servers listen on sockets"),
    };
    let port = config.get_ports().first().copied().unwrap_or(5432);
    let (user, database) = (config.get_user().unwrap_or_default(), config.get_dbname().unwrap_or_default());
    format!("host={host} port={port} user={user} dbname={database}")
}

impl<'a> Patient<'a> {
    fn of(clinic: &'a Clinic) -> Patient<'a> {
        Patient::with(&clinic.source, &clinic.ledger, &clinic.dba, &clinic.accountant)
    }

    fn with(source: &Address, ledger: &Address, dba: &'a Client, accountant: &'a Client) -> Patient<'a> {
        Patient {
            databases: Databases {
                name: None,
                source: source.clone(),
                ledger: ledger.clone(),
                workers: 2,
                heads: Default::default(),
            },
            source_url: url(source),
            ledger_url: url(ledger),
            dba,
            accountant,
            limits: Limits::default(),
            edit: String::new(),
        }
    }

    /// Everything but what is so on purpose: the servers of tests do not write durably, and tables that were attached empty were
    /// never enqueued as a whole.
    async fn findings(&self) -> Vec<Finding> {
        let began: chrono::DateTime<chrono::Utc> =
            self.dba.query_one("SELECT clock_timestamp()", &[]).await.expect("tells the time").get(0);
        let report = examine(&self.databases, &self.limits).await.expect("looks");
        assert!(report.ok.len() > 10, "{:?}", report.ok);
        self.await_end_of_sessions(began).await;
        let is_on_purpose = |finding: &Finding| match finding.check {
            "settings" => finding.fix.contains("command line"),
            "backfill" => true,
            _ => false,
        };
        report.findings.into_iter().filter(|finding| !is_on_purpose(finding)).collect()
    }

    /// A server ends the sessions of a look a moment after it, and counts them among its connections until then.
    async fn await_end_of_sessions(&self, began: chrono::DateTime<chrono::Utc>) {
        let left = "SELECT count(*) FROM pg_stat_activity
                    WHERE datname = current_database() AND application_name = 'daybook' AND backend_start > $1";
        for _ in 0..100 {
            if self.dba.query_one(left, &[&began]).await.expect("counts sessions").get::<_, i64>(0) == 0 {
                return;
            }
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    }

    /// Says what is advised, as it stands: SQL statement by statement, commands to a shell.
    async fn obey(&self, finding: &Finding) {
        let client = match finding.fix_in {
            Place::Source => self.dba,
            Place::Ledger => self.accountant,
            Place::Shell => return self.shell(&finding.fix),
        };
        for statement in finding.fix.lines() {
            assert!(statement.ends_with(';'), "{finding:?}");
            client.batch_execute(statement).await.unwrap_or_else(|error| panic!("{error:?}\n{finding:?}"));
        }
    }

    fn shell(&self, command: &str) {
        let folder = Folder::new();
        let editor = folder.0.join("editor");
        std::fs::write(&editor, format!("#!/bin/sh\nsed -i -e '{}' \"$1\"\n", self.edit)).expect("writes");
        std::fs::set_permissions(&editor, std::fs::Permissions::from_mode(0o700)).expect("may be run");
        let program = PathBuf::from(env!("CARGO_BIN_EXE_daybook"));
        let programs = program.parent().expect("a folder").display();
        let output = Command::new("sh")
            .args(["-c", command])
            .current_dir(&folder.0)
            .env("PATH", format!("{programs}:{}", std::env::var("PATH").unwrap_or_default()))
            .env("DAYBOOK_SOURCE_URL", &self.source_url)
            .env("DAYBOOK_LEDGER_URL", &self.ledger_url)
            .env("EDITOR", &editor)
            .output()
            .expect("runs");
        assert!(output.status.success(), "{command}: {}", String::from_utf8_lossy(&output.stderr));
    }

    /// Makes it ill on the source, and cures it by what doctor advises.
    async fn source(&self, illness: &str, expected: &[(&str, Severity)]) {
        self.dba.batch_execute(illness).await.unwrap_or_else(|error| panic!("{error:?}\n{illness}"));
        self.cure(illness, expected).await;
    }

    /// The same on the ledger.
    async fn ledger(&self, illness: &str, expected: &[(&str, Severity)]) {
        self.accountant.batch_execute(illness).await.unwrap_or_else(|error| panic!("{error:?}\n{illness}"));
        self.cure(illness, expected).await;
    }

    /// Doctor finds these, and nothing else; obeying it once leaves nothing to find.
    async fn cure(&self, illness: &str, expected: &[(&str, Severity)]) {
        let findings = self.findings().await;
        let mut found: Vec<(&str, Severity)> =
            findings.iter().map(|finding| (finding.check, finding.severity)).collect();
        let mut expected = expected.to_vec();
        found.sort();
        expected.sort();
        assert_eq!(found, expected, "{illness}\n{findings:#?}");
        for finding in &findings {
            self.obey(finding).await;
        }
        let left = self.findings().await;
        assert!(left.is_empty(), "after\n{illness}\nand\n{findings:#?}\nthere is\n{left:#?}");
    }

    async fn is_content(&self) {
        assert_eq!(self.findings().await, []);
    }
}

/// A working directory that is gone afterwards.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Folder {
        static NEXT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
        let number = NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("daybook-doctor-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&path).expect("makes a directory");
        Folder(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

const ERROR: Severity = Severity::Error;
const WARNING: Severity = Severity::Warning;
const INFO: Severity = Severity::Info;
