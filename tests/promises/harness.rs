//! One private server for all tests, a database of its own for each, cloned from a template in which everything is
//! installed and attached.

use std::collections::BTreeMap;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use daybook::address::Address;
use daybook::address::parse_url;
use daybook::consumer::{self, Drained};
use daybook::database::{Side, connect};
use daybook::identity::Wishes;
use daybook::install::install;
use daybook::options::Databases;
use daybook::private_server::PrivateServer;
use daybook::reconcile::{self, Report};
use tokio::sync::OnceCell;
use tokio_postgres::Client;

pub const CLINIC: &str = include_str!("../../sql/demo/clinic.sql");
pub const EXPECTED_BALANCES: &str = include_str!("../../sql/demo/expected_balances.sql");
pub const TRIGGERS: [&str; 4] = [
    include_str!("../../triggers/consultation_invoices.sql"),
    include_str!("../../triggers/pharmacy_bills.sql"),
    include_str!("../../triggers/lab_bills.sql"),
    include_str!("../../triggers/ultrasound_bills.sql"),
];

/// The statement that attaches lab_bills, with one argument more, such as `go_live => '2024-01-01'`.
pub fn attach_lab_with(argument: &str) -> String {
    let attach = TRIGGERS[2].trim_end().strip_suffix(");").expect("ends as a call");
    format!("{attach}, {argument});")
}

const TEMPLATE: &str = "daybook_template";

/// A cluster with its template.
pub struct Cluster {
    pub server: PrivateServer,
    template: OnceCell<()>,
}

static NEXT_DATABASE: AtomicU32 = AtomicU32::new(0);

impl Cluster {
    pub fn start() -> Cluster {
        // Without fsync and with a lazy WAL writer: a commit becomes durable when somebody asks for it, and not before.
        let settings = [
            "fsync=off",
            "full_page_writes=off",
            "wal_writer_delay=10s",
            "max_prepared_transactions=10",
            "max_connections=300",
            "deadlock_timeout=1s",
        ];
        Cluster::start_with(&settings)
    }

    /// One with settings of its own.
    pub fn start_with(settings: &[&str]) -> Cluster {
        let server = PrivateServer::start(settings).expect("the private server starts");
        Cluster { server, template: OnceCell::new() }
    }

    /// The cluster that all tests share.
    pub fn shared() -> &'static Cluster {
        static SHARED: OnceLock<Cluster> = OnceLock::new();
        SHARED.get_or_init(Cluster::start)
    }

    /// A second one, for ledgers that live elsewhere.
    pub fn elsewhere() -> &'static Cluster {
        static ELSEWHERE: OnceLock<Cluster> = OnceLock::new();
        ELSEWHERE.get_or_init(Cluster::start)
    }

    /// One whose WAL can be streamed.
    pub fn streaming() -> &'static Cluster {
        static STREAMING: OnceLock<Cluster> = OnceLock::new();
        STREAMING.get_or_init(|| {
            let settings = [
                "fsync=off",
                "full_page_writes=off",
                "wal_level=logical",
                "max_replication_slots=80",
                "max_wal_senders=80",
                "max_prepared_transactions=10",
                "max_connections=300",
                "deadlock_timeout=1s",
            ];
            Cluster::start_with(&settings)
        })
    }

    pub fn config(&self, user: &str, database: &str) -> Address {
        parse_url(Side::Source, &self.server.url(user, database)).expect("our own URL")
    }

    pub async fn admin(&self, database: &str) -> Client {
        connect(Side::Source, &self.config("postgres", database)).await.expect("connects")
    }

    /// An empty database.
    pub async fn empty_database(&self) -> String {
        self.create_database("template1").await
    }

    /// A database with the clinic's tables, everything installed and attached.
    pub async fn clinic_database(&self) -> String {
        self.template
            .get_or_init(async || {
                let admin = self.admin("postgres").await;
                admin.batch_execute("CREATE ROLE desk LOGIN").await.expect("creates the application's role");
                admin.batch_execute(&format!("CREATE DATABASE {TEMPLATE}")).await.expect("creates the template");
                let config = self.config("postgres", TEMPLATE);
                let wishes = Wishes { time_zone: Some("Asia/Kolkata".into()), ..Wishes::default() };
                install(&config, &config, &wishes).await.expect("installs");
                let admin = self.admin(TEMPLATE).await;
                admin.batch_execute(CLINIC).await.expect("creates the bill tables");
                let grant = "GRANT SELECT, INSERT, UPDATE, DELETE, TRUNCATE ON ALL TABLES IN SCHEMA public TO desk";
                admin.batch_execute(grant).await.expect("grants");
                for attach in TRIGGERS {
                    admin.batch_execute(attach).await.expect("attaches");
                }
            })
            .await;
        self.create_database(TEMPLATE).await
    }

    async fn create_database(&self, template: &str) -> String {
        let name = format!("t{}", NEXT_DATABASE.fetch_add(1, Ordering::Relaxed));
        let admin = self.admin("postgres").await;
        let create = format!("CREATE DATABASE {name} TEMPLATE {template}");
        // Sessions of the template that have just been closed may linger for a moment.
        for _ in 0..100 {
            match admin.batch_execute(&create).await {
                Ok(()) => return name,
                Err(error) if error.code().is_some_and(|state| state.code() == "55006") => {
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
                Err(error) => panic!("{error}"),
            }
        }
        panic!("{template} is never free");
    }
}

/// A clinic with its application's session, its DBA's sessions and its consumer.
pub struct Clinic {
    pub source: Address,
    pub ledger: Address,
    /// A superuser on the source.
    pub dba: Client,
    /// A superuser on the ledger.
    pub accountant: Client,
    /// The application: may write its tables, and knows nothing of daybook.
    pub desk: Client,
    pub database: String,
}

impl Clinic {
    /// Source and ledger in one database.
    pub async fn new() -> Clinic {
        Clinic::with_both_on(Cluster::shared()).await
    }

    /// Source and ledger in two clusters.
    pub async fn with_ledger_elsewhere() -> Clinic {
        Clinic::with_source_on(Cluster::shared()).await
    }

    /// The source in a cluster of its own, the ledger elsewhere.
    pub async fn with_source_on(cluster: &Cluster) -> Clinic {
        let elsewhere = Cluster::elsewhere();
        let (database, other) = (cluster.clinic_database().await, elsewhere.clinic_database().await);
        Clinic::of(cluster, &database, elsewhere, &other).await
    }

    /// Source and ledger in one database of a cluster of its own.
    pub async fn with_both_on(cluster: &Cluster) -> Clinic {
        let database = cluster.clinic_database().await;
        Clinic::of(cluster, &database, cluster, &database).await
    }

    /// Sessions with databases that are there already.
    pub async fn of(cluster: &Cluster, database: &str, elsewhere: &Cluster, ledger: &str) -> Clinic {
        let dba = cluster.admin(database).await;
        Clinic {
            source: cluster.config("postgres", database),
            ledger: elsewhere.config("postgres", ledger),
            dba,
            accountant: elsewhere.admin(ledger).await,
            desk: connect(Side::Source, &cluster.config("desk", database)).await.expect("connects"),
            database: database.into(),
        }
    }

    /// One more session of the application.
    pub async fn another_desk(&self) -> Client {
        let mut config = self.source.clone();
        config.user("desk");
        connect(Side::Source, &config).await.expect("connects")
    }

    pub fn options(&self, workers: usize) -> Databases {
        Databases {
            name: None,
            source: self.source.clone(),
            ledger: self.ledger.clone(),
            workers,
            heads: Default::default(),
        }
    }

    /// Posts until nothing is left; returns how it ended.
    pub async fn drain(&self) -> Drained {
        let drained = self.drain_for(Duration::from_secs(60)).await;
        if drained.unfinished > 0 {
            let left = "SELECT string_agg(concat_ws(' ', reference_type, reference_id, operation, origin, last_error), E'\\n')
                        || E'\\n' || (SELECT string_agg(message, E'\\n') FROM daybook.current_alerts) FROM daybook.sync_queue";
            panic!("not everything is finished:\n{}", self.text(left).await);
        }
        drained
    }

    pub async fn drain_for(&self, timeout: Duration) -> Drained {
        consumer::drain(self.options(2), timeout).await.expect("drains")
    }

    /// Reconciles once, by digests or in full, and has what differs enqueued.
    pub async fn reconcile(&self, full: bool) -> Report {
        let options = reconcile::Options { full, repair: true, ..reconcile::Options::default() };
        reconcile::reconcile(&self.options(1), options).await.expect("reconciles")
    }

    pub async fn write(&self, sql: &str) {
        self.desk
            .batch_execute(sql)
            .await
            .unwrap_or_else(|error| panic!("the application's write fails: {error:?}\n{sql}"));
    }

    pub async fn configure(&self, key: &str, value: &str) {
        let sql = "UPDATE daybook.sync_configuration SET config_value = $2 WHERE config_key = $1";
        assert_eq!(self.dba.execute(sql, &[&key, &value]).await.expect("configures"), 1);
    }

    /// What a bill amounts to: `1000 100.00, 4100 -100.00`.
    pub async fn balances(&self, reference_type: &str, reference_id: &str) -> String {
        let sql = "SELECT coalesce(string_agg(account_code || ' ' || balance, ', ' ORDER BY account_code), '')
                   FROM ledger.reference_balances WHERE reference_type = $1 AND reference_id = $2";
        self.accountant.query_one(sql, &[&reference_type, &reference_id]).await.expect("reads balances").get(0)
    }

    /// The entries of a bill, one a line: `1 original 2024-03-05/2024-03-05: 1000 +100.00, 4100 -100.00`.
    pub async fn entries(&self, reference_type: &str, reference_id: &str) -> Vec<String> {
        let sql = "SELECT format('%s %s %s/%s%s: %s', e.revision, e.kind, e.effective_date, e.posting_date,
                                 CASE WHEN e.late THEN ' late' ELSE '' END, string_agg(
                                 format('%s %s%s', l.account_code, CASE WHEN l.debit > 0 THEN '+' ELSE '-' END,
                                        l.debit + l.credit), ', ' ORDER BY l.line_no))
                   FROM ledger.journal_entries AS e JOIN ledger.journal_lines AS l ON l.entry_id = e.id
                   WHERE e.reference_type = $1 AND e.reference_id = $2 GROUP BY e.id ORDER BY e.id";
        let rows = self.accountant.query(sql, &[&reference_type, &reference_id]).await.expect("reads entries");
        rows.iter().map(|row| row.get(0)).collect()
    }

    /// One text of the source, by a query that gives one row and one column of any type.
    pub async fn text(&self, sql: &str) -> String {
        text(&self.dba, sql).await
    }

    /// One text of the ledger.
    pub async fn ledger_text(&self, sql: &str) -> String {
        text(&self.accountant, sql).await
    }

    /// Asserts that the ledger is what the bills say, by the word of plain SQL, and that the rest of the promises that can
    /// be seen at any time hold.
    pub async fn assert_ledger_equals_bills(&self) {
        self.assert_bills_of_the_ledger("").await;
        self.assert_the_journal_is_sound().await;
    }

    /// The first half of that: every bill, to the cent and by account. `what`: for the message.
    pub async fn assert_bills_of_the_ledger(&self, what: &str) {
        self.dba.batch_execute(EXPECTED_BALANCES).await.expect("asks the bills");
        let expected = balances_by_key(
            &self.dba,
            "SELECT reference_type, reference_id, account_code, balance::text FROM expected_balances",
        )
        .await;
        // While it stands, the view would keep the vendor's DDL from its columns.
        self.dba.batch_execute("DROP VIEW expected_balances").await.expect("forgets the question");
        let parked: Vec<(String, String)> = expected
            .keys()
            .filter(|(_, _, account)| account == "PARKED")
            .map(|(reference_type, id, _)| (reference_type.clone(), id.clone()))
            .collect();
        let posted = balances_by_key(&self.accountant, "SELECT reference_type, reference_id, account_code, trim_scale(balance)::text FROM ledger.reference_balances").await;
        let is_parked = |key: &(String, String, String)| parked.contains(&(key.0.clone(), key.1.clone()));
        let trimmed = |text: &Option<String>| {
            text.as_ref().map(|text| match text.contains('.') {
                true => text.trim_end_matches('0').trim_end_matches('.').to_string(),
                false => text.clone(),
            })
        };
        let mut differences = Vec::new();
        for key in expected.keys().chain(posted.keys()) {
            let (says, has) = (expected.get(key).and_then(trimmed), posted.get(key).and_then(trimmed));
            if !is_parked(key) && says != has {
                differences.push(format!("{key:?}: bills say {says:?}, ledger says {has:?}"));
            }
        }
        differences.dedup();
        assert!(differences.is_empty(), "{what}: the ledger differs from the bills:\n{}", differences.join("\n"));
        let open = "SELECT reference_type, reference_id, 'PARKED', NULL::text FROM daybook.sync_dead_letter WHERE resolved_at IS NULL";
        let open: Vec<(String, String)> = balances_by_key(&self.dba, open)
            .await
            .into_keys()
            .map(|(reference_type, id, _)| (reference_type, id))
            .collect();
        assert_eq!(open, parked, "open dead letters and bills that cannot be posted");
    }

    async fn assert_the_journal_is_sound(&self) {
        let invariants = "SELECT
            (SELECT count(*) FROM ledger.journal_entries AS e
             WHERE e.line_count <> (SELECT count(*) FROM ledger.journal_lines AS l WHERE l.entry_id = e.id))
          + (SELECT count(*) FROM (SELECT FROM ledger.journal_lines GROUP BY entry_id, currency HAVING sum(debit) <> sum(credit)) AS u)
          + (SELECT count(*) FROM ledger.journal_entries AS e JOIN ledger.journal_entries AS r ON r.id = e.reverses_id
             WHERE r.kind = 'reversal' OR (r.reference_type, r.reference_id) <> (e.reference_type, e.reference_id)
                OR e.effective_date <> r.effective_date)
          + (SELECT count(*) FROM (SELECT FROM ledger.journal_entries GROUP BY book, source, reference_type, reference_id
                                   HAVING max(revision) <> count(*) OR min(revision) <> 1) AS g)
          + (SELECT count(*) FROM ledger.sync_master_status AS s
             WHERE ARRAY(SELECT unnest(live_entry_ids) ORDER BY 1)
                   <> ARRAY(SELECT e.id FROM ledger.journal_entries AS e
                            WHERE (e.book, e.source, e.reference_type, e.reference_id)
                                  = (s.book, s.source, s.reference_type, s.reference_id) AND e.kind <> 'reversal'
                              AND NOT EXISTS (SELECT FROM ledger.journal_entries AS r WHERE r.reverses_id = e.id)
                            ORDER BY 1))";
        assert_eq!(self.ledger_text(invariants).await, "0", "seals, balances, reversals, revisions and live entries");
    }
}

async fn text(client: &Client, sql: &str) -> String {
    let wrapped = format!("SELECT coalesce((SELECT q::text FROM ({sql}) AS t (q)), '')");
    client.query_one(&wrapped, &[]).await.unwrap_or_else(|error| panic!("{error:?}\n{sql}")).get(0)
}

async fn balances_by_key(client: &Client, sql: &str) -> BTreeMap<(String, String, String), Option<String>> {
    let rows = client.query(sql, &[]).await.expect("reads balances");
    rows.iter().map(|row| ((row.get(0), row.get(1), row.get(2)), row.get(3))).collect()
}

/// Runs a statement that must be refused, and returns the message with its hint.
pub async fn refused(client: &Client, sql: &str) -> String {
    match client.batch_execute(sql).await {
        Ok(()) => panic!("this is not refused: {sql}"),
        Err(error) => daybook::error::explain(&error),
    }
}

/// A pharmacy bill of 112.00 with 12.00 tax, paid in cash, of the given day; returns its id.
pub async fn pharmacy_bill(clinic: &Clinic, day: &str) -> String {
    let sql = "INSERT INTO pharmacy_bills (visit_id, total_amount, gst_amount, payment_mode, invoice_number, created_at)
               VALUES (7, 112.00, 12.00, 'cash', 'INV-1', ($1::text || ' 12:00:00+05:30')::timestamptz) RETURNING id::text";
    clinic.desk.query_one(sql, &[&day]).await.expect("writes a bill").get(0)
}
