//! The world of a plan: two servers for all plans, databases, proxies and processes for each.

use std::collections::{BTreeMap, VecDeque};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use daybook::address::parse_url;
use daybook::database::Session;
use daybook::identity::Wishes;
use daybook::install::install;
use daybook::private_server::PrivateServer;
use daybook::stream;
use tokio_postgres::Client;

use crate::application::{connect, work};
use crate::consumers::Consumers;
use crate::plan::{Act, Actor, Plan, Side, Step};
use crate::proxy::{Mode, Proxy};
use crate::{dba, faults, oracle};

const CLINIC: &str = include_str!("../../sql/demo/clinic.sql");
const TRIGGERS: [&str; 4] = [
    include_str!("../../triggers/consultation_invoices.sql"),
    include_str!("../../triggers/pharmacy_bills.sql"),
    include_str!("../../triggers/lab_bills.sql"),
    include_str!("../../triggers/ultrasound_bills.sql"),
];
const ODD_TABLES: &str = include_str!("sql/odd_tables.sql");

const TEMPLATE: &str = "simulator_template";

/// How long the queue may take to drain when the faults are over.
const DRAIN_MAX: Duration = Duration::from_secs(60);

/// A server that can be crashed by one fault at a time.
pub type Server = Arc<tokio::sync::Mutex<PrivateServer>>;

/// The two servers, which live as long as the run.
pub struct Servers {
    servers: [Server; 2],
    directories: [PathBuf; 2],
    has_merge: bool,
    next_database: AtomicU32,
    /// The rules as they were installed, to be put back.
    rules: Vec<(String, String)>,
}

impl Servers {
    /// Starts them, and makes the template of every database.
    pub async fn start() -> Servers {
        // A commit becomes durable when somebody asks for it, and not before; and connections are few.
        let settings = [
            "fsync=off",
            "full_page_writes=off",
            "wal_writer_delay=10s",
            "max_prepared_transactions=20",
            "wal_level=logical",
            "max_replication_slots=20",
            "max_wal_senders=20",
            "max_connections=40",
            "superuser_reserved_connections=3",
            "deadlock_timeout=500ms",
        ];
        let start = || PrivateServer::start(&settings).expect("a private server starts");
        let servers = [start(), start()];
        let directories = servers.each_ref().map(|server| server.directory().to_path_buf());
        let (mut has_merge, mut rules) = (false, Vec::new());
        for server in &servers {
            let admin = connect(&server.url("postgres", "postgres")).await.expect("connects");
            let version = admin.query_one("SELECT current_setting('server_version_num')::integer", &[]).await;
            has_merge = version.expect("tells its version").get::<_, i32>(0) >= 150_000;
            rules = make_template(server, &admin).await;
        }
        let servers = servers.map(|server| Arc::new(tokio::sync::Mutex::new(server)));
        Servers { servers, directories, has_merge, next_database: AtomicU32::new(0), rules }
    }

    async fn create_database(&self, server: usize) -> String {
        let name = format!("d{}", self.next_database.fetch_add(1, Ordering::Relaxed));
        let admin = connect(&url(&self.directories[server], "postgres", "postgres")).await.expect("connects");
        admin.batch_execute(&format!("CREATE DATABASE {name} TEMPLATE {TEMPLATE}")).await.expect("creates a database");
        name
    }

    async fn drop_database(&self, server: usize, name: &str) {
        let admin = connect(&url(&self.directories[server], "postgres", "postgres")).await.expect("connects");
        let _ = admin.batch_execute(&format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)")).await;
    }
}

async fn make_template(server: &PrivateServer, admin: &Client) -> Vec<(String, String)> {
    for sql in
        ["CREATE ROLE desk LOGIN", "CREATE ROLE bookkeeper LOGIN REPLICATION", &format!("CREATE DATABASE {TEMPLATE}")]
    {
        admin.batch_execute(sql).await.expect("prepares the server");
    }
    let config = parse_url(daybook::database::Side::Source, &server.url("postgres", TEMPLATE)).expect("our own URL");
    let wishes = Wishes { time_zone: Some("Asia/Kolkata".into()), ..Wishes::default() };
    install(&config, &config, &wishes).await.expect("installs");
    admin.batch_execute("GRANT daybook_consumer, daybook_reader TO bookkeeper").await.expect("grants");
    let template = connect(&server.url("postgres", TEMPLATE)).await.expect("connects");
    template.batch_execute(CLINIC).await.expect("creates the bill tables");
    for attach in TRIGGERS {
        template.batch_execute(attach).await.expect("attaches");
    }
    template.batch_execute(ODD_TABLES).await.expect("creates the odd tables");
    let rules = "SELECT reference_type, definition FROM ledger.posting_rules WHERE replaced_at IS NULL";
    let rules = template.query(rules, &[]).await.expect("reads the rules");
    let rules = rules.iter().map(|row| (row.get(0), row.get(1))).collect();
    drop(template);
    let gone = format!("SELECT count(*) FROM pg_stat_activity WHERE datname = '{TEMPLATE}'");
    while admin.query_one(&gone, &[]).await.expect("looks").get::<_, i64>(0) > 0 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    admin.batch_execute("CHECKPOINT").await.expect("writes everything");
    rules
}

fn url(directory: &Path, user: &str, database: &str) -> String {
    format!("host={} user={user} dbname={database} application_name=clinic connect_timeout=5", directory.display())
}

/// One side of the world.
struct Place {
    server: usize,
    database: String,
    proxy: Proxy,
}

/// Everything that the steps of one plan act upon.
pub struct World {
    servers: Arc<Servers>,
    places: [Place; 2],
    pub consumers: Consumers,
    pub has_merge: bool,
    findings: Mutex<Vec<String>>,
    /// How the steps of the sessions ended: by user and SQLSTATE.
    steps: Mutex<BTreeMap<String, u64>>,
    started: Instant,
}

/// What a plan came to.
#[derive(Default)]
pub struct Ended {
    pub findings: Vec<String>,
    pub faults: BTreeMap<String, u64>,
    /// How the steps of the sessions ended: by user and SQLSTATE.
    pub steps: BTreeMap<String, u64>,
    pub changes: i64,
    pub entries: i64,
    /// How long it took from the end of the faults until nothing was left to do.
    pub drained_after: Duration,
}

impl World {
    pub fn database(&self, side: Side) -> &str {
        &self.places[side as usize].database
    }

    /// Past the proxy.
    pub fn url(&self, side: Side, user: &str) -> String {
        let Place { server, database, .. } = &self.places[side as usize];
        url(&self.servers.directories[*server], user, database)
    }

    pub fn proxy(&self, side: Side) -> &Proxy {
        &self.places[side as usize].proxy
    }

    pub fn server(&self, side: Side) -> &Server {
        &self.servers.servers[self.places[side as usize].server]
    }

    pub fn found(&self, finding: String) {
        let mut findings = self.findings.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if findings.len() < 20 {
            findings.push(finding);
        }
    }

    pub fn count(&self, user: &str, how: &str) {
        let mut steps = self.steps.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        *steps.entry(format!("{user} {how}")).or_default() += 1;
    }

    pub async fn sleep_until(&self, at: u64) {
        tokio::time::sleep_until((self.started + Duration::from_millis(at)).into()).await;
    }

    async fn new(servers: &Arc<Servers>, plan: &Plan, directory: &Path) -> Arc<World> {
        let source = servers.create_database(0).await;
        let (server, ledger) = match plan.shape.two_clusters {
            true => (1, servers.create_database(1).await),
            false => (0, source.clone()),
        };
        let admin = connect(&url(&servers.directories[0], "postgres", &source)).await.expect("connects");
        for (key, value) in &plan.shape.settings {
            let sql = "UPDATE daybook.sync_configuration SET config_value = $2 WHERE config_key = $1";
            admin.execute(sql, &[key, value]).await.expect("configures");
        }
        if plan.shape.is_streamed {
            let advice = "SELECT daybook.replica_identity_advice(relation, key_columns) FROM daybook.sync_source";
            for row in admin.query(advice, &[]).await.expect("asks") {
                if let Some(advice) = row.get::<_, Option<&str>>(0) {
                    admin.batch_execute(advice).await.expect("gives it a replica identity");
                }
            }
            let attach = "SELECT daybook.attach(relation, reference_type, key_columns, filter_columns, 'both') FROM daybook.sync_source";
            admin.batch_execute(attach).await.expect("captures them by both ways");
        }
        let proxy = async |server: usize| Proxy::start(servers.directories[server].join(".s.PGSQL.5432")).await;
        let places = [
            Place { server: 0, database: source, proxy: proxy(0).await },
            Place { server, database: ledger, proxy: proxy(server).await },
        ];
        let urls = places.each_ref().map(|place| {
            format!("postgresql://bookkeeper@127.0.0.1:{}/{}?connect_timeout=5", place.proxy.port, place.database)
        });
        let consumers = Consumers::start(directory, urls.into(), &plan.shape.workers, plan.shape.crash_at.clone());
        Arc::new(World {
            servers: servers.clone(),
            places,
            consumers,
            has_merge: servers.has_merge,
            findings: Mutex::default(),
            steps: Mutex::default(),
            started: Instant::now(),
        })
    }
}

/// Lets a plan happen, from an empty clinic to the oracle's word.
pub async fn live(servers: &Arc<Servers>, plan: &Plan) -> Ended {
    let directory = Directory::new(&servers.directories[0]);
    let world = World::new(servers, plan, &directory.0).await;
    let mut ended = Ended::default();
    let watch = tokio::spawn({
        let world = world.clone();
        async move {
            loop {
                world.consumers.look_after().into_iter().for_each(|finding| world.found(finding));
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
    });
    act(&world, plan, &mut ended).await;
    let acted = Instant::now();
    put_in_order(&world, plan).await;
    let is_drained = drain(&world, plan.shape.is_streamed).await;
    ended.drained_after = acted.elapsed();
    watch.abort();
    let _ = watch.await;
    if !is_drained {
        let admin = connect(&world.url(Side::Source, "postgres")).await.expect("connects");
        let left = oracle::what_is_left(&admin).await;
        let tails = world.consumers.tails();
        world.found(format!("the queue does not drain within {DRAIN_MAX:?}:\n{left}\n{tails}"));
    }
    world.consumers.stop().await.into_iter().for_each(|finding| world.found(finding));
    let source = connect(&world.url(Side::Source, "postgres")).await.expect("connects");
    let ledger = connect(&world.url(Side::Ledger, "postgres")).await.expect("connects");
    let word = oracle::ask(&source, &ledger, is_drained).await;
    ended.changes = word.changes;
    ended.entries = word.entries;
    word.findings.into_iter().for_each(|finding| world.found(finding));
    ended.findings = std::mem::take(&mut *world.findings.lock().unwrap_or_else(std::sync::PoisonError::into_inner));
    ended.steps = std::mem::take(&mut *world.steps.lock().unwrap_or_else(std::sync::PoisonError::into_inner));
    if is_drained {
        let (source_url, ledger_url) = (world.url(Side::Source, "postgres"), world.url(Side::Ledger, "postgres"));
        if let Some(finding) = oracle::reconciled(&source_url, &ledger_url, plan.shape.is_streamed).await {
            ended.findings.push(finding);
        }
    }
    drop((source, ledger));
    for place in &world.places {
        servers.drop_database(place.server, &place.database).await;
    }
    ended
}

/// The steps, each session's in their order, and every fault at its time.
async fn act(world: &Arc<World>, plan: &Plan, ended: &mut Ended) {
    let mut sessions: BTreeMap<usize, VecDeque<Step>> = BTreeMap::new();
    let mut tasks = tokio::task::JoinSet::new();
    for step in &plan.steps {
        match (step.actor, &step.act) {
            (Actor::Desk(desk), _) => sessions.entry(desk).or_default().push_back(step.clone()),
            (_, Act::Strike(fault)) => {
                *ended.faults.entry(fault.kind()).or_default() += 1;
                let (world, fault, at) = (world.clone(), fault.clone(), step.at);
                tasks.spawn(async move {
                    world.sleep_until(at).await;
                    faults::strike(world, fault).await;
                });
            }
            (_, _) => sessions.entry(usize::MAX).or_default().push_back(step.clone()),
        }
    }
    for (session, steps) in sessions {
        let user = if session == usize::MAX { "postgres" } else { "desk" };
        tasks.spawn(work(world.clone(), steps, user));
    }
    while let Some(done) = tasks.join_next().await {
        if let Err(error) = done {
            world.found(format!("simulator: {error}"));
        }
    }
}

/// The faults are over. Whatever is still prepared ends, and an operator mends what an operator has to.
async fn put_in_order(world: &World, plan: &Plan) {
    world.consumers.disarm();
    for side in [Side::Source, Side::Ledger] {
        world.proxy(side).set(Mode::Pass);
    }
    for process in 0..plan.shape.workers.len() {
        world.consumers.freeze(process, false);
    }
    let source = connect(&world.url(Side::Source, "postgres")).await.expect("connects");
    let ledger = connect(&world.url(Side::Ledger, "postgres")).await.expect("connects");
    let prepared = "SELECT gid FROM pg_prepared_xacts WHERE database = current_database()";
    for row in source.query(prepared, &[]).await.expect("looks") {
        let end = if plan.shape.commit_prepared { "COMMIT" } else { "ROLLBACK" };
        source.batch_execute(&format!("{end} PREPARED '{}'", row.get::<_, &str>(0))).await.expect("ends it");
    }
    ledger.batch_execute(&dba::put_back_accounts()).await.expect("puts accounts back");
    for (reference_type, definition) in &world.servers.rules {
        let sql = "SELECT ledger.apply_rule('main', $1, $2, replace => true)";
        ledger.execute(sql, &[reference_type, definition]).await.expect("puts the rule back");
    }
    for sql in dba::put_in_order_source() {
        for attempt in 0.. {
            match source.batch_execute(&sql).await {
                Ok(()) => break,
                Err(error) if attempt > 20 => {
                    world.found(format!("the DBA cannot put in order: {sql}: {error:?}"));
                    break;
                }
                Err(_) => tokio::time::sleep(Duration::from_millis(200)).await,
            }
        }
    }
}

/// Waits until nothing is left to do: at first, and again after an operator's last decisions.
async fn drain(world: &World, is_streamed: bool) -> bool {
    let source = connect(&world.url(Side::Source, "postgres")).await.expect("connects");
    let ledger = connect(&world.url(Side::Ledger, "postgres")).await.expect("connects");
    if is_streamed {
        let session = Session::new(connect(&world.url(Side::Source, "postgres")).await.expect("connects"));
        if !stream::catch_up(&session, DRAIN_MAX).await.expect("asks for the stream's place") {
            world.found("the stream does not catch up".into());
            return false;
        }
    }
    if !oracle::drained(&source, &ledger, DRAIN_MAX).await {
        return false;
    }
    oracle::decide(&source, &ledger).await;
    oracle::drained(&source, &ledger, DRAIN_MAX).await
}

/// A directory for the processes' logs. It lies in that of the first server, which is gone afterwards whatever happens.
struct Directory(PathBuf);

impl Directory {
    fn new(server: &Path) -> Directory {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let path = server.join(format!("logs_{}", NEXT.fetch_add(1, Ordering::Relaxed)));
        let owner = std::fs::metadata(server).expect("is there");
        std::fs::create_dir(&path).expect("makes a directory");
        std::os::unix::fs::chown(&path, Some(owner.uid()), Some(owner.gid())).expect("gives it to the server's user");
        Directory(path)
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
