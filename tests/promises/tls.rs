//! TLS to a database, in libpq's grades: what is encrypted, and who is trusted.

use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::time::Duration;

use daybook::address::parse_url;
use daybook::database::{Side, connect};
use daybook::options::Databases;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};

use crate::harness::Cluster;

/// A server with a certificate for `localhost`, and the authority that signed it.
struct Secured {
    cluster: Cluster,
    port: u16,
    authority: CertifiedIssuer<'static, KeyPair>,
    /// Certificates and keys of the client.
    files: PathBuf,
}

fn authority(name: &str) -> CertifiedIssuer<'static, KeyPair> {
    let mut parameters = CertificateParams::new(Vec::new()).expect("parameters");
    parameters.distinguished_name.push(DnType::CommonName, name);
    parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(parameters, KeyPair::generate().expect("a key")).expect("signs itself")
}

impl Secured {
    async fn start() -> Secured {
        let free = std::net::TcpListener::bind(("127.0.0.1", 0)).expect("a port is free");
        let port = free.local_addr().expect("has an address").port();
        drop(free);
        let cluster = Cluster::start_with(&[
            "fsync=off",
            "max_prepared_transactions=10",
            "wal_level=logical",
            "listen_addresses=127.0.0.1",
            &format!("port={port}"),
        ]);
        let authority = authority("clinic authority");
        let key = KeyPair::generate().expect("a key");
        let parameters = CertificateParams::new(vec!["localhost".to_string()]).expect("parameters");
        let certificate = parameters.signed_by(&key, &authority).expect("is signed");
        let data = cluster.server.directory().join("data");
        let owner = std::fs::metadata(&data).expect("is there");
        for (name, text) in
            [("server.crt", certificate.pem()), ("server.key", key.serialize_pem()), ("root.crt", authority.pem())]
        {
            let path = data.join(name);
            std::fs::write(&path, text).expect("writes");
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).expect("protects");
            chown(&path, Some(owner.uid()), Some(owner.gid())).expect("gives it to the server");
        }
        let files = std::env::temp_dir().join(format!("daybook-test-tls-{}-{port}", std::process::id()));
        std::fs::create_dir_all(&files).expect("makes a directory");
        std::fs::write(files.join("root.crt"), authority.pem()).expect("writes");
        let admin = cluster.admin("postgres").await;
        admin.batch_execute("ALTER SYSTEM SET ssl = on").await.expect("sets");
        admin.batch_execute("ALTER SYSTEM SET ssl_ca_file = 'root.crt'").await.expect("sets");
        let hba = "local all all trust\nhostssl all with_certificate 127.0.0.1/32 cert\nhostssl all with_password 127.0.0.1/32 scram-sha-256
hostssl all all 127.0.0.1/32 trust\n";
        std::fs::write(data.join("pg_hba.conf"), hba).expect("writes");
        let roles = "CREATE ROLE with_certificate LOGIN; CREATE ROLE with_password LOGIN PASSWORD 'secret'; SELECT pg_reload_conf()";
        admin.batch_execute(roles).await.expect("creates roles");
        tokio::time::sleep(Duration::from_millis(500)).await;
        Secured { cluster, port, authority, files }
    }

    fn url(&self, host: &str, user: &str, parameters: &str) -> String {
        format!("postgresql://{user}@{host}:{}/postgres?{parameters}", self.port)
    }

    fn file(&self, name: &str, text: &str) -> String {
        let path = self.files.join(name);
        std::fs::write(&path, text).expect("writes");
        path.display().to_string()
    }
}

impl Drop for Secured {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(Path::new(&self.files));
    }
}

/// Whether the connection is encrypted, or why there is none.
async fn encrypted(url: &str) -> Result<bool, String> {
    let address = parse_url(Side::Source, url).map_err(|error| error.to_string())?;
    let client = connect(Side::Source, &address).await.map_err(|error| error.to_string())?;
    let sql = "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()";
    Ok(client.query_one(sql, &[]).await.expect("looks").get(0))
}

#[tokio::test(flavor = "multi_thread")]
async fn every_sslmode_is_spoken_up_to_verify_full() {
    let server = Secured::start().await;
    let root = server.files.join("root.crt").display().to_string();
    let stranger = server.file("stranger.crt", &authority("some other authority").pem());
    let none = server.file("none.crt", "no certificate is in here");
    let refusals = [
        ("localhost", "sslmode=disable".to_string(), "no pg_hba.conf entry"),
        ("localhost", format!("sslmode=verify-ca&sslrootcert={stranger}"), "sslrootcert=FILE"),
        ("localhost", format!("sslmode=require&sslrootcert={stranger}"), "sslrootcert=FILE"),
        ("127.0.0.1", format!("sslmode=verify-full&sslrootcert={root}"), "use sslmode=verify-ca"),
        ("localhost", format!("sslmode=verify-full&sslrootcert={none}"), "it holds no certificate"),
        ("localhost", "sslmode=verify-full&sslrootcert=/nowhere.crt".into(), "cannot read sslrootcert /nowhere.crt"),
        ("localhost", "sslmode=sometimes".into(), "is none of disable, allow, prefer"),
        ("localhost", "sslmode=verify-full".into(), ""), // the system's authorities have not signed it, or there are none
    ];
    for (host, parameters, part) in refusals {
        let why = encrypted(&server.url(host, "postgres", &parameters)).await.expect_err(&parameters);
        assert!(why.contains(part) && !why.contains('\n'), "{parameters}: {why}");
    }
    for (host, parameters) in [
        ("localhost", String::new()),
        ("localhost", "sslmode=prefer".into()),
        ("127.0.0.1", "sslmode=require".into()),
        ("127.0.0.1", format!("sslmode=verify-ca&sslrootcert={root}")),
        ("localhost", format!("sslmode=verify-full&sslrootcert={}", root.replace('/', "%2F"))),
    ] {
        assert_eq!(encrypted(&server.url(host, "postgres", &parameters)).await, Ok(true), "{parameters}");
    }
    let pairs = format!("host=localhost port={} user=postgres dbname=postgres sslmode=verify-full", server.port);
    assert_eq!(encrypted(&format!("{pairs} sslrootcert='{root}'")).await, Ok(true));
    assert_eq!(
        encrypted(&format!("{} sslmode=verify-full", server.cluster.server.url("postgres", "postgres"))).await,
        Ok(false)
    );

    // A password, bound to the channel; and a certificate instead of one.
    let with_password = server.url(
        "localhost",
        "with_password:secret",
        &format!("sslmode=verify-full&sslrootcert={root}&channel_binding=require"),
    );
    assert_eq!(encrypted(&with_password).await, Ok(true));
    let key = KeyPair::generate().expect("a key");
    let mut parameters = CertificateParams::new(Vec::new()).expect("parameters");
    parameters.distinguished_name.push(DnType::CommonName, "with_certificate");
    let certificate = parameters.signed_by(&key, &server.authority).expect("is signed");
    let (certificate, key) =
        (server.file("client.crt", &certificate.pem()), server.file("client.key", &key.serialize_pem()));
    let identity = format!("sslmode=verify-full&sslrootcert={root}&sslcert={certificate}");
    assert_eq!(
        encrypted(&server.url("localhost", "with_certificate", &format!("{identity}&sslkey={key}"))).await,
        Ok(true)
    );
    let why = encrypted(&server.url("localhost", "with_certificate", &identity)).await.expect_err("lacks its key");
    assert!(why.contains("sslcert and sslkey go together"), "{why}");
    let why =
        encrypted(&server.url("localhost", "with_certificate", "sslmode=require")).await.expect_err("shows nothing");
    assert!(why.contains("certificate"), "{why}");
}

/// A server that signed its certificate itself is trusted by naming that certificate.
#[tokio::test(flavor = "multi_thread")]
async fn bills_are_posted_over_tls_to_servers_that_signed_their_own_certificates() {
    let server = Secured::start().await;
    let key = KeyPair::generate().expect("a key");
    let mut parameters = CertificateParams::new(vec!["localhost".to_string()]).expect("parameters");
    parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained); // as openssl's own tool does
    let own = parameters.self_signed(&key).expect("signs itself");
    let data = server.cluster.server.directory().join("data");
    std::fs::write(data.join("server.crt"), own.pem()).expect("writes");
    std::fs::write(data.join("server.key"), key.serialize_pem()).expect("writes");
    let database = server.cluster.clinic_database().await;
    let admin = server.cluster.admin(&database).await;
    admin.batch_execute("SELECT pg_reload_conf()").await.expect("reloads");
    tokio::time::sleep(Duration::from_millis(500)).await;
    let root = server.file("own.crt", &own.pem());
    let url = server.url("localhost", "postgres", &format!("sslmode=verify-full&sslrootcert={root}"));
    let url = url.replace("/postgres?", &format!("/{database}?"));
    let address = parse_url(Side::Source, &url).expect("is usable");
    admin.batch_execute("INSERT INTO lab_bills (amount, invoice_number) VALUES (10, 'A')").await.expect("writes");
    let databases =
        Databases { name: None, source: address.clone(), ledger: address, workers: 1, heads: Default::default() };
    let drained = daybook::consumer::drain(databases, Duration::from_secs(30)).await.expect("drains");
    assert_eq!((drained.unfinished, drained.parked), (0, 0));
    let entries = admin.query_one("SELECT count(*) FROM ledger.journal_entries", &[]).await.expect("looks");
    assert_eq!(entries.get::<_, i64>(0), 1);
}

/// The stream of changes is encrypted and trusts as every other connection, with a password by SCRAM.
#[tokio::test(flavor = "multi_thread")]
async fn changes_are_streamed_over_tls_with_a_password() {
    let server = Secured::start().await;
    let database = server.cluster.clinic_database().await;
    let admin = server.cluster.admin(&database).await;
    let capture =
        "SELECT daybook.attach(relation, reference_type, key_columns, filter_columns, 'wal') FROM daybook.sync_source";
    admin.batch_execute(capture).await.expect("captures from the WAL");
    let grant = "ALTER ROLE with_password REPLICATION; GRANT daybook_consumer TO with_password";
    admin.batch_execute(grant).await.expect("grants");
    let root = server.files.join("root.crt").display().to_string();
    let url = server.url("localhost", "with_password:secret", &format!("sslmode=verify-full&sslrootcert={root}"));
    let address = parse_url(Side::Source, &url.replace("/postgres?", &format!("/{database}?"))).expect("is usable");
    let databases =
        Databases { name: None, source: address.clone(), ledger: address, workers: 1, heads: Default::default() };
    daybook::consumer::drain(databases.clone(), Duration::from_secs(30)).await.expect("makes the slot");
    admin.batch_execute("INSERT INTO lab_bills (amount, invoice_number) VALUES (10, 'A')").await.expect("writes");
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let running = tokio::spawn(daybook::consumer::run(databases, async {
        let _ = stopped.await;
    }));
    let encrypted = "SELECT count(*) FROM pg_stat_replication AS r JOIN pg_stat_ssl AS s ON s.pid = r.pid
                     WHERE s.ssl AND r.usename = 'with_password'";
    let posted = "SELECT count(*) FROM ledger.journal_entries WHERE event_origin = 'wal'";
    for _ in 0..300 {
        let encrypted: i64 = admin.query_one(encrypted, &[]).await.expect("looks").get(0);
        let posted: i64 = admin.query_one(posted, &[]).await.expect("looks").get(0);
        if (encrypted, posted) == (1, 1) {
            let _ = stop.send(());
            return running.await.expect("ends").expect("ends in order");
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("nothing came over an encrypted stream");
}
