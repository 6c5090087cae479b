//! House rules that can be checked.

use std::path::{Path, PathBuf};

use daybook::sql;
use tokio_postgres::types::Type;

use crate::harness::Clinic;

fn files(folder: &str, extension: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).expect("lists").flatten() {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|of| of == extension) {
                found.push(path);
            }
        }
    }
    found
}

#[tokio::test]
async fn every_statement_can_be_prepared_against_a_fresh_installation_as_the_consumer() {
    let clinic = Clinic::new().await;
    clinic.dba.batch_execute("SET ROLE daybook_consumer").await.expect("sets the role");
    clinic.dba.batch_execute(sql::stream::MAKE_SPILL).await.expect("makes the table that the stream makes");
    for (file, statement) in sql::ALL.iter().chain(sql::reconcile::ALL).chain(sql::stream::ALL) {
        clinic.dba.prepare(statement).await.unwrap_or_else(|error| panic!("{file}: {error:?}"));
    }
    let of_types = clinic.dba.prepare(sql::CLAIM_DUE).await.expect("prepares");
    assert_eq!(of_types.params(), [Type::TEXT, Type::INT8]);
}

#[test]
fn every_file_of_sql_begins_with_its_purpose_and_is_used() {
    let sources: String = files("src", "rs")
        .iter()
        .chain(&files("tests", "rs"))
        .map(|path| std::fs::read_to_string(path).expect("reads"))
        .collect();
    for path in files("sql", "sql") {
        let text = std::fs::read_to_string(&path).expect("reads");
        assert!(text.starts_with("-- Purpose: "), "{}", path.display());
        let name = path.file_name().expect("a name").to_string_lossy().into_owned();
        assert!(sources.contains(&name), "{} is not used", path.display());
    }
}

#[test]
fn money_never_passes_through_a_float() {
    for path in files("src", "rs") {
        let place = path.display().to_string();
        if ["posting", "ledger", "capture", "synchronise", "queue", "key", "report", "reconcile"]
            .iter()
            .any(|room| place.contains(&format!("src/{room}")))
        {
            let text = std::fs::read_to_string(&path).expect("reads");
            for line in text.lines().filter(|line| !line.contains("delay_seconds")) {
                assert!(!line.contains("f64") && !line.contains("f32"), "{place}: {line}");
            }
        }
    }
}

#[test]
fn nothing_notifies_inside_the_applications_transaction() {
    for path in files("sql", "sql").iter().chain(&files("triggers", "sql")) {
        let text = std::fs::read_to_string(path).expect("reads").to_uppercase();
        assert!(!text.contains("NOTIFY ") && !text.contains("PG_NOTIFY"), "{}", path.display());
    }
}

/// The README lists each promise with the test that shows it; those tests exist.
#[test]
fn the_readme_names_tests_that_exist() {
    let readme = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md")).expect("reads");
    let tests: String = files("tests", "rs").iter().map(|path| std::fs::read_to_string(path).expect("reads")).collect();
    let named: Vec<&str> = readme
        .split('`')
        .filter(|word| {
            word.contains('_')
                && word.matches('_').count() >= 4
                && word.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
        })
        .collect();
    assert!(named.len() >= 10, "the README names its tests: {named:?}");
    for name in named {
        assert!(tests.contains(&format!("fn {name}(")), "{name}");
    }
}

/// Messages are written to databases of any encoding.
#[test]
fn messages_are_plain_ascii() {
    for path in files("src", "rs") {
        let text = std::fs::read_to_string(&path).expect("reads");
        for line in text.lines().filter(|line| !line.trim_start().starts_with("//")) {
            let line = line.split(" // ").next().unwrap_or_default();
            assert!(line.is_ascii(), "{}: {line}", path.display());
        }
    }
}
