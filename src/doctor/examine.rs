//! The order in which doctor looks: servers, schemas, each side's installation, the work. Each step looks only where the one before
//! it found something to look at.

use tokio_postgres::error::SqlState;

use super::facts::{
    Attached, Attention, Book, Clock, Function, Guards, Queue, Rights, Roles, RuleFacts, Schema, Server, Transactions,
    Zones,
};
use super::finding::{Finding, Place, Report};
use super::look::Look;
use super::stream::{self, Stream};
use super::{Limits, columns, installed, queue, rights, server, shipped, tables, together};
use crate::capture::fit::Definition;
use crate::database::{Side, quote_identifier};
use crate::error::{Doing, Error, Result};
use crate::identity::knows_time_zone;
use crate::install::{self, Shipped};
use crate::options::Databases;
use crate::posting::rule::{Rule, RuleSet};
use crate::rules::BUILT_IN;
use crate::sql;

/// What is known of a side that is installed, as far as it could be read.
struct Installed {
    roles: Option<Roles>,
}

/// Looks at everything, before or after installing.
pub async fn examine(databases: &Databases, limits: &Limits) -> Result<Report> {
    let mut report = Report::default();
    let source = Look::connect(Side::Source, &databases.source).await?;
    let ledger = Look::connect(Side::Ledger, &databases.ledger).await?;
    let (source_server, source_clock) = look_at_server(&source, databases, limits, &mut report).await?;
    let (ledger_server, ledger_clock) = look_at_server(&ledger, databases, limits, &mut report).await?;
    for (side, server) in [(Side::Source, &source_server), (Side::Ledger, &ledger_server)] {
        let is_seen_already = side == Side::Ledger
            && source_server.as_ref().zip(server.as_ref()).is_some_and(|(a, b)| together::is_one_database(a, b));
        if let Some(server) = server.as_ref().filter(|_| !is_seen_already) {
            let name = side.name();
            report.take("standby", name, server::standby(server, side));
            report.take("settings", name, server::settings(server, side));
            report.take("connections", name, server::connections(server, side, databases.workers));
            report.take("transaction_ids", name, server::transaction_ids(server, side, limits));
        }
    }
    if let (Some(source), Some(ledger)) = (&source_server, &ledger_server) {
        report.take("encoding", "both", together_if_two(source, ledger, server::encoding));
    }
    report.take("clock", "both", server::clocks(&source_clock, &ledger_clock, limits));

    let source_schema = look_at_schema(&source, "daybook", &mut report).await?;
    let ledger_schema = look_at_schema(&ledger, "ledger", &mut report).await?;
    let (source_is_there, ledger_is_there) = (source_schema.has_history, ledger_schema.has_history);
    report.take("installed", "both", together::installed(source_is_there, ledger_is_there));
    if !source_is_there || !ledger_is_there {
        could_be_installed(&source, &ledger, source_server.as_ref(), ledger_server.as_ref(), &mut report).await?;
    }
    let mut of_source = None;
    if source_is_there && may_look(&source, &source_schema, "daybook", &mut report) {
        of_source = look_at_side(&source, "daybook", source_server.as_ref(), &mut report).await?;
    }
    let mut of_ledger = None;
    if ledger_is_there && may_look(&ledger, &ledger_schema, "ledger", &mut report) {
        of_ledger = look_at_side(&ledger, "ledger", ledger_server.as_ref(), &mut report).await?;
    }
    if let (Some(of_source), Some(source_server)) = (&of_source, &source_server) {
        let ledger_server = ledger_server.as_ref().filter(|_| of_ledger.is_some());
        let servers = (source_server, ledger_server);
        look_at_work((&source, &ledger), servers, of_source, databases, limits, &mut report).await?;
    }
    report.sort();
    Ok(report)
}

/// Two servers that are one have nothing to disagree about.
fn together_if_two(source: &Server, ledger: &Server, check: fn(&Server, &Server) -> Vec<Finding>) -> Vec<Finding> {
    if together::is_one_database(source, ledger) { Vec::new() } else { check(source, ledger) }
}

/// What a server must be like, whatever is installed on it.
async fn look_at_server(
    look: &Look,
    databases: &Databases,
    limits: &Limits,
    report: &mut Report,
) -> Result<(Option<Server>, Clock)> {
    let side = look.side;
    let config = match side {
        Side::Source => &databases.source,
        Side::Ledger => &databases.ledger,
    };
    // It would have refused the connection otherwise.
    report.take("server_version", side.name(), Vec::new());
    let sql = include_str!("../../sql/doctor/server.sql");
    let facts: Option<Server> = look.ask(report, "the server", sql, &[]).await?;
    // After the connections were counted: one more is made for it, which the server counts until a moment after it ended.
    let backends = look.backends(config).await?;
    report.take("pooling", side.name(), server::pooling(&backends, side));
    look.settle().await?;
    let clock = look.clock().await?;
    report.take("clock", side.name(), server::clock(&clock, side, limits));
    Ok((facts, clock))
}

/// Whether a schema of ours is there.
async fn look_at_schema(look: &Look, name: &str, report: &mut Report) -> Result<Schema> {
    let sql = include_str!("../../sql/doctor/schema.sql");
    let schema: Schema = look.ask(report, "the schemas", sql, &[&name]).await?.unwrap_or_default();
    let taken = match schema.exists && !schema.has_history {
        true => server::schema_name_taken(look.side, name),
        false => Vec::new(),
    };
    report.take("schema_name_taken", look.side.name(), taken);
    Ok(schema)
}

/// What matters only as long as a side is not installed.
async fn could_be_installed(
    source: &Look,
    ledger: &Look,
    source_server: Option<&Server>,
    ledger_server: Option<&Server>,
    report: &mut Report,
) -> Result<()> {
    for (look, server) in [(source, source_server), (ledger, ledger_server)] {
        let row = look.client.query_one(include_str!("../../sql/right_to_install.sql"), &[]).await;
        let may_install: bool =
            row.doing("looking at the role's rights")?.get::<_, Option<bool>>(0).unwrap_or_default();
        if let Some(server) = server {
            let findings = server::right_to_install(may_install, server, look.side);
            report.take("right_to_install", look.side.name(), findings);
        }
    }
    if let Some(server) = source_server {
        let is_known = knows_time_zone(&source.client, server.setting("TimeZone")).await;
        let refused = match &is_known {
            Err(Error::Database { source: error, .. }) => source.unreadable("time zones", error),
            _ => None,
        };
        match refused {
            Some(finding) => report.findings.push(finding),
            None => report.take("zone_of_server", "source", server::zone_of_server(server, is_known?)),
        }
        report.take("wal_level", "source", server::wal_level(server));
    }
    Ok(())
}

fn may_look(look: &Look, schema: &Schema, name: &str, report: &mut Report) -> bool {
    if schema.may_look {
        return true;
    }
    let user = look.user();
    let problem = format!("may not look into schema {name}: nothing in it was checked");
    let place = if look.side == Side::Source { Place::Source } else { Place::Ledger };
    let finding = Finding::error("right_to_look", user, problem)
        .fix(place, format!("GRANT daybook_reader TO {};", quote_identifier(user)));
    report.take("right_to_look", look.side.name(), vec![finding]);
    false
}

/// A side that is installed: is it the one that this program installs? `None` where its version is another.
async fn look_at_side(
    look: &Look,
    schema: &str,
    server: Option<&Server>,
    report: &mut Report,
) -> Result<Option<Installed>> {
    let (side, name) = (look.side, look.side.name());
    let roles: Option<Roles> = look.ask(report, "the roles", include_str!("../../sql/doctor/roles.sql"), &[]).await?;
    if let Some(roles) = &roles {
        report.take("roles", name, rights::roles(roles, side));
        report.take("may_consume", name, rights::may_consume(roles, side));
        if side == Side::Source {
            report.take("statistics", name, rights::statistics(roles));
        }
    }
    if let (Some(server), Side::Source) = (server, side) {
        report.take("right_to_look", name, server::right_to_statistics(server));
    }
    let Some(applied) = history(look, schema, report).await? else {
        return Ok(None);
    };
    let other_version = installed::schema_version(&install::shipped_migrations(side)?, &applied, side);
    let is_other_version = !other_version.is_empty();
    report.take("schema_version", name, other_version);
    if is_other_version {
        return Ok(None);
    }

    let functions = include_str!("../../sql/doctor/functions.sql");
    let functions: Option<Vec<Function>> = look.ask(report, "the functions", functions, &[&schema]).await?;
    let guards: Option<Guards> =
        look.ask(report, "the guards", include_str!("../../sql/doctor/guards.sql"), &[&schema]).await?;
    let rights: Option<Rights> =
        look.ask(report, "the rights", include_str!("../../sql/doctor/rights.sql"), &[&schema]).await?;
    if let Some(functions) = &functions {
        let mut essences = Vec::new();
        for text in install::shipped_functions(side) {
            essences.extend(shipped::functions(text).map_err(Error::Unexpected)?);
        }
        report.take("functions", name, installed::functions(&essences, functions, schema, side));
    }
    if let (Some(guards), Some(functions)) = (&guards, &functions) {
        report.take("guards", name, installed::guards(guards, functions, side));
        report.take("inheritance", name, installed::inheritance(guards, side));
    }
    if let Some(rights) = &rights {
        report.take("owners", name, rights::owners(rights, schema, side));
        report.take("schema_rights", name, rights::schema_rights(rights, schema, side));
        report.take("table_rights", name, rights::table_rights(rights, schema, side));
        if let Some(functions) = &functions {
            report.take("function_rights", name, rights::function_rights(rights, functions, side));
        }
    }
    Ok(Some(Installed { roles }))
}

/// The migrations that a side has had.
async fn history(look: &Look, schema: &str, report: &mut Report) -> Result<Option<Vec<Shipped>>> {
    let sql = format!(
        "SELECT coalesce(jsonb_agg(jsonb_build_array(version, name, checksum) ORDER BY version), '[]') FROM {schema}.schema_history"
    );
    let rows: Option<Vec<(i32, String, String)>> = look.ask(report, "the history of migrations", &sql, &[]).await?;
    let shipped = |(version, name, checksum)| Shipped { version, name, checksum };
    Ok(rows.map(|rows| rows.into_iter().map(shipped).collect()))
}

/// The queue, what waits for a person, what both sides must agree on, and attached tables. The ledger's server: where the ledger
/// side can be asked.
async fn look_at_work(
    (source, ledger): (&Look, &Look),
    (source_server, ledger_server): (&Server, Option<&Server>),
    of_source: &Installed,
    databases: &Databases,
    limits: &Limits,
    report: &mut Report,
) -> Result<()> {
    let transactions = include_str!("../../sql/doctor/transactions.sql");
    if let Some(facts) = source.ask::<Transactions>(report, "transactions", transactions, &[]).await? {
        report.take("long_transactions", "source", queue::long_transactions(&facts, limits));
        report.take("prepared_transactions", "source", queue::prepared_transactions(&facts, limits));
        report.take("replication_slots", "source", queue::replication_slots(&facts, limits));
    }
    let streaming = include_str!("../../sql/doctor/stream.sql");
    if let Some(facts) = source.ask::<Stream>(report, "the stream of changes", streaming, &[]).await? {
        report.take("stream_settings", "source", stream::settings(&facts));
        report.take("stream_slot", "source", stream::slot(&facts, limits));
        report.take("stream_tables", "source", stream::tables(&facts));
    }
    if let Some(facts) =
        source.ask::<Queue>(report, "the queue", include_str!("../../sql/doctor/queue.sql"), &[]).await?
    {
        report.take("queue_bloat", "source", queue::bloat(&facts, limits));
        report.take("consumers", "source", queue::consumers(&facts, limits));
        report.take("paused", "source", queue::paused(&facts));
    }
    let attention = include_str!("../../sql/doctor/attention.sql");
    let attention: Option<Attention> = source.ask(report, "alerts and parked bills", attention, &[]).await?;
    let mut book = None;
    if let Some(attention) = &attention {
        report.take("source_name", "source", together::source_name(databases.name.as_deref(), attention));
        report.take("alerts", "source", queue::alerts(attention));
        report.take("parked", "source", queue::parked(attention));
        if ledger_server.is_some() {
            let sql = include_str!("../../sql/doctor/book.sql");
            book = ledger.ask::<Book>(report, "the book", sql, &[&attention.book, &attention.source]).await?;
        }
    }
    if let (Some(attention), Some(book), Some(ledger_server)) = (&attention, &book, ledger_server) {
        report.take("book", "both", together::book(attention, book));
        report.take("meeting", "both", together::meeting(source_server, ledger_server, attention, book));
        report.take("retained", "ledger", queue::retained(book));
        let zones = look_at_zones(source, ledger, book, report).await?;
        report.take("zones", "both", zones);
    }
    let name = attention.and_then(|attention| attention.book).unwrap_or_default();
    look_at_tables(source, of_source, book.map(|book| (name, book)), report).await
}

type TableCheck = fn(&[Attached]) -> Vec<Finding>;

/// Attached tables. `book`: with its name, where the ledger could be asked.
async fn look_at_tables(
    source: &Look,
    of_source: &Installed,
    book: Option<(String, Book)>,
    report: &mut Report,
) -> Result<()> {
    let sql = include_str!("../../sql/doctor/tables.sql");
    let Some(mut tables) = source.ask::<Vec<Attached>>(report, "attached tables", sql, &[]).await? else {
        return Ok(());
    };
    for table in &mut tables {
        if let Some((_, book)) = &book {
            table.rule = rule_of(source, table, book, report).await?;
        }
    }
    let checks: [(&str, TableCheck); 11] = [
        ("dropped", tables::dropped),
        ("capture_triggers", tables::triggers),
        ("capture_function", tables::function),
        ("suspended", tables::suspended),
        ("privileges", tables::privileges),
        ("row_security", tables::row_security),
        ("keys", columns::keys),
        ("columns", columns::columns),
        ("partitions", tables::partitions),
        ("inheriting_tables", tables::inheriting),
        ("backfill", tables::backfill),
    ];
    for (name, check) in checks {
        report.take(name, "source", check(&tables));
    }
    if let Some((name, book)) = &book {
        let is_built_in =
            |of: &str| BUILT_IN.iter().any(|text| Rule::parse(text).is_ok_and(|rule| rule.reference_type == of));
        report.take("rules", "both", columns::rules(&tables, is_built_in));
        let accounts = columns::accounts(&tables, &book.accounts, name, install::BUILT_IN_ACCOUNTS);
        report.take("accounts", "ledger", accounts);
    }
    if let Some(roles) = &of_source.roles {
        report.findings.extend(rights::consumer_bypass(roles, &tables));
    }
    Ok(())
}

/// The rule of an attached table, and what keeps it from reading the table.
async fn rule_of(source: &Look, table: &Attached, book: &Book, report: &mut Report) -> Result<RuleFacts> {
    let versions = book.rules.iter().filter(|rule| rule.reference_type == table.reference_type);
    let definitions: Vec<&str> = versions.map(|rule| rule.definition.as_str()).collect();
    if definitions.is_empty() {
        return Ok(RuleFacts::None);
    }
    let rules = match RuleSet::parse(&definitions) {
        Ok(rules) => rules,
        Err((version, error)) => return Ok(RuleFacts::Unusable(format!("version {}, {error}", version + 1))),
    };
    let row = match source.client.query_opt(sql::TABLE_DEFINITION, &[&table.reference_type]).await {
        Ok(row) => row,
        Err(error) => {
            report.findings.extend(source.unreadable("the attached tables' columns", &error));
            None
        }
    };
    let Some(row) = row else {
        return Ok(RuleFacts::Unknown);
    };
    let definition = Definition::of(&row);
    let misfits = definition.misfits(&rules).into_iter().map(|misfit| {
        let told = definition.explain(&misfit);
        (misfit, told)
    });
    let misfits = misfits.collect();
    Ok(RuleFacts::InForce { rules, misfits })
}

/// The zones of the book and its rules, on both servers, at instants that show summer time.
async fn look_at_zones(source: &Look, ledger: &Look, book: &Book, report: &mut Report) -> Result<Vec<Finding>> {
    let mut names: Vec<String> = book.time_zone.iter().cloned().collect();
    for rule in book.rules.iter().filter_map(|rule| Rule::parse(&rule.definition).ok()) {
        names.extend(rule.time_zone);
    }
    names.sort_unstable();
    names.dedup();
    let now = chrono::Utc::now();
    let months = (0..12).map(|month| (now + chrono::Duration::days(30 * month)).to_rfc3339());
    let instants: Vec<String> = months.collect();
    if names.is_empty() {
        return Ok(Vec::new());
    }
    let here = local_times(source, &names, &instants, report).await?;
    let there = local_times(ledger, &names, &instants, report).await?;
    Ok(here.zip(there).map(|(here, there)| together::zones(&here, &there)).unwrap_or_default())
}

/// What a server makes of zones. It is asked for each by itself, since it fails where it does not know one.
async fn local_times(look: &Look, names: &[String], instants: &[String], report: &mut Report) -> Result<Option<Zones>> {
    let mut zones = Zones::new();
    for name in names {
        let sql = include_str!("../../sql/doctor/local_times.sql");
        let answer = look.client.query_one(sql, &[name, &instants]).await;
        let is_unknown = answer.as_ref().is_err_and(|error| error.code() == Some(&SqlState::INVALID_PARAMETER_VALUE));
        let times = match is_unknown {
            true => None,
            false => match look.told(report, "time zones", answer)? {
                Some(times) => Some(times),
                None => return Ok(None),
            },
        };
        zones.insert(name.clone(), times);
    }
    Ok(Some(zones))
}
