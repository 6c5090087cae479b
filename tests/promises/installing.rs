//! Installing and uninstalling: reviewed, repeatable, without trace.

use daybook::database::{Side, connect};
use daybook::identity::Wishes;
use daybook::install::{install, print_install, print_uninstall, shipped_migrations, uninstall};

use crate::harness::{CLINIC, Cluster, TRIGGERS, refused};

/// Everything that a database and its cluster hold besides data, as text.
const CATALOG: &str = "SELECT md5(string_agg(item, E'\\n' ORDER BY item)) || ' ' || count(*) FROM (
    SELECT 'role ' || rolname FROM pg_roles
    UNION ALL SELECT 'member ' || roleid::regrole::text || member::regrole::text FROM pg_auth_members
    UNION ALL SELECT 'schema ' || nspname || coalesce(nspacl::text, '') FROM pg_namespace WHERE nspname !~ '^pg_(toast|temp)'
    UNION ALL SELECT 'class ' || oid::regclass::text || relkind::text || coalesce(relacl::text, '') FROM pg_class
              WHERE relnamespace NOT IN (SELECT oid FROM pg_namespace WHERE nspname ~ '^pg_(toast|temp|catalog)')
    UNION ALL SELECT 'column ' || attrelid::regclass::text || attname::text || attacl::text FROM pg_attribute WHERE attacl <> '{}'
    UNION ALL SELECT 'function ' || oid::regprocedure::text || md5(prosrc) || coalesce(proacl::text, '') FROM pg_proc WHERE oid > 16383
    UNION ALL SELECT 'trigger ' || tgname || tgrelid::regclass::text || tgenabled::text FROM pg_trigger WHERE NOT tgisinternal
    UNION ALL SELECT 'event trigger ' || evtname FROM pg_event_trigger
    UNION ALL SELECT 'publication ' || pubname FROM pg_publication) AS items (item)";

async fn catalog(client: &tokio_postgres::Client) -> String {
    client.query_one(CATALOG, &[]).await.expect("reads the catalog").get(0)
}

#[tokio::test]
async fn uninstalling_leaves_no_trace_and_the_ledger_only_where_told() {
    let cluster = Cluster::start(); // of its own, since roles are the cluster's
    let config = cluster.config("postgres", "postgres");
    let client = connect(Side::Source, &config).await.expect("connects");
    client.batch_execute(CLINIC).await.expect("creates the bill tables");
    let before = catalog(&client).await;
    let one = install(&config, &config, &Wishes::default()).await.expect("installs");
    assert!(one.source_migrations > 0 && one.ledger_migrations > 0);
    for attach in TRIGGERS {
        client.batch_execute(attach).await.expect("attaches");
    }
    client
        .batch_execute(
            "INSERT INTO lab_bills (amount) VALUES (1); CREATE ROLE service LOGIN; GRANT daybook_consumer TO service",
        )
        .await
        .expect("writes");
    let installed = catalog(&client).await;
    let two = install(&config, &config, &Wishes::default()).await.expect("installs again");
    assert_eq!((two.source_migrations, two.ledger_migrations), (0, 0));
    assert_eq!(two.identity, one.identity);
    assert_eq!(catalog(&client).await, installed, "twice installed changes nothing");

    // The vendor dropped one of the tables meanwhile.
    client.batch_execute("DROP TABLE ultrasound_bills").await.expect("drops");
    uninstall(&config, &config, false).await.expect("uninstalls from the source");
    let rows = client
        .query_one("SELECT to_regnamespace('daybook') IS NULL, count(*) FROM ledger.posting_rules", &[])
        .await
        .expect("looks");
    assert_eq!((rows.get::<_, bool>(0), rows.get::<_, i64>(1)), (true, 4));
    client.batch_execute("INSERT INTO lab_bills (amount) VALUES (2)").await.expect("the application goes on");
    uninstall(&config, &config, true).await.expect("uninstalls");
    client.batch_execute("DROP ROLE service").await.expect("drops");
    let dropped = CLINIC.find("CREATE TABLE ultrasound_bills").expect("the last of the tables");
    client.batch_execute(&CLINIC[dropped..]).await.expect("the vendor creates it anew");
    assert_eq!(catalog(&client).await, before, "no trace is left");
    uninstall(&config, &config, true).await.expect("uninstalling what is not there does nothing");
}

#[tokio::test]
async fn the_printed_sql_installs_the_same_and_uninstalls_the_same() {
    let cluster = Cluster::shared();
    let (printed, installed) = (cluster.empty_database().await, cluster.empty_database().await);
    let wishes = Wishes { time_zone: Some("UTC".into()), ..Wishes::default() };
    let client = cluster.admin(&printed).await;
    client.batch_execute(&print_install(&wishes).expect("prints")).await.expect("the printed SQL runs");
    let config = cluster.config("postgres", &installed);
    install(&config, &config, &wishes).await.expect("installs");
    let other = cluster.admin(&installed).await;
    assert_eq!(catalog(&client).await, catalog(&other).await);
    let config = cluster.config("postgres", &printed);
    let again = install(&config, &config, &wishes).await.expect("installs over the printed one");
    assert_eq!((again.source_migrations, again.ledger_migrations), (0, 0), "the history of migrations is there");
    client.batch_execute(&print_uninstall(true)).await.expect("the printed SQL uninstalls");
    let empty = cluster.admin(&cluster.empty_database().await).await;
    assert_eq!(catalog(&client).await, catalog(&empty).await);
}

#[tokio::test]
async fn two_installations_at_once_take_turns() {
    let cluster = Cluster::shared();
    let config = cluster.config("postgres", &cluster.empty_database().await);
    let wishes = Wishes::default();
    let (a, b) = tokio::join!(install(&config, &config, &wishes), install(&config, &config, &wishes));
    let (a, b) = (a.expect("installs"), b.expect("installs"));
    let mut migrations = [a.source_migrations, b.source_migrations];
    migrations.sort_unstable();
    let all = daybook::install::shipped_migrations(daybook::database::Side::Source).expect("is known").len();
    assert_eq!(migrations, [0, all]);
}

#[tokio::test]
async fn an_identity_is_fixed_and_nonsense_is_refused_before_anything_is_touched() {
    let cluster = Cluster::shared();
    let config = cluster.config("postgres", &cluster.empty_database().await);
    let wish = |change: fn(&mut Wishes)| {
        let mut wishes = Wishes::default();
        change(&mut wishes);
        wishes
    };
    for (wishes, part) in [
        (wish(|w| w.time_zone = Some("Mars/Olympus".into())), "knows no time zone Mars/Olympus"),
        (wish(|w| w.currency = Some("rupees".into())), "no ISO 4217 code"),
        (wish(|w| w.minor_unit = Some(5)), "0, 2 or 3 decimals"),
        (wish(|w| w.source = Some("main; DROP".into())), "no usable name"),
    ] {
        let error = install(&config, &config, &wishes).await.expect_err("is refused");
        assert!(error.to_string().contains(part), "{error}");
        assert_eq!(error.exit_code(), 2);
    }
    let client = connect(Side::Source, &config).await.expect("connects");
    let schemas =
        client.query_one("SELECT to_regnamespace('daybook') IS NULL AND to_regnamespace('ledger') IS NULL", &[]).await;
    assert!(schemas.expect("looks").get::<_, bool>(0));
    let yen = wish(|w| {
        w.source = Some("site-1".into());
        w.currency = Some("JPY".into());
        w.minor_unit = Some(0);
        w.time_zone = Some("Asia/Tokyo".into());
    });
    install(&config, &config, &yen).await.expect("installs");
    install(&config, &config, &Wishes::default()).await.expect("keeps what is there");
    let error = install(&config, &config, &wish(|w| w.currency = Some("EUR".into()))).await.expect_err("is refused");
    assert!(error.to_string().contains("--currency EUR differs from JPY"), "{error}");
}

/// A member of daybook_owner who owns the bill table needs no superuser to attach it.
#[tokio::test]
async fn a_table_owner_with_membership_attaches_without_being_superuser() {
    let clinic = crate::harness::Clinic::new().await;
    let role = format!("owner_{}", clinic.database);
    let sql = format!(
        "CREATE ROLE {role}; GRANT daybook_owner TO {role}; GRANT CREATE ON SCHEMA public TO {role};
                       SET ROLE {role}; CREATE TABLE own (id int PRIMARY KEY, amount numeric);
                       SELECT daybook.attach('own', 'OWN', ARRAY['id'], ARRAY['amount']); INSERT INTO own VALUES (1, 1);
                       RESET ROLE"
    );
    clinic.dba.batch_execute(&sql).await.expect("attaches");
    assert_eq!(clinic.text("SELECT reference_type || reference_id FROM daybook.sync_queue").await, "OWN1");
    assert_eq!(
        clinic.text("SELECT proowner::regrole FROM pg_proc WHERE proname = 'capture_own'").await,
        "daybook_owner"
    );
    clinic.dba.batch_execute("SELECT daybook.detach('own', discard_unfinished => true)").await.expect("detaches");
    clinic.dba.batch_execute(&format!("DROP OWNED BY {role}; DROP ROLE {role}")).await.expect("drops");
}

#[tokio::test]
async fn only_mapped_columns_can_be_read_by_the_consumer() {
    let clinic = crate::harness::Clinic::new().await;
    clinic
        .dba
        .batch_execute("ALTER TABLE lab_bills ADD COLUMN diagnosis text; SET ROLE daybook_consumer")
        .await
        .expect("sets");
    clinic.dba.batch_execute("SELECT id, amount FROM lab_bills").await.expect("reads mapped columns");
    assert!(refused(&clinic.dba, "SELECT diagnosis FROM lab_bills").await.contains("permission denied"));
    assert!(refused(&clinic.dba, "SELECT * FROM lab_bills").await.contains("permission denied"));
}

/// The tables of the first version, with bills that were posted, are brought to this one and go on.
#[tokio::test(flavor = "multi_thread")]
async fn an_installation_of_the_first_version_is_brought_to_this_one_with_its_data() {
    let cluster = Cluster::shared();
    let database = cluster.empty_database().await;
    let config = cluster.config("postgres", &database);
    let dba = cluster.admin(&database).await;
    let script = daybook::install::print_install(&Wishes::default()).expect("prints");
    // Roles, schemas, and migrations up to 7 of each side, with their history; no function yet.
    let mut first = String::new();
    let mut is_later = false;
    for section in script.split("-- ===== ").skip(1) {
        let (title, body) = section.split_once('\n').expect("a title");
        let version = title
            .split_once("/migrations/V")
            .map(|(_, name)| name.split("__").next().and_then(|n| n.parse::<u32>().ok()));
        match (title, version) {
            (_, Some(Some(version))) => is_later = version > 7,
            ("and its history", _) => {}
            (title, _) => is_later = title.contains("/functions/") || title.contains("after_install"),
        }
        if !is_later {
            first.push_str(body.split("COMMIT;").next().expect("a part"));
        }
    }
    // The chart of that time: accounts had no role, were not counted, and none was for what is over or short.
    first = first.replace(", account_role, counted_as)", ")");
    for later in [
        ", NULL, NULL)",
        ", NULL, 'cash')",
        ", NULL, 'card')",
        ", NULL, 'upi')",
        ", 'receivable', NULL)",
        ", 'over_short', NULL)",
    ] {
        first = first.replace(&format!("{later} ON CONFLICT"), ") ON CONFLICT");
    }
    dba.batch_execute(&first).await.expect("installs the first version");
    let chart = "DELETE FROM ledger.accounts WHERE account_code = '5900'; UPDATE ledger.accounts SET account_name = 'Swipe' WHERE account_code = '1020'";
    dba.batch_execute(chart).await.expect("has a chart");
    let tables = "SELECT string_agg(version::text, ' ' ORDER BY version) FROM ledger.schema_history";
    assert_eq!(dba.query_one(tables, &[]).await.expect("looks").get::<_, String>(0), "1 2 3 4 5 6 7");
    let parked = "INSERT INTO ledger.sync_master_status (book, source, reference_type, reference_id, state, synchronisation) VALUES
                      ('main', 'main', 'LAB', '7', 'retained', 3), ('main', 'main', 'LAB', '8', 'current', 1);
                  INSERT INTO daybook.sync_queue (source, reference_type, reference_id, operation) VALUES ('main', 'LAB', '9', 'insert')";
    dba.batch_execute(parked).await.expect("has worked for a while");
    let installed = install(&config, &config, &Wishes::default()).await.expect("is brought up to date");
    let old_rows_are_not_read = "SELECT NOT convalidated FROM pg_constraint WHERE conrelid = 'daybook.sync_audit_log'::regclass AND conname = 'sync_audit_log_outcome_check'";
    assert!(dba.query_one(old_rows_are_not_read, &[]).await.expect("looks").get::<_, bool>(0));
    let later =
        |side| shipped_migrations(side).expect("is known").iter().filter(|migration| migration.version > 7).count();
    let missing = (later(Side::Source), later(Side::Ledger));
    assert_eq!((installed.source_migrations, installed.ledger_migrations), missing);
    let roles = "SELECT string_agg(concat_ws(' ', account_code, account_role, counted_as), ', ' ORDER BY account_code) FROM ledger.accounts
                 WHERE account_role IS NOT NULL OR counted_as IS NOT NULL";
    // What somebody has renamed may be something else by now.
    assert_eq!(
        dba.query_one(roles, &[]).await.expect("looks").get::<_, String>(0),
        "1000 cash, 1030 upi, 1100 receivable, 5900 over_short"
    );
    let state = "SELECT string_agg(concat_ws(' ', reference_id, state, retained_because), ', ' ORDER BY reference_id) FROM ledger.sync_master_status";
    assert_eq!(dba.query_one(state, &[]).await.expect("looks").get::<_, String>(0), "7 retained truncate, 8 current");
    dba.batch_execute(crate::harness::CLINIC).await.expect("creates the bill tables");
    dba.batch_execute(crate::harness::TRIGGERS[2]).await.expect("attaches");
    dba.batch_execute("INSERT INTO lab_bills (id, amount, invoice_number) VALUES (9, 10, 'A')").await.expect("writes");
    let databases = daybook::options::Databases {
        name: None,
        source: config.clone(),
        ledger: config,
        workers: 1,
        heads: Default::default(),
    };
    let drained = daybook::consumer::drain(databases, std::time::Duration::from_secs(30)).await.expect("drains");
    assert_eq!((drained.unfinished, drained.parked), (0, 0));
    // 7 had no entries to keep: it was looked at again, since the ledger knew bills before the table was attached.
    assert_eq!(dba.query_one(state, &[]).await.expect("looks").get::<_, String>(0), "7 current, 8 current, 9 current");
}

#[tokio::test]
async fn a_source_whose_texts_are_of_any_encoding_is_refused() {
    let cluster = Cluster::shared();
    let create = "CREATE DATABASE ascii TEMPLATE template0 ENCODING 'SQL_ASCII' LC_COLLATE 'C' LC_CTYPE 'C'";
    cluster.admin("postgres").await.batch_execute(create).await.expect("creates");
    let config = cluster.config("postgres", "ascii");
    let error = install(&config, &config, &Wishes::default()).await.expect_err("is refused");
    assert!(error.to_string().contains("encoded in SQL_ASCII") && error.exit_code() == 2, "{error}");
}
