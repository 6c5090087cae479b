//! The program as its users run it: exit codes, one clear line, and nothing left behind.

use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use crate::harness::{Clinic, Cluster};

pub fn daybook(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_daybook"));
    command.args(arguments).env_remove("DAYBOOK_SOURCE_URL").env_remove("DAYBOOK_LEDGER_URL").current_dir("/");
    command.stdin(Stdio::null());
    command
}

pub fn run(arguments: &[&str]) -> (Option<i32>, String, String) {
    let Output { status, stdout, stderr } = daybook(arguments).output().expect("runs");
    (status.code(), String::from_utf8_lossy(&stdout).into(), String::from_utf8_lossy(&stderr).into())
}

pub fn url(clinic: &Clinic) -> String {
    Cluster::shared().server.url("postgres", &clinic.database)
}

#[tokio::test(flavor = "multi_thread")]
async fn every_exit_code_has_its_reason_and_one_clear_line() {
    let clinic = Clinic::new().await;
    let cluster = Cluster::shared();
    let empty = cluster.server.url("postgres", &cluster.empty_database().await);
    let url = url(&clinic);
    let login = format!("login_{}", clinic.database);
    let hba = cluster.server.directory().join("data/pg_hba.conf");
    let rules = std::fs::read_to_string(&hba).expect("reads");
    std::fs::write(&hba, format!("local all {login}_scram scram-sha-256\n{rules}")).expect("writes");
    let sql =
        format!("CREATE ROLE {login} LOGIN; CREATE ROLE {login}_scram LOGIN PASSWORD 'right'; SELECT pg_reload_conf()");
    clinic.dba.batch_execute(&sql).await.expect("creates roles");
    tokio::time::sleep(Duration::from_millis(300)).await;
    let as_login = cluster.server.url(&login, &clinic.database);
    let wrong_password = format!("{} password=wrong", cluster.server.url(&format!("{login}_scram"), &clinic.database));
    let no_database = cluster.server.url("postgres", "nowhere");
    let table: Vec<(Vec<&str>, i32, &str)> = vec![
        (vec!["drain"], 2, "which database?"),
        (vec!["drain", "--source-url", "mysql://x"], 2, "not a PostgreSQL connection string"),
        (vec!["drain", "--source-url", &url, "--workers", "0"], 2, "1 to 64"),
        (vec!["drain", "--source-url", &url, "--timeout", "-1"], 2, ""),
        (vec!["drain", "--config", "/nonexistent/daybook.toml"], 2, "cannot read /nonexistent"),
        (vec!["frobnicate"], 2, "unrecognized subcommand"),
        (vec!["install", "--source-url", &empty, "--time-zone", "Nowhere"], 2, "knows no time zone"),
        (vec!["uninstall", "--source-url", &empty, "--ledger"], 2, "--ledger --yes"),
        (
            vec!["status", "--source-url", "postgresql://x@127.0.0.1:1/x"],
            3,
            "cannot connect to the source database (host 127.0.0.1, port 1, user x, database x): Connection refused",
        ),
        (vec!["drain", "--source-url", "postgresql://x@127.0.0.1:1/x"], 3, "cannot connect to the source database"),
        (vec!["drain", "--source-url", &no_database], 3, "database \"nowhere\" does not exist"),
        (vec!["drain", "--source-url", &wrong_password], 3, "password authentication failed"),
        (vec!["drain", "--source-url", &empty], 3, "daybook is not installed in the source database"),
        (vec!["status", "--source-url", &empty], 3, "daybook is not installed"),
        (vec!["drain", "--source-url", &as_login], 3, "may not act as daybook_consumer"),
        (vec!["install", "--source-url", &as_login], 3, "installing and uninstalling take a superuser"),
        (vec!["status", "--source-url", &as_login], 3, "permission denied"),
        (vec!["drain", "--source-url", &url], 0, ""),
        (vec!["status", "--source-url", &url], 0, ""),
        (vec!["install", "--source-url", &url], 0, ""),
        (
            vec!["drain", "--source-url", &url, "--ledger-url", "postgresql://x@127.0.0.1:1/x"],
            3,
            "cannot connect to the ledger database",
        ),
        (vec!["status", "--source-url", &url], 1, ""), // that is alerted
    ];
    for (arguments, code, part) in table {
        let (exit, _, stderr) = run(&arguments);
        assert_eq!(exit, Some(code), "{arguments:?}: {stderr}");
        assert!(stderr.contains(part), "{arguments:?}: {stderr}");
        assert!(!stderr.contains("panicked"), "{arguments:?}: {stderr}");
        if code == 3 {
            assert_eq!(stderr.trim_end().lines().count(), 1, "{arguments:?}: {stderr}");
        }
    }
    clinic
        .write("INSERT INTO lab_bills (id, amount, payment_mode, invoice_number) VALUES (1, 10, 'barter', 'A')")
        .await;
    let (exit, stdout, stderr) = run(&["drain", "--source-url", &url]);
    assert_eq!((exit, stdout.trim()), (Some(1), "1 events finished, 1 bills parked, 0 events left"), "{stderr}");
    assert_eq!(run(&["status", "--source-url", &url]).0, Some(1));
    let json: serde_json::Value =
        serde_json::from_str(&run(&["status", "--source-url", &url, "--json"]).1).expect("is JSON");
    assert_eq!(json["tables"][1]["reference_type"], "LAB");
    assert_eq!(json["tables"][1]["parked"], 1);
    clinic.dba.batch_execute("ALTER TABLE lab_bills RENAME amount TO price").await.expect("renames");
    clinic.write("UPDATE lab_bills SET price = 1").await;
    let (exit, _, stderr) = run(&["drain", "--source-url", &url, "--timeout", "0.3"]);
    assert_eq!(exit, Some(4), "{stderr}");
    assert!(
        stderr.contains("column amount of public.lab_bills is gone") && stderr.contains("gave up after 0.3 s"),
        "{stderr}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn run_posts_until_a_signal_and_then_finishes_its_batch() {
    let clinic = Clinic::new().await;
    let file = std::env::temp_dir().join(format!("daybook-test-{}-{}.toml", std::process::id(), clinic.database));
    std::fs::write(&file, format!("source_url = {:?}\nworkers = 1\n", url(&clinic))).expect("writes");
    let mut running =
        daybook(&["run", "--config", file.to_str().expect("a path")]).stderr(Stdio::piped()).spawn().expect("starts");
    clinic
        .write("INSERT INTO lab_bills (id, amount, invoice_number) SELECT g, g, 'A' FROM generate_series(1, 20) AS g")
        .await;
    let started = Instant::now();
    while clinic.ledger_text("SELECT count(*) FROM ledger.journal_entries").await != "20" {
        assert!(started.elapsed() < Duration::from_secs(20), "posts");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    signal(&running, "-TERM");
    let status = tokio::task::spawn_blocking(move || running.wait()).await.expect("waits").expect("ends");
    assert_eq!(status.code(), Some(0));
    let _ = std::fs::remove_file(file);
}

#[tokio::test(flavor = "multi_thread")]
async fn consumers_killed_again_and_again_lose_nothing_and_post_nothing_twice() {
    let clinic = Clinic::with_ledger_elsewhere().await;
    clinic.configure("queue_batch_size", "20").await;
    clinic.configure("reversal_brake", "100000").await;
    let source = url(&clinic);
    let ledger = Cluster::elsewhere().server.url("postgres", clinic.ledger.get_dbname().expect("a database"));
    for round in 0..8_u64 {
        let mut running = daybook(&["run", "--source-url", &source, "--ledger-url", &ledger]);
        let mut running = running.stderr(Stdio::null()).spawn().expect("starts");
        for step in 0..6 {
            let sql = format!(
                "INSERT INTO lab_bills (amount, invoice_number) SELECT g, 'A' FROM generate_series(1, 60) AS g;
                 UPDATE lab_bills SET amount = amount + 1, payment_mode = 'card' WHERE id % 7 = {step};
                 DELETE FROM lab_bills WHERE id % 31 = {}",
                round + step
            );
            clinic.write(&sql).await;
            tokio::time::sleep(Duration::from_millis(15 + round * 7)).await;
        }
        running.kill().expect("kills with SIGKILL");
        running.wait().expect("is gone");
    }
    clinic.drain().await;
    clinic.assert_ledger_equals_bills().await;
    assert_eq!(
        clinic
            .text("SELECT count(*) FROM (SELECT FROM daybook.sync_audit_log GROUP BY seq HAVING count(*) > 1) AS t")
            .await,
        "0"
    );
}

fn signal(child: &std::process::Child, signal: &str) {
    Command::new("kill").arg(signal).arg(child.id().to_string()).status().expect("signals");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_demo_ends_with_a_ledger_that_equals_its_bills() {
    let (exit, stdout, stderr) = run(&["demo", "--exit", "--bills", "300", "--seed", "7"]);
    assert_eq!(exit, Some(0), "{stdout}{stderr}");
    assert!(
        stdout.contains("the ledger EQUALS the bills") && stdout.contains("the clinic wrote 300 bills"),
        "{stdout}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_demo_on_a_server_of_the_users_leaves_nothing_there() {
    let cluster = Cluster::start();
    let url = cluster.server.url("postgres", "postgres");
    let (exit, stdout, stderr) = run(&["demo", "--exit", "--bills", "100", "--database-url", &url]);
    assert_eq!(exit, Some(0), "{stdout}{stderr}");
    let left = "SELECT (SELECT count(*) FROM pg_database WHERE datname LIKE 'daybook%') + (SELECT count(*) FROM pg_roles WHERE rolname LIKE 'daybook%')";
    let left: i64 = cluster.admin("postgres").await.query_one(left, &[]).await.expect("looks").get(0);
    assert_eq!(left, 0);
}

#[test]
fn the_demo_leaves_nothing_behind_also_after_kill_9() {
    let mut demo = daybook(&["demo", "--bills", "100000000"]);
    let mut demo = demo.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("starts");
    let prefix = format!("daybook-pg-{}-", demo.id());
    let directory = || {
        let entries = std::fs::read_dir(std::env::temp_dir()).expect("lists").flatten();
        entries
            .map(|entry| entry.path())
            .find(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(&prefix)))
    };
    let started = Instant::now();
    let (directory, server) = loop {
        assert!(started.elapsed() < Duration::from_secs(60), "the demo's server starts");
        let found = directory().and_then(|path| {
            let pid = std::fs::read_to_string(path.join("data/postmaster.pid")).ok()?.lines().next()?.to_string();
            Some((path, pid))
        });
        match found {
            Some(found) => break found,
            None => std::thread::sleep(Duration::from_millis(50)),
        }
    };
    std::thread::sleep(Duration::from_millis(500));
    demo.kill().expect("kills with SIGKILL");
    demo.wait().expect("is gone");
    let started = Instant::now();
    while directory.exists() || Path::new(&format!("/proc/{server}")).exists() {
        assert!(started.elapsed() < Duration::from_secs(20), "{} and process {server} are gone", directory.display());
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn help_and_version_are_there() {
    assert_eq!(run(&["--version"]).0, Some(0));
    let (exit, stdout, _) = run(&["--help"]);
    assert_eq!(exit, Some(0));
    for command in ["install", "uninstall", "run", "drain", "status", "demo"] {
        assert!(stdout.contains(command));
    }
}
