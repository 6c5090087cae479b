//! Installing: what is run, in which order, and the same as text for a DBA to review. [`uninstall`] takes it out again.
//!
//! Tables come by migrations that are never edited once shipped. Functions, views and privileges come by files that are
//! run anew at each installation, so that no migration restates a function.

mod uninstall;

pub use uninstall::{print_uninstall, uninstall};

use crate::address::Address;
use refinery::{Migration, Runner};
use tokio_postgres::Client;

use crate::database::{Session, Side, connect_plainly, quote_literal};
use crate::error::{Doing, Error, Result, explain};
use crate::identity::{Identity, Wishes, check_identity, identity};
use crate::posting::rule::Rule;
use crate::rules::BUILT_IN;

/// A file of SQL, by its path below `sql/`.
type SqlFile = (&'static str, &'static str);

macro_rules! sql_files {
    ($($path:literal),* $(,)?) => { &[$(($path, include_str!(concat!("../sql/", $path)))),*] };
}

const SOURCE_MIGRATIONS: &[SqlFile] = sql_files![
    "source/migrations/V1__sync_configuration.sql",
    "source/migrations/V2__sync_source.sql",
    "source/migrations/V3__sync_queue.sql",
    "source/migrations/V4__sync_dead_letter.sql",
    "source/migrations/V5__sync_audit_log.sql",
    "source/migrations/V6__sync_alerts.sql",
    "source/migrations/V7__sync_system_health.sql",
    "source/migrations/V8__table_policies.sql",
    "source/migrations/V9__enqueueing_progress.sql",
    "source/migrations/V10__out_of_scope.sql",
    "source/migrations/V11__brake_backfill_and_pause.sql",
    "source/migrations/V12__ledger_meeting.sql",
    "source/migrations/V13__resolve_events.sql",
    "source/migrations/V14__alerts_and_retention.sql",
    "source/migrations/V15__statement_timeout.sql",
    "source/migrations/V16__sync_health_figures.sql",
    "source/migrations/V17__ledger_place.sql",
    "source/migrations/V18__reconciliation.sql",
    "source/migrations/V19__cash_closure_time.sql",
    "source/migrations/V20__clinic_rules.sql",
    "source/migrations/V21__wal_capture.sql",
    "source/migrations/V22__capture_mode_began.sql",
];

const SOURCE_FUNCTIONS: &[SqlFile] = sql_files![
    "source/functions/01_key_text.sql",
    "source/functions/02_column_text.sql",
    "source/functions/03_key_expression.sql",
    "source/functions/04_write_capture_function.sql",
    "source/functions/05_attach_checks.sql",
    "source/functions/05_code_in_plans.sql",
    "source/functions/05_publish.sql",
    "source/functions/05_attach.sql",
    "source/functions/06_detach.sql",
    "source/functions/07_suspend.sql",
    "source/functions/08_resume.sql",
    "source/functions/09_older_transactions_ended.sql",
    "source/functions/10_refresh_capture.sql",
    "source/functions/11_enqueue.sql",
    "source/functions/12_dead_letters.sql",
    "source/functions/13_alerts.sql",
    "source/functions/14_partitions.sql",
    "source/functions/15_guard_configuration.sql",
    "source/functions/16_pause.sql",
    "source/functions/17_begin_numbers_anew.sql",
    "source/functions/18_findings.sql",
    "source/functions/99_privileges.sql",
];

const LEDGER_MIGRATIONS: &[SqlFile] = sql_files![
    "ledger/migrations/V1__books.sql",
    "ledger/migrations/V2__accounts.sql",
    "ledger/migrations/V3__periods.sql",
    "ledger/migrations/V4__posting_rules.sql",
    "ledger/migrations/V5__journal_entries.sql",
    "ledger/migrations/V6__journal_lines.sql",
    "ledger/migrations/V7__sync_master_status.sql",
    "ledger/migrations/V8__sources.sql",
    "ledger/migrations/V9__posting_rule_versions.sql",
    "ledger/migrations/V10__period_log.sql",
    "ledger/migrations/V11__disappearances.sql",
    "ledger/migrations/V12__resolved_bills.sql",
    "ledger/migrations/V13__digests.sql",
    "ledger/migrations/V14__blocks.sql",
    "ledger/migrations/V15__cash_closures.sql",
];

const LEDGER_FUNCTIONS: &[SqlFile] = sql_files![
    "ledger/functions/01_refuse_change.sql",
    "ledger/functions/02_seal_entries.sql",
    "ledger/functions/03_hold_book.sql",
    "ledger/functions/04_views.sql",
    "ledger/functions/05_triggers.sql",
    "ledger/functions/06_guards.sql",
    "ledger/functions/07_periods.sql",
    "ledger/functions/08_apply_rule.sql",
    "ledger/functions/09_pass_entry_ids.sql",
    "ledger/functions/10_cash_views.sql",
    "ledger/functions/10_receivables.sql",
    "ledger/functions/11_cash_days.sql",
    "ledger/functions/12_close_cash_day.sql",
    "ledger/functions/13_cash_guards.sql",
    "ledger/functions/10_chain_blocks.sql",
    "ledger/functions/99_privileges.sql",
];

/// The chart of accounts that they post to.
pub const BUILT_IN_ACCOUNTS: &str = include_str!("../rules/accounts.csv");

/// Held while installing, so that two installations of one database take turns.
const ADVISORY_LOCK: i64 = i64::from_be_bytes(*b"daybook\0");

/// Everything that one side gets, in order.
struct Script {
    side: Side,
    schema: &'static str,
    migrations: &'static [SqlFile],
    functions: &'static [SqlFile],
}

const SOURCE: Script =
    Script { side: Side::Source, schema: "daybook", migrations: SOURCE_MIGRATIONS, functions: SOURCE_FUNCTIONS };
const LEDGER: Script =
    Script { side: Side::Ledger, schema: "ledger", migrations: LEDGER_MIGRATIONS, functions: LEDGER_FUNCTIONS };

/// The number of a side's last migration.
pub fn schema_version(side: Side) -> Result<i32> {
    Ok(script(side).refinery_migrations()?.iter().map(Migration::version).max().unwrap_or_default())
}

/// Whether a schema is the one that this program was made for: each migration is a new protocol between the two, and a consumer of
/// another one would read or write it by guess.
pub async fn check_schema(side: Side, session: &Session) -> Result<()> {
    let script = script(side);
    let needed = schema_version(side)?;
    let sql = format!("SELECT coalesce(max(version), 0)::bigint FROM {}", script.history_table());
    let present: i64 = session.query_one(&sql, &[]).await.doing("asking for the schema's version")?.get(0);
    let advice = match present.cmp(&i64::from(needed)) {
        std::cmp::Ordering::Equal => return Ok(()),
        std::cmp::Ordering::Less => "run `daybook install`",
        std::cmp::Ordering::Greater => "replace this program by the one that installed it",
    };
    Err(Error::NotInstalled(format!(
        "schema {} of the {} database is of version {present}, and this program is made for {needed}: {advice}",
        script.schema,
        side.name()
    )))
}

impl Script {
    fn bootstrap(&self) -> [SqlFile; 2] {
        let schema = match self.side {
            Side::Source => ("source/schema.sql", include_str!("../sql/source/schema.sql")),
            Side::Ledger => ("ledger/schema.sql", include_str!("../sql/ledger/schema.sql")),
        };
        [("roles.sql", include_str!("../sql/roles.sql")), schema]
    }

    fn refinery_migrations(&self) -> Result<Vec<Migration>> {
        let migration = |(path, sql): &SqlFile| {
            let name = path.rsplit('/').next().unwrap_or(path).trim_end_matches(".sql");
            Migration::unapplied(name, sql).map_err(|error| Error::Unexpected(format!("migration {path}: {error}")))
        };
        self.migrations.iter().map(migration).collect()
    }

    fn history_table(&self) -> String {
        format!("{}.schema_history", self.schema)
    }

    /// What the source gets by its identity, and the ledger by the book.
    fn data(&self, identity: &Identity) -> Result<String> {
        match self.side {
            Side::Source => Ok(source_data(identity)),
            Side::Ledger => ledger_data(identity),
        }
    }

    /// What runs after it as the installing role again.
    fn after(&self) -> Option<SqlFile> {
        match self.side {
            Side::Source => Some(("source/after_install.sql", include_str!("../sql/source/after_install.sql"))),
            Side::Ledger => None,
        }
    }

    async fn run(&self, client: &mut Client, identity: &Identity) -> Result<usize> {
        client.batch_execute("SET lock_timeout = '5s'; SET client_min_messages = warning").await.doing("installing")?;
        client.execute("SELECT pg_advisory_lock($1)", &[&ADVISORY_LOCK]).await.map_err(|error| {
            Error::Unreachable(format!(
                "another installation of daybook is running on the {} database: wait for it, and try again ({})",
                self.side.name(),
                explain(&error)
            ))
        })?;
        // From here on tables of ours may be altered that the application writes to through its triggers: it would queue up behind
        // us, and not for longer than behind attach.
        client.batch_execute("SET lock_timeout = '800ms'").await.doing("installing")?;
        for (path, sql) in self.bootstrap() {
            run_file(client, path, sql).await?;
        }
        client.batch_execute("SET ROLE daybook_owner").await.doing("acting as daybook_owner")?;
        let mut runner = Runner::new(&self.refinery_migrations()?).set_grouped(true);
        runner.set_migration_table_name(self.history_table());
        let report = runner
            .run_async(client)
            .await
            .map_err(|error| Error::NotInstalled(format!("migrating schema {}: {error}; nothing was changed. After a lock timeout, try again at a quieter moment", self.schema)))?;
        for (path, sql) in self.functions {
            run_file(client, path, sql).await?;
        }
        run_file(client, "its own data", &self.data(identity)?).await?;
        client.batch_execute("RESET ROLE").await.doing("acting as the installing role")?;
        if let Some((path, sql)) = self.after() {
            run_file(client, path, sql).await?;
        }
        client.execute("SELECT pg_advisory_unlock($1)", &[&ADVISORY_LOCK]).await.doing("releasing the lock")?;
        Ok(report.applied_migrations().len())
    }

    /// The same as one text for psql, with the migrations' history, so that `daybook install` finds it in place.
    fn print(&self, identity: &Identity) -> Result<String> {
        let mut script = format!(
            "-- daybook {}: the {} side, for the {} database. Where source and ledger are two databases, cut here, and run each\n\
             -- part in its own: psql --set ON_ERROR_STOP=1 --file ...\n\
             BEGIN;\n-- What the application calls by the names of PostgreSQL's own is not run.\nSET LOCAL search_path = pg_catalog, pg_temp;\n\
             SET LOCAL lock_timeout = '5s';\nSET LOCAL client_min_messages = warning;\n\n",
            env!("CARGO_PKG_VERSION"),
            self.side.name(),
            self.side.name(),
        );
        let mut add = |path: &str, sql: &str| {
            script.push_str(&format!("-- ===== {path}\n{}\n\n", sql.trim_end()));
        };
        for (path, sql) in self.bootstrap() {
            add(path, sql);
        }
        add(
            "the history of migrations",
            &format!(
                "SET LOCAL ROLE daybook_owner;\nCREATE TABLE {} (\n    version int4 PRIMARY KEY,\n    name varchar(255),\n    \
                 applied_on varchar(255),\n    checksum varchar(255)\n);",
                self.history_table()
            ),
        );
        for ((path, sql), migration) in self.migrations.iter().zip(self.refinery_migrations()?) {
            add(path, sql);
            add(
                "and its history",
                &format!(
                    "INSERT INTO {} VALUES ({}, {}, to_char(now() AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"'), '{}');",
                    self.history_table(),
                    migration.version(),
                    quote_literal(migration.name()),
                    migration.checksum()
                ),
            );
        }
        for (path, sql) in self.functions {
            add(path, sql);
        }
        add("its own data", &self.data(identity)?);
        add("the installing role again", "RESET ROLE;");
        if let Some((path, sql)) = self.after() {
            add(path, sql);
        }
        script.push_str("COMMIT;\n");
        Ok(script)
    }
}

async fn run_file(client: &Client, path: &str, sql: &str) -> Result<()> {
    client.batch_execute(sql).await.map_err(|error| {
        Error::NotInstalled(format!(
            "installing {path}: {}; nothing was lost, mend it and run `daybook install` again",
            explain(&error)
        ))
    })
}

fn source_data(identity: &Identity) -> String {
    let row = |key: &str, value: &str, description: &str| {
        format!(
            "INSERT INTO daybook.sync_configuration (config_key, config_value, value_kind, fixed, description)\n\
             VALUES ('{key}', {}, 'name', true, '{description}') ON CONFLICT DO NOTHING;\n",
            quote_literal(value)
        )
    };
    row("source_name", &identity.source, "name of this source: its bills are known by it in the ledger")
        + &row("book", &identity.book, "the book that its bills belong to")
}

fn ledger_data(identity: &Identity) -> Result<String> {
    let book = quote_literal(&identity.book);
    let mut data = format!(
        "INSERT INTO ledger.books (book, currency, minor_unit, time_zone)\nVALUES ({book}, {}, {}, {}) ON CONFLICT DO NOTHING;\n",
        quote_literal(&identity.currency),
        identity.minor_unit,
        // Empty in a printed script that was not told the zone: the server's own, as install would take it.
        match identity.time_zone.as_str() {
            "" => "current_setting('TimeZone')".to_string(),
            zone => quote_literal(zone),
        }
    );
    for account in BUILT_IN_ACCOUNTS.lines().skip(1) {
        let value = |text: &str| if text.is_empty() { "NULL".to_string() } else { quote_literal(text) };
        let values: Vec<String> = account.split(',').map(value).collect();
        data.push_str(&format!(
            "INSERT INTO ledger.accounts (book, account_code, account_name, account_type, account_role, counted_as)\n\
             VALUES ({book}, {}) ON CONFLICT DO NOTHING;\n",
            values.join(", ")
        ));
    }
    for definition in BUILT_IN {
        let rule = Rule::parse(definition).map_err(|error| Error::Unexpected(error.to_string()))?;
        data.push_str(&format!(
            "INSERT INTO ledger.posting_rules (book, reference_type, rule_hash, definition)\nVALUES ({book}, {}, '{}', {}) ON CONFLICT DO NOTHING;\n",
            quote_literal(&rule.reference_type),
            rule.hash,
            quote_literal(definition)
        ));
    }
    Ok(data)
}

/// What an installation did, for the person who ran it.
#[derive(Debug, PartialEq, Eq)]
pub struct Installed {
    pub source_migrations: usize,
    pub ledger_migrations: usize,
    pub identity: Identity,
}

/// Installs both sides, each under an advisory lock; what is there already stays as it is.
pub async fn install(source: &Address, ledger: &Address, wishes: &Wishes) -> Result<Installed> {
    let mut source_client = connect_plainly(Side::Source, source).await?;
    let mut ledger_client = connect_plainly(Side::Ledger, ledger).await?;
    check_right_to_install(&source_client, Side::Source).await?;
    check_right_to_install(&ledger_client, Side::Ledger).await?;
    check_encodings(&source_client, &ledger_client).await?;
    let identity = identity(&source_client, &ledger_client, wishes).await?;
    let ledger_migrations = LEDGER.run(&mut ledger_client, &identity).await?;
    let source_migrations = SOURCE.run(&mut source_client, &identity).await?;
    Ok(Installed { source_migrations, ledger_migrations, identity })
}

/// A migration that this program ships: number, name, and the checksum that its history keeps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shipped {
    pub version: i32,
    pub name: String,
    pub checksum: String,
}

fn script(side: Side) -> &'static Script {
    match side {
        Side::Source => &SOURCE,
        Side::Ledger => &LEDGER,
    }
}

/// The migrations of a side, for comparison with its history.
pub fn shipped_migrations(side: Side) -> Result<Vec<Shipped>> {
    let shipped = |migration: &Migration| Shipped {
        version: migration.version(),
        name: migration.name().into(),
        checksum: migration.checksum().to_string(),
    };
    Ok(script(side).refinery_migrations()?.iter().map(shipped).collect())
}

/// The texts of the functions of a side, for comparison with its catalog.
pub fn shipped_functions(side: Side) -> impl Iterator<Item = &'static str> {
    script(side).functions.iter().map(|(_, sql)| *sql)
}

/// Every key of the source must have a place in the ledger.
async fn check_encodings(source: &Client, ledger: &Client) -> Result<()> {
    let encoding = async |client: &Client| -> Result<String> {
        Ok(client.query_one("SHOW server_encoding", &[]).await.doing("asking for the encoding")?.get(0))
    };
    let (source, ledger) = (encoding(source).await?, encoding(ledger).await?);
    if source == "SQL_ASCII" {
        return Err(Error::Usage(
            "the source database is encoded in SQL_ASCII, whose texts may be of any encoding, so that no key can be told from \
             another: move it to a database with ENCODING 'UTF8'"
                .into(),
        ));
    }
    if ledger == "UTF8" || ledger == source {
        return Ok(());
    }
    Err(Error::Usage(format!(
        "the ledger database is encoded in {ledger}, which may lack characters of the source's keys ({source}): make the \
         ledger in a database with ENCODING 'UTF8'"
    )))
}

async fn check_right_to_install(client: &Client, side: Side) -> Result<()> {
    let row = client
        .query_one(include_str!("../sql/right_to_install.sql"), &[])
        .await
        .doing("looking at the role's rights")?;
    if row.get(0) {
        return Ok(());
    }
    Err(Error::Unreachable(format!(
        "role {} lacks the rights on the {} database {}: installing and uninstalling take a superuser (before PostgreSQL 16 also a \
         role with CREATEROLE and CREATE on the database)",
        row.get::<_, String>(1),
        side.name(),
        row.get::<_, String>(2)
    )))
}

/// The SQL that [`install`] would run the first time, one script a side.
pub fn print_install(wishes: &Wishes) -> Result<String> {
    let identity = Identity {
        source: wishes.source.clone().unwrap_or("main".into()),
        book: wishes.book.clone().unwrap_or("main".into()),
        currency: wishes.currency.clone().unwrap_or("INR".into()),
        minor_unit: wishes.minor_unit.unwrap_or(2),
        time_zone: wishes.time_zone.clone().unwrap_or_default(),
    };
    check_identity(&identity)?;
    Ok(LEDGER.print(&identity)? + "\n" + &SOURCE.print(&identity)?)
}
