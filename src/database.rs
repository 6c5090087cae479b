//! Connections to PostgreSQL, and how each session is set up.

use std::collections::HashMap;
use std::convert::Infallible;
use std::future::Future;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::task::AbortHandle;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Row, Statement};

use crate::address::{Address, place};
use crate::error::{Doing, Error, Result, explain};
use crate::install::check_schema;
use crate::tls;

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

/// Longest wait for a connection that is ready for use: name, socket, TLS, password and first answer.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(15);

/// How often the server is told that the process behind an open transaction is alive. One that is silent for
/// `idle_in_transaction_session_timeout`, because it was stopped or its network is gone, loses its locks.
const SIGN_OF_LIFE_INTERVAL: Duration = Duration::from_secs(1);

/// So many signs of life may be on their way.
const SIGNS_OF_LIFE_MAX: usize = 100;

/// How much longer than its own time limit a statement may take until its answer is here; after that the network has swallowed it.
const ANSWER_DELAY_MAX: Duration = Duration::from_secs(5);

/// Connects as the login role itself, for installing and for looking.
pub async fn connect(side: Side, address: &Address) -> Result<Client> {
    Ok(open(side, address).await?.0)
}

/// The same, where nobody names tables of the application: a name without schema means PostgreSQL's own. Whoever owns a database sets
/// its search_path, and whoever may create functions in a schema of that path can shadow what is called by name; their code would
/// run with the rights of whoever installs or looks, a superuser's perhaps.
pub async fn connect_plainly(side: Side, address: &Address) -> Result<Client> {
    let client = connect(side, address).await?;
    client.batch_execute(PLAIN_NAMES).await.doing("setting up the session")?;
    Ok(client)
}

const PLAIN_NAMES: &str = "SET search_path = pg_catalog, pg_temp";

/// A connection, and what ends it at once, whoever waits for an answer.
async fn open(side: Side, address: &Address) -> Result<(Client, AbortHandle)> {
    let unreachable = |why: String| {
        Error::Unreachable(format!("cannot connect to the {} database ({}): {why}", side.name(), place(address)))
    };
    let opening = async {
        let (client, connection) = address.connect(address.tls.clone()).await?;
        let connection = tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(side = side.name(), "connection ended: {}", explain(&error));
            }
        });
        // The session's search_path is not set yet.
        let version = "SELECT pg_catalog.current_setting('server_version_num')::pg_catalog.int4,
                              pg_catalog.current_setting('server_version')";
        let version = client.query_one(version, &[]).await?;
        Ok::<_, tokio_postgres::Error>((client, connection.abort_handle(), version))
    };
    let (client, connection, version) = match tokio::time::timeout(CONNECT_TIMEOUT, opening).await {
        Err(_) => return Err(unreachable(format!("no answer within {} s", CONNECT_TIMEOUT.as_secs()))),
        Ok(opened) => opened.map_err(|error| {
            let advice = tls::advice(&error).map(|advice| format!(" ({advice})")).unwrap_or_default();
            unreachable(explain(&error) + &advice)
        })?,
    };
    check_version(side, version.get(0), version.get(1))?;
    Ok((client, connection))
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

/// A connection with the statements that were prepared on it, so that each is parsed once. No call waits for ever: where no
/// answer comes although the statement's own time is up, the connection is given up, and the call fails as on one that was lost.
pub struct Session {
    client: Client,
    /// What ends the connection; `None` where nobody may be too impatient.
    connection: Option<AbortHandle>,
    statements: Mutex<HashMap<String, Statement>>,
    /// In milliseconds.
    patience: AtomicU64,
}

/// Ends a connection when it is dropped, unless it was told that all is done.
pub struct Unfinished(Option<AbortHandle>);

impl Unfinished {
    pub fn is_done(mut self) {
        self.0 = None;
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        if let Some(connection) = self.0.take() {
            connection.abort();
        }
    }
}

impl Session {
    /// One that waits for as long as an answer takes.
    pub fn new(client: Client) -> Self {
        Session { client, connection: None, statements: Mutex::default(), patience: AtomicU64::new(u64::MAX) }
    }

    /// Until it is told that all is done: whoever drops what follows ends the connection, instead of leaving it to the server to finish.
    pub fn unfinished(&self) -> Unfinished {
        Unfinished(self.connection.clone())
    }

    /// Bounds each statement from now on: by the server, and where that is not heard of any more, here.
    pub async fn limit_statements(&self, statement_timeout: Duration) -> Result<(), tokio_postgres::Error> {
        let milliseconds = statement_timeout.as_millis();
        self.batch_execute(&format!("SET statement_timeout = {milliseconds}")).await?;
        let patience = (statement_timeout + ANSWER_DELAY_MAX).as_millis();
        self.patience.store(u64::try_from(patience).unwrap_or(u64::MAX), Ordering::Relaxed);
        Ok(())
    }

    async fn answered<T>(
        &self,
        call: impl Future<Output = Result<T, tokio_postgres::Error>>,
    ) -> Result<T, tokio_postgres::Error> {
        let mut call = std::pin::pin!(call);
        let patience = Duration::from_millis(self.patience.load(Ordering::Relaxed));
        match tokio::time::timeout(patience, &mut call).await {
            Ok(answer) => answer,
            Err(_) => {
                tracing::warn!("no answer within {} s: the connection is given up", patience.as_secs());
                if let Some(connection) = &self.connection {
                    connection.abort();
                }
                call.await
            }
        }
    }

    pub async fn query(&self, sql: &str, parameters: Parameters<'_>) -> Result<Vec<Row>, tokio_postgres::Error> {
        self.answered(async { self.client.query(&self.statement(sql).await?, parameters).await }).await
    }

    pub async fn query_one(&self, sql: &str, parameters: Parameters<'_>) -> Result<Row, tokio_postgres::Error> {
        self.answered(async { self.client.query_one(&self.statement(sql).await?, parameters).await }).await
    }

    pub async fn query_opt(&self, sql: &str, parameters: Parameters<'_>) -> Result<Option<Row>, tokio_postgres::Error> {
        self.answered(async { self.client.query_opt(&self.statement(sql).await?, parameters).await }).await
    }

    pub async fn execute(&self, sql: &str, parameters: Parameters<'_>) -> Result<u64, tokio_postgres::Error> {
        self.answered(async { self.client.execute(&self.statement(sql).await?, parameters).await }).await
    }

    /// Each statement of the transaction sees what was committed before it, whatever the server's default is.
    pub async fn begin(&self) -> Result<(), tokio_postgres::Error> {
        self.batch_execute("BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE").await
    }

    pub async fn commit(&self) -> Result<(), tokio_postgres::Error> {
        self.batch_execute("COMMIT").await
    }

    pub async fn rollback(&self) -> Result<(), tokio_postgres::Error> {
        self.batch_execute("ROLLBACK").await
    }

    /// For what takes no parameters and is said once.
    pub async fn batch_execute(&self, sql: &str) -> Result<(), tokio_postgres::Error> {
        self.answered(self.client.batch_execute(sql)).await
    }

    /// Tells the server again and again that this process is alive, so that it keeps an open transaction. No answer is waited for:
    /// on a slow link it stands behind a result that is on its way, while the server has long been idle. Never ends; to be dropped.
    pub async fn keep_alive(&self) -> Infallible {
        let mut signs = FuturesUnordered::new();
        loop {
            tokio::select! {
                () = tokio::time::sleep(SIGN_OF_LIFE_INTERVAL) => {
                    if signs.len() < SIGNS_OF_LIFE_MAX {
                        signs.push(self.batch_execute(""));
                    }
                }
                Some(answer) = signs.next() => {
                    if answer.is_err() {
                        std::future::pending::<()>().await; // whoever uses the session is told
                    }
                }
            }
        }
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
/// By one process of the server: daybook asks for one thing at a time, and the application is to find another processor.
///
/// On the source, commits need not be durable at once: what is committed there are acknowledgements, and one that is lost
/// in a crash is only repeated. On the ledger they must be.
pub async fn connect_as_consumer(side: Side, address: &Address, statement_timeout: Duration) -> Result<Session> {
    let (client, connection) = open(side, address).await?;
    let session = Session { connection: Some(connection), ..Session::new(client) };
    session.batch_execute(PLAIN_NAMES).await.doing("setting up the session")?;
    session.limit_statements(statement_timeout).await.doing("setting up the session")?;
    let (synchronous_commit, schema) = match side {
        Side::Source => ("off", "daybook"),
        Side::Ledger => ("on", "ledger"),
    };
    let found = session
        .query_one(
            "SELECT to_regnamespace($1) IS NOT NULL AND to_regrole('daybook_consumer') IS NOT NULL, pg_is_in_recovery()",
            &[&schema],
        )
        .await
        .doing("looking for the schema")?;
    if !found.get::<_, bool>(0) {
        return Err(Error::NotInstalled(format!(
            "daybook is not installed in the {} database (there is no schema {schema}): run `daybook install`",
            side.name()
        )));
    }
    if found.get(1) {
        return Err(Error::Unreachable(format!(
            "the {} database ({}) is a standby and takes no writes: waiting until it is promoted",
            side.name(),
            place(address)
        )));
    }
    session.batch_execute("SET ROLE daybook_consumer").await.map_err(|error| {
        Error::Unreachable(format!(
            "the login role may not act as daybook_consumer on the {} database: {}. Say there: GRANT daybook_consumer TO {}",
            side.name(),
            explain(&error),
            quote_identifier(address.get_user().unwrap_or("..."))
        ))
    })?;
    session
        .batch_execute(&format!(
            "SET default_transaction_isolation = 'read committed';
             SET default_transaction_read_only = off;
             SET default_transaction_deferrable = off;
             SET row_security = off;
             SET TimeZone = 'UTC';
             SET DateStyle = 'ISO, YMD';
             SET extra_float_digits = 1;
             SET max_parallel_workers_per_gather = 0;
             SET client_min_messages = warning;
             {KEY_LOOKUPS};
             SET synchronous_commit = {synchronous_commit};
             {LOCK_TIMEOUT};
             SET idle_in_transaction_session_timeout = '5s';
             SET tcp_user_timeout = '30s';
             SELECT set_config('application_name', left(current_setting('application_name'), 50) || ' consumer', false);
             SELECT set_config(name, '0', false) FROM pg_settings WHERE name = 'idle_session_timeout'"
        ))
        .await
        .doing("setting up the session")?;
    check_schema(side, &session).await?;
    Ok(session)
}

/// How long a session of ours waits in somebody's way.
pub const LOCK_TIMEOUT: &str = "SET lock_timeout = '5s'";

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
