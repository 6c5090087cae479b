//! Every command in `docs/` runs as it stands there, one after the other, as its reader would run it.

use std::path::Path;
use std::process::{Command, Stdio};

use crate::harness::{CLINIC, Cluster, TRIGGERS};
use daybook::identity::Wishes;
use daybook::install::install;

/// The commands of a page: its `sh` blocks, in their order. Other blocks are only shown, and hold none.
fn commands(page: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs").join(page);
    let text = std::fs::read_to_string(path).expect("reads");
    let mut commands = String::new();
    let mut fence: Option<&str> = None;
    for line in text.lines() {
        match (fence, line.strip_prefix("```")) {
            (None, Some(kind)) => {
                assert!(["sh", "text", "ini", "toml"].contains(&kind), "{page}: a block of {kind:?} is run by nobody");
                fence = Some(kind);
            }
            (Some(_), Some(_)) => fence = None,
            (Some("sh"), None) => commands.push_str(&format!("{line}\n")),
            _ => {}
        }
    }
    assert!(commands.lines().count() > 10, "{page} has commands");
    commands
}

/// Runs a page in a folder of its own, beside what the repository has.
fn read(page: &str, database: &str, variables: &[(&str, String)]) {
    let folder = std::env::temp_dir().join(format!("daybook-docs-{}-{database}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("makes a folder");
    let repository = Path::new(env!("CARGO_MANIFEST_DIR"));
    let _ = std::os::unix::fs::symlink(repository.join("triggers"), folder.join("triggers"));
    let ours = Path::new(env!("CARGO_BIN_EXE_daybook")).parent().expect("a folder");
    let path = format!("{}:{}", ours.display(), std::env::var("PATH").unwrap_or_default());
    let script = format!("set -euo pipefail\nset -x\n{}", commands(page));
    let mut command = Command::new("bash");
    command.args(["-c", &script]).current_dir(&folder).env("PATH", path).stdin(Stdio::null());
    command
        .env_remove("DAYBOOK_SOURCE_URL")
        .env_remove("DAYBOOK_LEDGER_URL")
        .envs(variables.iter().map(|(k, v)| (k, v)));
    let output = command.output().expect("runs");
    let _ = std::fs::remove_dir_all(&folder);
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{page}: {}\n{told}", String::from_utf8_lossy(&output.stdout));
    assert!(!told.contains("panicked"), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_command_of_the_dbas_page_runs_from_installing_to_removing_without_trace() {
    let cluster = Cluster::start_with(&["max_connections=60"]); // as durable as a clinic's
    let admin = cluster.admin("postgres").await;
    admin.batch_execute("CREATE DATABASE clinic").await.expect("creates");
    let dba = cluster.admin("clinic").await;
    dba.batch_execute(CLINIC).await.expect("creates the bill tables");
    let bill = "INSERT INTO lab_bills (id, amount, invoice_number) VALUES (1, 10, 'A')";
    dba.batch_execute(bill).await.expect("writes");
    let trace = "SELECT (SELECT count(*) FROM pg_trigger WHERE NOT tgisinternal) || ' ' || coalesce(string_agg(relacl::text, ',' ORDER BY relname), '') || ' '
                 || coalesce((SELECT string_agg(attacl::text, ',') FROM pg_attribute WHERE attacl IS NOT NULL AND attrelid > 16384), '')
                 FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relname <> 'physio_sessions'";
    let before: String = dba.query_one(trace, &[]).await.expect("looks").get(0);
    let url = |database: &str| cluster.server.url("postgres", database);
    let variables = [("SOURCE", url("clinic")), ("MOVED", url("clinic_moved"))];
    read("dba.md", "clinic", &variables);
    // The journal's own guards stay with the ledger; drop it to see that nothing else is left.
    dba.batch_execute("DROP SCHEMA ledger CASCADE").await.expect("drops the ledger");
    assert_eq!(dba.query_one(trace, &[]).await.expect("looks").get::<_, String>(0), before);
    let moved = cluster.admin("clinic_moved").await;
    let posted = "SELECT count(*) FROM ledger.trial_balance WHERE balance <> 0";
    assert_eq!(moved.query_one(posted, &[]).await.expect("looks").get::<_, i64>(0), 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_command_of_the_controllers_page_runs_as_the_controller() {
    let cluster = Cluster::start_with(&["max_connections=60"]); // as durable as a clinic's
    let admin = cluster.admin("postgres").await;
    admin.batch_execute("CREATE DATABASE clinic").await.expect("creates");
    let config = cluster.config("postgres", "clinic");
    let wishes = Wishes { time_zone: Some("Asia/Kolkata".into()), ..Wishes::default() };
    install(&config, &config, &wishes).await.expect("installs");
    let dba = cluster.admin("clinic").await;
    dba.batch_execute(CLINIC).await.expect("creates the bill tables");
    dba.batch_execute(TRIGGERS[2]).await.expect("attaches");
    let sql = "INSERT INTO lab_bills (id, amount, invoice_number, created_at) SELECT g, 10 * g, 'A', '2024-01-15'::date + 20 * g FROM generate_series(1, 12) AS g;
               CREATE ROLE controller LOGIN; GRANT daybook_controller, daybook_reader TO controller; GRANT SELECT ON lab_bills TO controller";
    dba.batch_execute(sql).await.expect("writes");
    let databases = daybook::options::Databases {
        name: None,
        source: config.clone(),
        ledger: config,
        workers: 1,
        heads: Default::default(),
    };
    daybook::consumer::drain(databases, std::time::Duration::from_secs(30)).await.expect("drains");
    let url = cluster.server.url("controller", "clinic");
    read("controller.md", "controller", &[("DAYBOOK_SOURCE_URL", url)]);
}

#[test]
fn the_rules_in_the_pages_are_usable() {
    for page in ["rules.md", "dba.md"] {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs").join(page);
        let text = std::fs::read_to_string(path).expect("reads");
        let rules: Vec<&str> = text.split("\nreference_type").skip(1).collect();
        assert!(!rules.is_empty(), "{page}");
        for rule in rules {
            let rule = rule.split("\n```").next().and_then(|rule| rule.split("\nTOML").next()).expect("a rule");
            let compiled = daybook::posting::rule::Rule::parse(&format!("reference_type{rule}\n"));
            assert!(compiled.is_ok_and(|rule| rule.table.is_some() && !rule.key.is_empty()), "{page}");
        }
    }
}
