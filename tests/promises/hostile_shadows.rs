//! The application shadows what PostgreSQL calls by name, and plants code where we look: none of it runs with our rights.

use daybook::address::Address;
use daybook::database::{Side, connect};
use daybook::identity::Wishes;
use daybook::install::{install, print_install, print_uninstall, uninstall};
use tokio_postgres::Client;

use crate::harness::{CLINIC, Cluster, TRIGGERS};

const WIRES: &str = include_str!("hostile/wires.sql");

/// A clinic, not installed yet, whose application has laid its wires wherever a name is looked up.
struct Trap {
    config: Address,
    /// A session from before, which looks names up in pg_catalog.
    dba: Client,
}

impl Trap {
    async fn laid() -> Trap {
        let cluster = Cluster::shared();
        cluster.clinic_database().await; // for the role of the application
        let database = cluster.empty_database().await;
        let dba = cluster.admin(&database).await;
        dba.batch_execute(CLINIC).await.expect("creates the bill tables");
        let mut names: Vec<String> = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/sql"))
            .expect("lists")
            .flatten()
            .map(|entry| entry.path())
            .filter(|path| path.is_file())
            .map(|path| std::fs::read_to_string(path).expect("reads"))
            .collect();
        names.push(print_install(&Wishes::default()).expect("prints"));
        names.push(print_uninstall(true));
        names.push("to_regnamespace( to_regrole( set_config( pg_advisory_lock( pg_advisory_unlock(".into());
        let names = names.join("\n");
        dba.execute("SELECT set_config('wires.sql', $1, false)", &[&names]).await.expect("tells the names");
        dba.batch_execute(WIRES).await.expect("lays the wires");
        let hostile = format!(
            "ALTER DATABASE {database} SET search_path = app, pg_catalog, public;
             ALTER ROLE postgres IN DATABASE {database} SET search_path = app, pg_catalog, public;
             SET search_path = pg_catalog, public"
        );
        dba.batch_execute(&hostile).await.expect("sets the path");
        let trap = Trap { config: cluster.config("postgres", &database), dba };
        assert!(trap.wires().await > 500);
        trap.stumbling().await.batch_execute("SELECT FROM pg_class WHERE lower(relname) = 'x'").await.expect("looks");
        assert!(trap.sprung().await.is_some(), "a wire can be tripped");
        trap
    }

    /// A superuser's session that knows of nothing.
    async fn stumbling(&self) -> Client {
        connect(Side::Source, &self.config).await.expect("connects")
    }

    async fn wires(&self) -> i64 {
        self.dba.query_one("SELECT count(*) FROM app.wires", &[]).await.expect("counts").get(0)
    }

    /// The wire that was tripped first since this was last asked.
    async fn sprung(&self) -> Option<String> {
        let sql = "SELECT (SELECT wire FROM app.wires WHERE id = last_value) FROM app.tripped WHERE is_called";
        let row = self.dba.query_opt(sql, &[]).await.expect("looks at the wires");
        self.dba.batch_execute("SELECT setval('app.tripped', 1, false)").await.expect("sets it again");
        row.map(|row| row.get(0))
    }
}

#[tokio::test]
async fn installing_posting_and_uninstalling_never_run_what_the_application_shadows() {
    let trap = Trap::laid().await;
    install(&trap.config, &trap.config, &Wishes::default()).await.expect("installs");
    assert_eq!(trap.sprung().await, None, "while installing");
    install(&trap.config, &trap.config, &Wishes::default()).await.expect("installs again");
    assert_eq!(trap.sprung().await, None, "while installing again");
    let status = daybook::status::status(&trap.config, &trap.config).await.expect("looks");
    assert_eq!((trap.sprung().await, status.entries), (None, 0), "while looking");
    for attach in TRIGGERS {
        trap.dba.batch_execute(attach).await.expect("attaches");
    }
    let psql = trap.stumbling().await;
    trap.sprung().await;
    let life = "INSERT INTO public.lab_bills (id, amount, invoice_number) VALUES (1, 10, 'A'), (2, 10, 'A');
                UPDATE public.lab_bills SET amount = 11; DELETE FROM public.lab_bills WHERE id OPERATOR(pg_catalog.=) 2";
    psql.batch_execute(life).await.expect("writes");
    assert_eq!(trap.sprung().await, None, "while capturing");
    let databases = daybook::options::Databases {
        name: None,
        source: trap.config.clone(),
        ledger: trap.config.clone(),
        workers: 1,
        heads: Default::default(),
    };
    let drained = daybook::consumer::drain(databases, std::time::Duration::from_secs(20)).await.expect("drains");
    assert_eq!((trap.sprung().await, drained.unfinished, drained.parked), (None, 0, 0), "while posting");
    uninstall(&trap.config, &trap.config, true).await.expect("uninstalls");
    assert_eq!(trap.sprung().await, None, "while uninstalling");

    // The same from psql, in a session that finds the application's names first.
    psql.batch_execute(&print_install(&Wishes::default()).expect("prints")).await.expect("installs");
    assert_eq!(trap.sprung().await, None, "while installing by the printed SQL");
    for attach in TRIGGERS {
        psql.batch_execute(attach).await.expect("attaches");
    }
    for call in [
        "suspend('lab_bills')",
        "resume('lab_bills')",
        "pause()",
        "resume()",
        "backfill('lab_bills')",
        "enqueue('LAB', '1', 'retry')",
        "retry_all()",
    ] {
        psql.batch_execute(&format!("SELECT daybook.{call}")).await.expect("is called");
    }
    psql.batch_execute("SELECT daybook.detach('lab_bills', discard_unfinished => true)").await.expect("detaches");
    assert_eq!(trap.sprung().await, None, "while attaching, switching and detaching");
    psql.batch_execute(&print_uninstall(true)).await.expect("uninstalls");
    assert_eq!(trap.sprung().await, None, "while uninstalling by the printed SQL");
}

/// Its owner could put other functions in the place of ours.
#[tokio::test]
async fn a_schema_that_somebody_made_under_our_name_is_not_installed_into() {
    let cluster = Cluster::shared();
    cluster.clinic_database().await; // for the role of the application
    let config = cluster.config("postgres", &cluster.empty_database().await);
    let dba = connect(Side::Source, &config).await.expect("connects");
    for (schema, other) in [("daybook", "ledger"), ("ledger", "daybook")] {
        let squat = format!("CREATE SCHEMA {schema} AUTHORIZATION desk; GRANT ALL ON SCHEMA {schema} TO PUBLIC");
        dba.batch_execute(&squat).await.expect("squats");
        let error = install(&config, &config, &Wishes::default()).await.expect_err("is refused").to_string();
        assert!(error.contains(&format!("a schema {schema} is here already, and belongs to desk")), "{error}");
        let left = format!("SELECT count(*) FROM pg_class WHERE relnamespace = '{schema}'::regnamespace");
        assert_eq!(dba.query_one(&left, &[]).await.expect("counts").get::<_, i64>(0), 0, "nothing was put there");
        dba.batch_execute(&format!("DROP SCHEMA {schema}; DROP SCHEMA IF EXISTS {other} CASCADE"))
            .await
            .expect("drops");
    }
}
