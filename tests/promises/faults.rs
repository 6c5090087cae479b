//! What a fault between two steps, of a process, a server or the network leaves behind: nothing lost, nothing twice, and a
//! service that goes on by itself.

use std::io::Read;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use daybook::crash_point;
use daybook::database::{Side, connect};
use daybook::options::Databases;
use tokio_postgres::Client;

use crate::command_line::daybook;
use crate::harness::{Clinic, Cluster};
use crate::proxy::{Mode, Proxy};

/// `daybook run`, ended with the test, and what it said.
pub struct Running {
    child: Child,
    said: Option<std::thread::JoinHandle<String>>,
}

impl Running {
    pub fn start(source_url: &str, ledger_url: &str, crash_at: Option<&str>) -> Running {
        let mut command = daybook(&["run", "--source-url", source_url, "--ledger-url", ledger_url]);
        if let Some(point) = crash_at {
            command.env("DAYBOOK_CRASH_AT", point);
        }
        let mut child = command.stderr(Stdio::piped()).spawn().expect("starts");
        let mut stderr = child.stderr.take().expect("a pipe");
        let said = std::thread::spawn(move || {
            let mut said = Vec::new();
            let _ = stderr.read_to_end(&mut said);
            String::from_utf8_lossy(&said).into_owned()
        });
        Running { child, said: Some(said) }
    }

    fn signal(&self, signal: nix::sys::signal::Signal) {
        let id = nix::unistd::Pid::from_raw(i32::try_from(self.child.id()).expect("a process id"));
        nix::sys::signal::kill(id, signal).expect("is there");
    }

    /// Whether it has ended by itself.
    pub fn has_ended(&mut self) -> bool {
        self.child.try_wait().expect("is ours").is_some()
    }

    /// Ends it as a service manager does; returns its exit code and what it said.
    pub fn stop(mut self) -> (Option<i32>, String) {
        if !self.has_ended() {
            self.signal(nix::sys::signal::Signal::SIGTERM);
        }
        let code = self.child.wait().expect("ends").code();
        (code, self.said.take().map(|said| said.join().expect("was read")).unwrap_or_default())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Waits until the query gives this text.
pub async fn until(client: &Client, sql: &str, expected: &str) {
    let started = Instant::now();
    let wrapped = format!("SELECT coalesce((SELECT q::text FROM ({sql}) AS t (q)), '')");
    loop {
        let found: String = client.query_one(&wrapped, &[]).await.expect("looks").get(0);
        if found == expected {
            return;
        }
        assert!(started.elapsed() < Duration::from_secs(60), "{sql}: {found} instead of {expected}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

pub const NOTHING_QUEUED: &str = "SELECT count(*) FROM daybook.sync_queue";

/// A batch with a new bill, one to correct, one to settle otherwise, one to reverse and one to park; the process dies at the point.
async fn crashes_at(point: &str, clinic: &Clinic, source_url: &str, ledger_url: &str) {
    clinic
        .write("INSERT INTO lab_bills (id, amount, invoice_number) VALUES (1, 10, 'A'), (2, 20, 'A'), (3, 30, 'A')")
        .await;
    clinic.drain().await;
    let batch = "BEGIN; UPDATE lab_bills SET amount = 11 WHERE id = 1; UPDATE lab_bills SET payment_mode = 'upi' WHERE id = 2;
                 DELETE FROM lab_bills WHERE id = 3; INSERT INTO lab_bills (id, amount, invoice_number) VALUES (4, 40, 'A');
                 INSERT INTO lab_bills (id, amount, payment_mode, invoice_number) VALUES (5, 50, 'barter', 'A'); COMMIT";
    clinic.write(batch).await;
    let mut running = Running::start(source_url, ledger_url, Some(point));
    let started = Instant::now();
    while !running.has_ended() {
        assert!(started.elapsed() < Duration::from_secs(30), "{point} is passed");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(running.stop().0, None, "{point}: it was killed");
    let is_queued = clinic.text(NOTHING_QUEUED).await != "0";
    assert_eq!(is_queued, point != "after_acknowledgement", "{point}: events leave the queue with the acknowledgement");
    let posted = clinic.ledger_text("SELECT count(*) FROM ledger.journal_entries").await;
    let has_committed = ["after_ledger_commit", "before_acknowledgement", "after_acknowledgement"].contains(&point);
    assert_eq!(posted, if has_committed { "8" } else { "3" }, "{point}: entries");
    clinic.drain().await;
    clinic.assert_ledger_equals_bills().await;
    let kinds =
        "SELECT string_agg(reference_id || ' ' || kind, ', ' ORDER BY id) FROM ledger.journal_entries WHERE id > 3";
    let kinds = clinic.ledger_text(kinds).await;
    assert_eq!(kinds.split(", ").count(), 5, "{point}: {kinds}");
    let twice = "SELECT count(*) FROM (SELECT FROM daybook.sync_audit_log GROUP BY seq HAVING count(*) > 1) AS t";
    assert_eq!(clinic.text(twice).await, "0", "{point}: one outcome an event");
    let outcomes = "SELECT string_agg(reference_id || ' ' || outcome, ', ' ORDER BY seq) FROM daybook.sync_audit_log WHERE seq > 3";
    assert_eq!(clinic.text(outcomes).await, "1 posted, 2 posted, 3 posted, 4 posted, 5 parked", "{point}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_at_any_point_repeats_without_effect_where_the_ledger_is_elsewhere() {
    for point in crash_point::ALL {
        let clinic = Clinic::with_ledger_elsewhere().await;
        let ledger = clinic.ledger.get_dbname().expect("a database").to_string();
        let (source_url, ledger_url) =
            (crate::command_line::url(&clinic), Cluster::elsewhere().server.url("postgres", &ledger));
        crashes_at(point, &clinic, &source_url, &ledger_url).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_at_any_point_repeats_without_effect_in_one_database() {
    for point in crash_point::ALL {
        let clinic = Clinic::new().await;
        let url = crate::command_line::url(&clinic);
        crashes_at(point, &clinic, &url, &url).await;
    }
}

/// A worker that spreads an event of the whole table enqueues bills in the transaction in which it reads them; none of these
/// events is there after a crash.
#[tokio::test(flavor = "multi_thread")]
async fn no_entry_names_as_its_cause_an_event_that_a_crash_took_back() {
    let clinic = Clinic::with_ledger_elsewhere().await;
    let ledger = clinic.ledger.get_dbname().expect("a database").to_string();
    let (source_url, ledger_url) =
        (crate::command_line::url(&clinic), Cluster::elsewhere().server.url("postgres", &ledger));
    clinic.write("INSERT INTO lab_bills (id, amount, invoice_number) VALUES (1, 10, 'A')").await;
    clinic.drain().await;
    clinic.write("UPDATE lab_bills SET amount = 20").await;
    clinic.dba.batch_execute("SELECT daybook.reconcile('lab_bills')").await.expect("enqueues the table");
    let mut running = Running::start(&source_url, &ledger_url, Some("after_ledger_commit"));
    let started = Instant::now();
    while !running.has_ended() {
        assert!(started.elapsed() < Duration::from_secs(30), "the point is passed");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    clinic.drain().await;
    let cause = "SELECT string_agg(DISTINCT event_origin || ' ' || event_seq, ', ') FROM ledger.journal_entries WHERE kind <> 'original'";
    let update = "SELECT origin || ' ' || seq FROM daybook.sync_audit_log WHERE operation = 'update'";
    assert_eq!(clinic.ledger_text(cause).await, clinic.text(update).await);
}

/// Two clusters of their own, which may be stopped, and a role without any right but to consume.
pub async fn clinic_of_its_own() -> (Cluster, Cluster, String, String) {
    let (source, ledger) = (Cluster::start(), Cluster::start());
    let (database, books) = (source.clinic_database().await, ledger.clinic_database().await);
    for (cluster, database) in [(&source, &database), (&ledger, &books)] {
        let login = "CREATE ROLE bookkeeper LOGIN; GRANT daybook_consumer, daybook_reader TO bookkeeper";
        cluster.admin(database).await.batch_execute(login).await.expect("creates the login role");
    }
    let set = "UPDATE daybook.sync_configuration SET config_value = '0.2' WHERE config_key = 'table_retry_seconds'";
    source.admin(&database).await.batch_execute(set).await.expect("sets");
    (source, ledger, database, books)
}

pub const BILL: &str = "INSERT INTO lab_bills (amount, invoice_number) VALUES (10, 'A')";
pub const ENTRIES: &str = "SELECT count(*) FROM ledger.journal_entries";

#[tokio::test(flavor = "multi_thread")]
async fn run_waits_for_servers_that_are_away_and_goes_on_by_itself_and_no_bill_is_to_blame() {
    let (mut source, mut ledger, database, books) = clinic_of_its_own().await;
    let (source_url, ledger_url) =
        (source.server.url("bookkeeper", &database), ledger.server.url("bookkeeper", &books));
    source.server.stop().expect("stops");
    let mut running = Running::start(&source_url, &ledger_url, None);
    tokio::time::sleep(Duration::from_millis(500)).await;
    ledger.server.stop().expect("stops");
    source.server.start_again().expect("starts");
    let mut dba = source.admin(&database).await;
    dba.batch_execute(BILL).await.expect("writes");
    let alerts = "SELECT string_agg(alert_type || ' ' || state, ', ' ORDER BY alert_id) FROM daybook.sync_alerts";
    until(&dba, alerts, "LEDGER_UNREACHABLE open").await;
    ledger.server.start_again().expect("starts");
    let mut accountant = ledger.admin(&books).await;
    until(&accountant, ENTRIES, "1").await;
    until(&dba, alerts, "LEDGER_UNREACHABLE resolved").await;
    // Both are restarted under it, one after the other, then at once.
    for (count, at_once) in [("2", false), ("3", true)] {
        ledger.server.crash().expect("crashes");
        dba.batch_execute(BILL).await.expect("writes");
        if at_once {
            source.server.stop().expect("stops");
        }
        tokio::time::sleep(Duration::from_millis(700)).await;
        ledger.server.start_again().expect("starts");
        if at_once {
            source.server.start_again().expect("starts");
            dba = source.admin(&database).await;
        }
        accountant = ledger.admin(&books).await;
        until(&accountant, ENTRIES, count).await;
    }
    until(&dba, NOTHING_QUEUED, "0").await;
    let attempts: i32 =
        dba.query_one("SELECT max(attempts) FROM daybook.sync_audit_log", &[]).await.expect("looks").get(0);
    assert_eq!(attempts, 0, "a server that is away uses up no attempt");
    assert!(!running.has_ended());
    let (code, said) = running.stop();
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("waiting: cannot connect to the source database (socket in"), "{said}");
    assert!(said.contains("waiting: cannot connect to the ledger database (socket in"), "{said}");
    assert!(!said.contains("panicked"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_password_and_too_many_connections_are_waited_for() {
    let (source, ledger, database, books) = clinic_of_its_own().await;
    let hba = source.server.directory().join("data/pg_hba.conf");
    let rules = std::fs::read_to_string(&hba).expect("reads");
    std::fs::write(&hba, format!("local all bookkeeper scram-sha-256\n{rules}")).expect("writes");
    let dba = source.admin(&database).await;
    dba.batch_execute("ALTER ROLE bookkeeper PASSWORD 'right'; SELECT pg_reload_conf()").await.expect("sets");
    tokio::time::sleep(Duration::from_millis(300)).await;
    let source_url = format!("{} password=right", source.server.url("bookkeeper", &database));
    let running = Running::start(&source_url, &ledger.server.url("bookkeeper", &books), None);
    dba.batch_execute(BILL).await.expect("writes");
    until(&dba, NOTHING_QUEUED, "0").await;
    let throw_out = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'bookkeeper'";
    for (lock_out, let_in) in [
        ("ALTER ROLE bookkeeper PASSWORD 'other'", "ALTER ROLE bookkeeper PASSWORD 'right'"),
        ("ALTER ROLE bookkeeper CONNECTION LIMIT 0", "ALTER ROLE bookkeeper CONNECTION LIMIT -1"),
    ] {
        dba.batch_execute(lock_out).await.expect("locks out");
        dba.batch_execute(throw_out).await.expect("throws out");
        dba.batch_execute(BILL).await.expect("writes");
        tokio::time::sleep(Duration::from_secs(6)).await; // longer than the longest pause between attempts
        dba.batch_execute(let_in).await.expect("lets in");
        until(&dba, NOTHING_QUEUED, "0").await;
    }
    let attempts = "SELECT max(attempts) FROM daybook.sync_audit_log";
    until(&dba, attempts, "0").await;
    let (code, said) = running.stop();
    assert_eq!(code, Some(0), "{said}");
    assert!(
        said.contains("password authentication failed") && said.contains("too many connections for role"),
        "{said}"
    );
}

/// The network takes everything and delivers nothing: no server's time limit is heard of, so the client's own has to end it.
#[tokio::test(flavor = "multi_thread")]
async fn a_network_that_swallows_packets_keeps_nobody_waiting_for_ever() {
    let clinic = Clinic::with_ledger_elsewhere().await;
    clinic.configure("statement_timeout_seconds", "1").await;
    clinic.configure("table_retry_seconds", "0.1").await;
    let socket = |cluster: &Cluster| cluster.server.directory().join(".s.PGSQL.5432");
    let (to_source, to_ledger) =
        (Proxy::start(socket(Cluster::shared())).await, Proxy::start(socket(Cluster::elsewhere())).await);
    let url = |proxy: &Proxy, database: &str| {
        format!("postgresql://postgres@127.0.0.1:{}/{database}?sslmode=disable", proxy.port)
    };
    let books = clinic.ledger.get_dbname().expect("a database").to_string();
    let mut running = Running::start(&url(&to_source, &clinic.database), &url(&to_ledger, &books), None);
    to_source.set(Mode::Delay(30)); // slow is not gone
    clinic.write(BILL).await;
    until(&clinic.accountant, ENTRIES, "1").await;
    for (count, proxy, mode) in [("2", &to_ledger, Mode::Swallow), ("3", &to_source, Mode::LoseAnswers)] {
        proxy.set(mode);
        clinic.write(BILL).await;
        tokio::time::sleep(Duration::from_secs(8)).await;
        proxy.set(Mode::Pass);
        until(&clinic.accountant, ENTRIES, count).await;
        until(&clinic.dba, NOTHING_QUEUED, "0").await;
    }
    assert!(!running.has_ended());
    let (code, said) = running.stop();
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("no answer within 6 s: the connection is given up"), "{said}");
    clinic.assert_ledger_equals_bills().await;
}

/// It was stopped while it held a bill on both sides: its transactions end by their idle time, and another process goes on.
#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_process_holds_its_bills_for_seconds_only_and_posts_nothing_twice_afterwards() {
    let clinic = Clinic::with_ledger_elsewhere().await;
    clinic.configure("table_retry_seconds", "0.1").await;
    let books = clinic.ledger.get_dbname().expect("a database").to_string();
    let (source_url, ledger_url) =
        (crate::command_line::url(&clinic), Cluster::elsewhere().server.url("postgres", &books));
    clinic.write("INSERT INTO lab_bills (id, amount, invoice_number) VALUES (1, 10, 'A'), (2, 10, 'A')").await;
    clinic.drain().await;
    let stopped = Running::start(&source_url, &ledger_url, None);
    // It waits for a bill that somebody holds in the ledger, and so holds the events and the bill before that one.
    clinic
        .accountant
        .batch_execute("BEGIN; SELECT FROM ledger.sync_master_status WHERE reference_id = '2' FOR UPDATE")
        .await
        .expect("holds a bill");
    clinic.write("UPDATE lab_bills SET amount = 20").await;
    let waits = "SELECT count(*) > 0 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database() AND application_name = 'daybook consumer'";
    let onlooker = connect(Side::Ledger, &clinic.ledger).await.expect("connects");
    until(&onlooker, waits, "true").await;
    stopped.signal(nix::sys::signal::Signal::SIGSTOP);
    clinic.accountant.batch_execute("COMMIT").await.expect("lets go");
    let other = Running::start(&source_url, &ledger_url, None);
    until(&onlooker, "SELECT count(*) FROM ledger.journal_entries WHERE kind = 'correction'", "2").await;
    until(&clinic.dba, NOTHING_QUEUED, "0").await;
    stopped.signal(nix::sys::signal::Signal::SIGCONT);
    clinic.write("UPDATE lab_bills SET amount = 30").await;
    until(&onlooker, "SELECT count(*) FROM ledger.journal_entries WHERE kind = 'correction'", "4").await;
    until(&clinic.dba, NOTHING_QUEUED, "0").await;
    assert_eq!(other.stop().0, Some(0));
    let (code, said) = stopped.stop();
    assert_eq!(code, Some(0), "{said}");
    clinic.assert_ledger_equals_bills().await;
}

/// Stopped in the middle of an answer: the server cannot finish it, and none of its time limits applies.
#[tokio::test(flavor = "multi_thread")]
async fn a_session_whose_process_does_not_take_its_answers_is_ended_by_another_process() {
    use std::io::Write;
    let clinic = Clinic::new().await;
    clinic.configure("statement_timeout_seconds", "1").await;
    let socket = Cluster::shared().server.directory().join(".s.PGSQL.5432");
    let mut stopped = std::os::unix::net::UnixStream::connect(socket).expect("connects");
    let message = |kind: &[u8], body: &[u8]| {
        let length = i32::try_from(body.len() + 4).expect("a short message").to_be_bytes();
        [kind, &length, body].concat()
    };
    let startup = format!("user\0postgres\0database\0{}\0application_name\0daybook consumer\0\0", clinic.database);
    let startup = [&196_608_i32.to_be_bytes()[..], startup.as_bytes()].concat();
    stopped.write_all(&message(b"", &startup)).expect("begins");
    let endless = b"BEGIN; SELECT repeat('x', 100000) FROM generate_series(1, 1000)\0";
    stopped.write_all(&message(b"Q", endless)).expect("asks, and never listens");
    let stuck =
        "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'ClientWrite' AND datname = current_database()";
    until(&clinic.dba, stuck, "1").await;
    let url = crate::command_line::url(&clinic);
    let running = Running::start(&url, &url, None);
    until(&clinic.dba, stuck, "0").await;
    let (code, said) = running.stop();
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("ended a session whose process does not take its answers"), "{said}");
}

/// A batch may take longer than a hung process may hold its locks.
#[tokio::test(flavor = "multi_thread")]
async fn a_slow_ledger_does_not_cost_a_busy_process_its_events() {
    let clinic = Clinic::with_ledger_elsewhere().await;
    let slow = "CREATE FUNCTION public.slow() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN PERFORM pg_sleep(7); RETURN NEW; END$$;
                CREATE TRIGGER slow BEFORE INSERT ON ledger.journal_entries FOR EACH ROW EXECUTE FUNCTION public.slow()";
    clinic.accountant.batch_execute(slow).await.expect("slows the ledger down");
    clinic.write(BILL).await;
    let options = Databases { workers: 1, ..clinic.options(1) };
    let drained = daybook::consumer::drain(options, Duration::from_secs(60)).await.expect("drains");
    assert_eq!(drained.unfinished, 0);
    assert_eq!(clinic.ledger_text("SELECT last_value FROM ledger.journal_entry_id").await, "1", "in one attempt");
}

/// A program of another version than the schema would read or write it by guess.
#[tokio::test(flavor = "multi_thread")]
async fn a_program_of_another_version_than_the_schema_posts_nothing_until_they_agree() {
    let clinic = Clinic::new().await;
    let later = "INSERT INTO ledger.schema_history SELECT version + 1, 'later', '', '1' FROM ledger.schema_history ORDER BY version DESC LIMIT 1";
    let mut running = {
        let url = crate::command_line::url(&clinic);
        Running::start(&url, &url, None)
    };
    clinic.write(BILL).await;
    until(&clinic.accountant, ENTRIES, "1").await;
    clinic.accountant.batch_execute(later).await.expect("is upgraded under it");
    let error = daybook::consumer::drain(clinic.options(1), Duration::from_secs(1)).await.expect_err("is refused");
    assert!(error.to_string().contains("replace this program by the one that installed it"), "{error}");
    tokio::time::sleep(Duration::from_secs(3)).await;
    clinic.write(BILL).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(clinic.ledger_text(ENTRIES).await, "1", "a running one stops, too");
    assert!(!running.has_ended());
    clinic.accountant.batch_execute("DELETE FROM ledger.schema_history WHERE name = 'later'").await.expect("agrees");
    until(&clinic.accountant, ENTRIES, "2").await;
    let (code, said) = running.stop();
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("schema ledger of the ledger database is of version"), "{said}");
}
