//! Names that need quoting, through everything that a person does with a table.

use daybook::database::{quote_identifier, quote_literal};

use crate::command_line::{run, url};
use crate::harness::Clinic;

/// Schema, table, key, second key, amount, date, mode. Some are of 63 bytes, the longest that there are.
const NAMES: [[&str; 7]; 3] = [
    ["Caja \"Nº 1\"", "Factura.\"Ñ\".x", "Año", "número; drop", "Importe %s {} $1", "Fecha'", "modo\\"],
    ["select", "Mixed Case", "user", "ID", "Id", "iD", "where"],
    [
        "ssssssssssssssssssssssssssssssssssssssssssssssssssssssssssssss\"",
        "日本語日本語日本語日本語日本語日本語日本",
        "ẞẞẞẞẞẞẞẞẞẞẞẞẞẞẞẞẞẞẞẞẞ",
        "--/*",
        "\u{202e}umu\u{301}",
        "😷",
        "ctid\n",
    ],
];

#[tokio::test(flavor = "multi_thread")]
async fn a_table_whatever_its_names_is_attached_checked_posted_switched_traced_and_detached() {
    let clinic = Clinic::new().await;
    let url = url(&clinic);
    let folder = std::env::temp_dir().join(format!("daybook-names-{}-{}", std::process::id(), clinic.database));
    std::fs::create_dir_all(&folder).expect("creates");
    let ok = |arguments: &[&str]| {
        let (code, stdout, stderr) = run(&[arguments, &["--source-url", &url]].concat());
        assert_eq!(code, Some(0), "{arguments:?}: {stdout}{stderr}");
        stdout
    };
    let mut posted = Vec::new();
    for (at, names) in NAMES.iter().enumerate() {
        let [schema, table, key, second, amount, date, mode] = names.map(quote_identifier);
        let reference_type = format!("ODD_{at}");
        let relation = format!("{schema}.{table}");
        let sql = format!(
            "CREATE SCHEMA {schema}; GRANT USAGE ON SCHEMA {schema} TO desk;
             CREATE TABLE {relation} ({key} int, {second} text, {amount} numeric, {date} timestamptz, {mode} text, PRIMARY KEY ({key}, {second}));
             GRANT ALL ON {relation} TO desk; INSERT INTO {relation} VALUES (1, 'before', 10, '2024-03-05 12:00+00', 'cash')"
        );
        clinic.dba.batch_execute(&sql).await.unwrap_or_else(|error| panic!("{sql}: {error:?}"));
        let toml = |text: &str| serde_json::to_string(text).expect("quotes");
        let rule = format!(
            "reference_type = {}\ntable = {}\nkey = [{}, {}]\ndate = {}\n[[amounts]]\nname = \"charged\"\nfirst_of = [{}]\n\
             [[accounts.paid]]\ncolumn = {}\nmap = {{ cash = \"1000\" }}\n\
             [[lines]]\ndebit = \"charged\"\naccount_from = \"paid\"\n[[lines]]\ncredit = \"charged\"\naccount = \"4000\"\n",
            toml(&reference_type),
            toml(&relation),
            toml(names[2]),
            toml(names[3]),
            toml(names[5]),
            toml(names[4]),
            toml(names[6])
        );
        let file = folder.join(format!("{at}.toml"));
        std::fs::write(&file, rule).expect("writes");
        let file = file.to_str().expect("a path");
        assert!(ok(&["rules", "check", file]).contains("1 rows would be posted"));
        ok(&["attach", file]);
        ok(&["rules", "apply", file]);
        ok(&["backfill", &reference_type]);
        clinic.write(&format!("INSERT INTO {relation} VALUES (2, 'after', 10, '2024-03-05 12:00+00', 'cash')")).await;
        posted.push((relation, reference_type));
    }
    ok(&["drain"]);
    for ((relation, reference_type), names) in posted.iter().zip(&NAMES) {
        ok(&["suspend", relation]);
        let (key, amount) = (quote_identifier(names[2]), quote_identifier(names[4]));
        clinic.write(&format!("UPDATE {relation} SET {amount} = 12 WHERE {key} = 1")).await;
        ok(&["resume", reference_type]);
    }
    ok(&["drain"]);
    for (relation, reference_type) in &posted {
        for (id, balance) in [("before", "12.00"), ("after", "10.00")] {
            let id = format!(r#"["{}", "{id}"]"#, if id == "before" { 1 } else { 2 });
            assert_eq!(
                clinic.balances(reference_type, &id).await,
                format!("1000 {balance}, 4000 -{balance}"),
                "{relation}"
            );
            assert!(ok(&["trace", reference_type, &id.replace(", ", ",")]).contains(balance));
        }
    }
    let (_, findings, _) = run(&["doctor", "--source-url", &url]);
    let errors: Vec<&str> =
        findings.lines().filter(|line| line.starts_with("ERROR") && !line.contains("fsync")).collect();
    assert!(errors.is_empty(), "{findings}");
    for (relation, _) in &posted {
        let detach = format!("SELECT daybook.detach({})", quote_literal(relation));
        clinic.dba.batch_execute(&detach).await.unwrap_or_else(|error| panic!("{relation}: {error:?}"));
        let trace = format!(
            "SELECT count(*) FROM (SELECT FROM pg_trigger WHERE tgrelid = {0}::regclass UNION ALL
                 SELECT FROM pg_attribute WHERE attrelid = {0}::regclass AND attacl IS NOT NULL AND attacl::text LIKE '%daybook%') AS t",
            quote_literal(relation)
        );
        assert_eq!(clinic.text(&trace).await, "0", "{relation}");
    }
    std::fs::remove_dir_all(folder).expect("removes");
}
