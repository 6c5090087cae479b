//! What either server must be like, before and after installing. Pure.

use super::Limits;
use super::facts::{Backends, Clock, Server, Setting};
use super::finding::{Finding, Place, Severity};
use crate::database::{Side, quote_identifier, quote_literal};

fn place(side: Side) -> Place {
    match side {
        Side::Source => Place::Source,
        Side::Ledger => Place::Ledger,
    }
}

/// The statements that give a setting another value in the place where it has its present one.
fn set(server: &Server, side: Side, name: &str, value: &str) -> (Place, String) {
    let (database, user) = (quote_identifier(&server.database), quote_identifier(&server.user));
    let source = server.settings.get(name).map_or("", |Setting { source, .. }| source.as_str());
    // Where transactions are read-only by default, the cure needs one that is not.
    let sql = |altered: String| format!("BEGIN READ WRITE;\n{altered} SET {name} = {value};\nCOMMIT;");
    match source {
        "database" => (place(side), sql(format!("ALTER DATABASE {database}"))),
        "user" => (place(side), sql(format!("ALTER ROLE {user}"))),
        "database user" => (place(side), sql(format!("ALTER ROLE {user} IN DATABASE {database}"))),
        "client" => (Place::Shell, format!("# take {name} out of the connection string's options")),
        "command line" => (Place::Shell, format!("# start the server without {name} on its command line")),
        _ => (place(side), format!("ALTER SYSTEM SET {name} = {value};\nSELECT pg_reload_conf();")),
    }
}

fn is(server: &Server, name: &str, value: &str) -> bool {
    server.setting(name) == value
}

/// Session settings and prepared statements do not survive pooling by transaction.
pub fn pooling(backends: &Backends, side: Side) -> Vec<Finding> {
    let Backends { first, second, first_again } = *backends;
    if first != second && first_again == Some(first) {
        return Vec::new();
    }
    vec![
        Finding::error(
            "pooling",
            side.name(),
            "two sessions share server processes: a pooler in transaction or statement mode stands in between, in which session \
             settings and locks are lost",
        )
        .fix(Place::Shell, format!(
            "# give --{}-url the server's own address, or set pool_mode = session for this database in the pooler",
            side.name()
        )),
    ]
}

pub fn right_to_install(may_install: bool, server: &Server, side: Side) -> Vec<Finding> {
    if may_install {
        return Vec::new();
    }
    vec![
        Finding::error(
            "right_to_install",
            &server.user,
            format!(
                "may not install in the {} database {}: it takes a superuser (before PostgreSQL 16 also a role with CREATEROLE \
                 and CREATE on the database)",
                side.name(),
                server.database
            ),
        )
        .fix(Place::Shell, format!(
            "# let a superuser run `daybook install`, or what `daybook install --print` prints, in database {}",
            server.database
        )),
    ]
}

/// Every key of the source must have a place in the ledger.
pub fn encoding(source: &Server, ledger: &Server) -> Vec<Finding> {
    if ledger.encoding == "UTF8" || ledger.encoding == source.encoding {
        return Vec::new();
    }
    vec![
        Finding::error(
            "encoding",
            &ledger.database,
            format!(
                "the ledger database is encoded in {}, which may lack characters of the source's keys ({}). Make another one, \
                 and name it by --ledger-url",
                ledger.encoding, source.encoding
            ),
        )
        .fix(Place::Ledger, format!(
            "CREATE DATABASE {} ENCODING 'UTF8' LOCALE 'C' TEMPLATE template0;",
            quote_identifier(&format!("{}_utf8", ledger.database))
        )),
    ]
}

/// Installing takes the source server's zone for the book's where none is named.
pub fn zone_of_server(source: &Server, is_known: bool) -> Vec<Finding> {
    if is_known {
        return Vec::new();
    }
    let problem = format!(
        "the server's time zone {} is none of pg_timezone_names, so that it cannot be the book's: name that one at installation",
        source.setting("TimeZone")
    );
    vec![
        Finding::warning("zone_of_server", "TimeZone", problem)
            .fix(Place::Shell, "daybook install --time-zone Asia/Kolkata"),
    ]
}

pub fn standby(server: &Server, side: Side) -> Vec<Finding> {
    if !server.in_recovery {
        return Vec::new();
    }
    vec![
        Finding::error(
            "standby",
            &server.database,
            "the server is a standby, which takes no writes: nothing can be posted",
        )
        .fix(Place::Shell, format!("# give --{}-url the primary's address", side.name())),
    ]
}

/// Settings that cost data, or make ours impossible.
pub fn settings(server: &Server, side: Side) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut found = |severity, name: &str, value: &str, problem: &str| {
        let (place, fix) = set(server, side, name, value);
        findings.push(
            Finding::of(severity, "settings", format!("{name} ({} server)", side.name()), problem).fix(place, fix),
        );
    };
    if is(server, "fsync", "off") {
        found(
            Severity::Error,
            "fsync",
            "on",
            "is off: a crash of the machine can destroy the database, whatever was committed",
        );
    }
    if is(server, "full_page_writes", "off") {
        found(Severity::Warning, "full_page_writes", "on", "is off: a crash of the machine can leave torn pages");
    }
    if is(server, "default_transaction_read_only", "on") {
        let problem = "is on: installing and switching fail, and so does the application unless it says otherwise";
        found(Severity::Warning, "default_transaction_read_only", "off", problem);
    }
    if is(server, "autovacuum", "off") {
        found(
            Severity::Warning,
            "autovacuum",
            "on",
            "is off: the queue's dead rows are never removed, and claiming slows down",
        );
    }
    if is(server, "track_counts", "off") {
        found(Severity::Warning, "track_counts", "on", "is off: autovacuum does not learn what to clean");
    }
    findings
}

/// Free advice before installing.
pub fn wal_level(source: &Server) -> Vec<Finding> {
    let level = source.setting("wal_level");
    if level == "logical" || level.is_empty() {
        return Vec::new();
    }
    let problem = format!(
        "is {level}, which is enough for capture by trigger; what reads the WAL needs logical, which takes a restart of the server"
    );
    vec![Finding::info("wal_level", "wal_level", problem).fix(Place::Source, "ALTER SYSTEM SET wal_level = 'logical';")]
}

/// Room for our sessions: three a worker at most, and two for housekeeping.
pub fn connections(server: &Server, side: Side, workers: usize) -> Vec<Finding> {
    let wanted = 3 * i64::try_from(workers).unwrap_or(64) + 2;
    let mut findings = Vec::new();
    let maximum: i64 = server.setting("max_connections").parse().unwrap_or_default();
    let free = maximum - server.reserved_connections - server.clients;
    let problem =
        |free: i64| format!("{} connections are free, and {workers} workers take up to {wanted}", free.max(0));
    if free < wanted {
        findings.push(
            Finding::warning("connections", "max_connections", problem(free) + "; it takes a restart of the server")
                .fix(place(side), format!("ALTER SYSTEM SET max_connections = {};", maximum + wanted - free)),
        );
    }
    let limits = [
        ("database", &server.database, server.database_connection_limit, server.database_clients, "DATABASE"),
        ("role", &server.user, server.role_connection_limit, server.role_clients, "ROLE"),
    ];
    for (kind, name, limit, clients, keyword) in limits {
        if limit >= 0 && limit - clients < wanted {
            let fix = format!("ALTER {keyword} {} CONNECTION LIMIT {};", quote_identifier(name), clients + wanted);
            findings.push(
                Finding::warning("connections", format!("{kind} {name}"), problem(limit - clients))
                    .fix(place(side), fix),
            );
        }
    }
    findings
}

/// A database whose transaction ids run out refuses all writes, the application's too.
pub fn transaction_ids(server: &Server, side: Side, limits: &Limits) -> Vec<Finding> {
    let severity = match server.xid_age {
        age if age >= limits.xid_age_error => Severity::Error,
        age if age >= limits.xid_age_warning => Severity::Warning,
        _ => return Vec::new(),
    };
    let problem = format!(
        "its oldest row is {} transactions old, and at 2 billion the database takes no more writes: find out what holds vacuum \
         back, then",
        server.xid_age
    );
    vec![Finding::of(severity, "transaction_ids", &server.database, problem).fix(place(side), "VACUUM (FREEZE);")]
}

/// A server's clock against this machine's.
pub fn clock(clock: &Clock, side: Side, limits: &Limits) -> Vec<Finding> {
    difference(format!("{} server", side.name()), "this machine", clock.ahead_ms, clock.doubt_ms, limits)
}

/// The two servers' clocks against each other.
pub fn clocks(source: &Clock, ledger: &Clock, limits: &Limits) -> Vec<Finding> {
    let (ahead, doubt) = (source.ahead_ms - ledger.ahead_ms, source.doubt_ms + ledger.doubt_ms);
    difference("source server".into(), "the ledger server", ahead, doubt, limits)
}

fn difference(subject: String, other: &str, ahead_ms: i64, doubt_ms: i64, limits: &Limits) -> Vec<Finding> {
    // Only what the round trip cannot explain.
    let severity = match ahead_ms.abs() - doubt_ms {
        surely if surely >= limits.clock_error_ms => Severity::Error,
        surely if surely >= limits.clock_warning_ms => Severity::Warning,
        _ => return Vec::new(),
    };
    let word = if ahead_ms > 0 { "ahead of" } else { "behind" };
    let problem = format!("its clock is {}.{:03} s {word} {other}'s", ahead_ms.abs() / 1000, ahead_ms.abs() % 1000);
    vec![
        Finding::of(severity, "clock", subject, problem)
            .fix(Place::Shell, "timedatectl set-ntp true # on the machine whose clock is wrong"),
    ]
}

/// What other roles do cannot be seen.
pub fn right_to_statistics(server: &Server) -> Vec<Finding> {
    if server.may_read_stats {
        return Vec::new();
    }
    let problem = "may not see the transactions of other roles, so that long ones of theirs were not looked for";
    vec![
        Finding::warning("right_to_look", &server.user, problem)
            .fix(Place::Source, format!("GRANT pg_read_all_stats TO {};", quote_identifier(&server.user))),
    ]
}

/// A schema by our name that is not ours.
pub fn schema_name_taken(side: Side, schema: &str) -> Vec<Finding> {
    let other = quote_identifier(&format!("{schema}_other"));
    let problem = format!(
        "the {} database has a schema {schema} that daybook did not make ({} has no schema_history)",
        side.name(),
        quote_literal(schema)
    );
    vec![
        Finding::error("schema_name_taken", schema, problem)
            .fix(place(side), format!("ALTER SCHEMA {} RENAME TO {other};", quote_identifier(schema))),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(settings: &[(&str, &str, &str)]) -> Server {
        let settings = settings.iter().map(|(name, value, source)| {
            (name.to_string(), Setting { value: value.to_string(), source: source.to_string() })
        });
        let (user, database) = ("me".to_string(), "it".to_string());
        Server {
            user,
            database,
            settings: settings.collect(),
            database_connection_limit: -1,
            role_connection_limit: -1,
            ..Server::default()
        }
    }

    #[test]
    fn a_setting_is_mended_where_it_was_set() {
        let table = [
            ("configuration file", "ALTER SYSTEM SET fsync = on;\nSELECT pg_reload_conf();"),
            ("database", "BEGIN READ WRITE;\nALTER DATABASE \"it\" SET fsync = on;\nCOMMIT;"),
            ("user", "BEGIN READ WRITE;\nALTER ROLE \"me\" SET fsync = on;\nCOMMIT;"),
            ("database user", "BEGIN READ WRITE;\nALTER ROLE \"me\" IN DATABASE \"it\" SET fsync = on;\nCOMMIT;"),
            ("command line", "# start the server without fsync on its command line"),
        ];
        for (source, fix) in table {
            let findings = settings(&with(&[("fsync", "off", source)]), Side::Source);
            assert_eq!((findings.len(), findings[0].severity, findings[0].fix.as_str()), (1, Severity::Error, fix));
        }
        assert!(settings(&with(&[("fsync", "on", "default")]), Side::Source).is_empty());
    }

    #[test]
    fn a_clock_is_wrong_only_where_the_round_trip_cannot_explain_it() {
        let limits = Limits::default();
        let table = [
            (1_999, 0, None),
            (2_000, 0, Some(Severity::Warning)),
            (-2_000, 0, Some(Severity::Warning)),
            (2_500, 600, None),
            (59_999, 0, Some(Severity::Warning)),
            (60_000, 0, Some(Severity::Error)),
            (-60_500, 1_000, Some(Severity::Warning)),
        ];
        for (ahead_ms, doubt_ms, expected) in table {
            let found = clock(&Clock { ahead_ms, doubt_ms }, Side::Source, &limits);
            assert_eq!(found.first().map(|finding| finding.severity), expected, "{ahead_ms} {doubt_ms}");
        }
        let (source, ledger) = (Clock { ahead_ms: 1_500, doubt_ms: 1 }, Clock { ahead_ms: -1_500, doubt_ms: 1 });
        let found = clocks(&source, &ledger, &limits);
        assert_eq!(found[0].problem, "its clock is 3.000 s ahead of the ledger server's");
    }

    #[test]
    fn sessions_that_share_a_backend_are_pooled() {
        let table = [((7, 8, Some(7)), 0), ((7, 7, Some(7)), 1), ((7, 8, Some(9)), 1), ((7, 8, None), 1)];
        for ((first, second, first_again), expected) in table {
            let backends = Backends { first, second, first_again };
            assert_eq!(pooling(&backends, Side::Source).len(), expected, "{backends:?}");
        }
    }

    #[test]
    fn room_for_connections_is_counted_by_server_database_and_role() {
        let server = |maximum: &str, clients, database_limit, role_limit| Server {
            clients,
            reserved_connections: 3,
            database_connection_limit: database_limit,
            database_clients: clients,
            role_connection_limit: role_limit,
            role_clients: 1,
            ..with(&[("max_connections", maximum, "default")])
        };
        let subjects = |server: &Server| {
            let found = connections(server, Side::Source, 2);
            found.into_iter().map(|finding| finding.subject).collect::<Vec<_>>()
        };
        assert!(subjects(&server("100", 5, -1, -1)).is_empty());
        assert_eq!(subjects(&server("20", 12, -1, -1)), ["max_connections"]);
        assert_eq!(subjects(&server("100", 5, 12, 8)), ["database it", "role me"]);
        assert_eq!(
            connections(&server("20", 12, -1, -1), Side::Source, 2)[0].fix,
            "ALTER SYSTEM SET max_connections = 23;"
        );
    }

    #[test]
    fn what_only_other_servers_can_show_is_found() {
        let standing_by = Server { in_recovery: true, ..with(&[]) };
        assert_eq!(standby(&standing_by, Side::Ledger)[0].severity, Severity::Error);
        let old = |xid_age| transaction_ids(&Server { xid_age, ..with(&[]) }, Side::Source, &Limits::default());
        assert!(old(999_999_999).is_empty());
        assert_eq!(old(1_000_000_000)[0].severity, Severity::Warning);
        assert_eq!(old(1_800_000_000)[0].severity, Severity::Error);
    }
}
