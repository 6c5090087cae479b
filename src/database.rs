//! Connections to PostgreSQL, and how each session is set up.

use std::collections::HashMap;
use std::str::FromStr;
use std::sync::Mutex;
use std::time::Duration;

use tokio_postgres::config::{Config, Host, SslMode};
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, NoTls, Row, Statement};

use crate::error::{Doing, Error, Result, explain};

/// The oldest server that is supported: `server_version_num` of PostgreSQL 13.
const SERVER_VERSION_NUM_MIN: i32 = 130_000;

/// Which side a connection goes to, for messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    Source,
    Ledger,
}

impl Side {
    pub fn name(self) -> &'static str {
        match self {
            Side::Source => "source",
            Side::Ledger => "ledger",
        }
    }
}

/// Parses a connection string, in URL or key-value form.
pub fn parse_url(side: Side, url: &str) -> Result<Config> {
    let mut config = Config::from_str(url).map_err(|_| {
        Error::Usage(format!(
            "the {} URL is not a PostgreSQL connection string: write postgresql://user@host:5432/database",
            side.name()
        ))
    })?;
    if config.get_ssl_mode() == SslMode::Require {
        return Err(Error::Usage(format!(
            "the {} URL asks for TLS (sslmode=require), which this version does not speak yet: use sslmode=prefer, or a \
             local socket or tunnel",
            side.name()
        )));
    }
    if config.get_hosts().is_empty() && config.get_hostaddrs().is_empty() {
        return Err(Error::Usage(format!(
            "the {} URL names no host; for a local socket add ?host=/var/run/postgresql",
            side.name()
        )));
    }
    if config.get_connect_timeout().is_none() {
        config.connect_timeout(Duration::from_secs(10));
    }
    if config.get_application_name().is_none() {
        config.application_name("daybook");
    }
    config.keepalives_idle(Duration::from_secs(30));
    config.tcp_user_timeout(Duration::from_secs(60));
    Ok(config)
}

/// Connects as the login role itself, for installing and for looking.
pub async fn connect(side: Side, config: &Config) -> Result<Client> {
    let unreachable = |error: &tokio_postgres::Error| {
        let place = place(config);
        Error::Unreachable(format!("cannot connect to the {} database ({place}): {}", side.name(), explain(error)))
    };
    let (client, connection) = config.connect(NoTls).await.map_err(|error| unreachable(&error))?;
    tokio::spawn(async move {
        if let Err(error) = connection.await {
            tracing::debug!(side = side.name(), "connection ended: {}", explain(&error));
        }
    });
    let version = client
        .query_one("SELECT current_setting('server_version_num')::integer, current_setting('server_version')", &[])
        .await
        .map_err(|error| unreachable(&error))?;
    check_version(side, version.get(0), version.get(1))?;
    Ok(client)
}

/// Where a connection goes, without the password.
fn place(config: &Config) -> String {
    let host = match config.get_hosts().first() {
        Some(Host::Tcp(host)) => format!("host {host}, port {}", config.get_ports().first().unwrap_or(&5432)),
        Some(Host::Unix(path)) => format!("socket in {}", path.display()),
        None => "no host".into(),
    };
    let named = |what, name: Option<&str>| name.map(|name| format!(", {what} {name}")).unwrap_or_default();
    host + &named("user", config.get_user()) + &named("database", config.get_dbname())
}

fn check_version(side: Side, number: i32, name: String) -> Result<()> {
    if number < SERVER_VERSION_NUM_MIN {
        return Err(Error::Unreachable(format!(
            "the {} database runs PostgreSQL {name}, and daybook needs 13 or newer: upgrade the server",
            side.name()
        )));
    }
    Ok(())
}

/// A connection with the statements that were prepared on it, so that each is parsed once.
pub struct Session {
    client: Client,
    statements: Mutex<HashMap<String, Statement>>,
}

impl Session {
    pub fn new(client: Client) -> Self {
        Session { client, statements: Mutex::default() }
    }

    pub async fn query(&self, sql: &str, parameters: Parameters<'_>) -> Result<Vec<Row>, tokio_postgres::Error> {
        self.client.query(&self.statement(sql).await?, parameters).await
    }

    pub async fn query_one(&self, sql: &str, parameters: Parameters<'_>) -> Result<Row, tokio_postgres::Error> {
        self.client.query_one(&self.statement(sql).await?, parameters).await
    }

    pub async fn query_opt(&self, sql: &str, parameters: Parameters<'_>) -> Result<Option<Row>, tokio_postgres::Error> {
        self.client.query_opt(&self.statement(sql).await?, parameters).await
    }

    pub async fn execute(&self, sql: &str, parameters: Parameters<'_>) -> Result<u64, tokio_postgres::Error> {
        self.client.execute(&self.statement(sql).await?, parameters).await
    }

    /// Each statement of the transaction sees what was committed before it, whatever the server's default is.
    pub async fn begin(&self) -> Result<(), tokio_postgres::Error> {
        self.client.batch_execute("BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE").await
    }

    pub async fn commit(&self) -> Result<(), tokio_postgres::Error> {
        self.client.batch_execute("COMMIT").await
    }

    pub async fn rollback(&self) -> Result<(), tokio_postgres::Error> {
        self.client.batch_execute("ROLLBACK").await
    }

    /// For what takes no parameters and is said once.
    pub async fn batch_execute(&self, sql: &str) -> Result<(), tokio_postgres::Error> {
        self.client.batch_execute(sql).await
    }

    /// Forgets a statement, because the table that it reads was changed.
    pub fn forget(&self, sql: &str) {
        self.lock().remove(sql);
    }

    async fn statement(&self, sql: &str) -> Result<Statement, tokio_postgres::Error> {
        if let Some(statement) = self.lock().get(sql) {
            return Ok(statement.clone());
        }
        let statement = self.client.prepare(sql).await?;
        self.lock().insert(sql.to_string(), statement.clone());
        Ok(statement)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<String, Statement>> {
        self.statements.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// Parameters of a statement.
pub type Parameters<'a> = &'a [&'a (dyn ToSql + Sync)];

/// Every statement of the consumer looks up keys, so there is one right plan for each: nested loops over indexes, whatever
/// the statistics say. They lag behind: a plan made while a table was small reads all of it once it is large.
const KEY_LOOKUPS: &str = "SET enable_seqscan = off; SET enable_bitmapscan = off; SET enable_hashjoin = off; \
    SET enable_mergejoin = off; SET enable_material = off; SET plan_cache_mode = force_generic_plan; SET jit = off";

/// Connects to consume: as `daybook_consumer`, which may read the mapped columns and append to the journal and no more,
/// with settings that no role or database default can change, and time limits that free the locks of a hung session.
///
/// On the source, commits need not be durable at once: what is committed there are acknowledgements, and one that is lost
/// in a crash is only repeated. On the ledger they must be.
pub async fn connect_as_consumer(side: Side, config: &Config) -> Result<Session> {
    let client = connect(side, config).await?;
    let (synchronous_commit, schema) = match side {
        Side::Source => ("off", "daybook"),
        Side::Ledger => ("on", "ledger"),
    };
    let installed: bool = client
        .query_one("SELECT to_regnamespace($1) IS NOT NULL AND to_regrole('daybook_consumer') IS NOT NULL", &[&schema])
        .await
        .doing("looking for the schema")?
        .get(0);
    if !installed {
        return Err(Error::NotInstalled(format!(
            "daybook is not installed in the {} database (there is no schema {schema}): run `daybook install`",
            side.name()
        )));
    }
    client.batch_execute("SET ROLE daybook_consumer").await.map_err(|error| {
        Error::Unreachable(format!(
            "the login role may not act as daybook_consumer on the {} database: {}. Say there: GRANT daybook_consumer TO {}",
            side.name(),
            explain(&error),
            quote_identifier(config.get_user().unwrap_or("..."))
        ))
    })?;
    client
        .batch_execute(&format!(
            "SET search_path = pg_catalog, pg_temp;
             SET default_transaction_isolation = 'read committed';
             SET default_transaction_read_only = off;
             SET default_transaction_deferrable = off;
             SET row_security = off;
             SET TimeZone = 'UTC';
             SET DateStyle = 'ISO, YMD';
             SET extra_float_digits = 1;
             SET client_min_messages = warning;
             {KEY_LOOKUPS};
             SET synchronous_commit = {synchronous_commit};
             SET lock_timeout = '5s';
             SET statement_timeout = '60s';
             SET idle_in_transaction_session_timeout = '30s';
             SELECT set_config(name, '0', false) FROM pg_settings WHERE name = 'idle_session_timeout'"
        ))
        .await
        .doing("setting up the session")?;
    Ok(Session::new(client))
}

/// Quotes an identifier as `format('%I')` would, always with quotes.
pub fn quote_identifier(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// Quotes a literal. Only for DDL and generated statements, which take no parameters.
pub fn quote_literal(text: &str) -> String {
    let quoted = text.replace('\'', "''");
    if quoted.contains('\\') { format!("E'{}'", quoted.replace('\\', "\\\\")) } else { format!("'{quoted}'") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_older_than_13_is_refused_in_one_clear_line() {
        let error = check_version(Side::Source, 120_019, "12.19".into()).unwrap_err();
        assert_eq!(
            error.to_string(),
            "the source database runs PostgreSQL 12.19, and daybook needs 13 or newer: upgrade the server"
        );
        assert_eq!(error.exit_code(), 3);
        assert!(check_version(Side::Source, 130_000, "13.0".into()).is_ok());
    }

    #[test]
    fn quoting_leaves_no_way_out() {
        assert_eq!(quote_identifier(r#"a"b"#), r#""a""b""#);
        assert_eq!(quote_literal("it's"), "'it''s'");
        assert_eq!(quote_literal(r"a\'"), r"E'a\\'''");
    }
}
