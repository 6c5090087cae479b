//! Connecting to consume: both sides, which meet, and what a worker needs besides.

use std::time::Duration;

use backon::BackoffBuilder;

use crate::database::{Session, Side, connect_as_consumer};
use crate::error::{Doing, Error, Result, explain};
use crate::meeting::meet;
use crate::options::Databases;
use crate::settings::Settings;
use crate::synchronise::Worker;

/// Longest pause between two attempts to connect.
pub const PAUSE_MAX: Duration = Duration::from_secs(5);

/// Both sides, having met.
pub struct Both {
    pub source: Session,
    pub ledger: Session,
    pub settings: Settings,
    /// Whether they are one running server.
    pub same_cluster: bool,
    pub same_database: bool,
}

/// The pauses between attempts to connect: exponential, with jitter, without end.
pub fn pauses() -> impl Iterator<Item = Duration> {
    backon::ExponentialBuilder::default()
        .with_min_delay(Duration::from_millis(100))
        .with_max_delay(PAUSE_MAX)
        .with_jitter()
        .without_max_times()
        .build()
}

/// Connects to both sides, which meet. Where the ledger is away, or belongs to another source, the source is told.
pub async fn connect_both(options: &Databases) -> Result<Both> {
    let source = connect_as_consumer(Side::Source, &options.source, Settings::STATEMENT_TIMEOUT).await?;
    let settings = Settings::load(&source).await?;
    source.limit_statements(settings.statement_timeout).await.doing("setting up the session")?;
    if let Some(name) = options.name.as_ref().filter(|name| **name != settings.source_name) {
        return Err(Error::Strangers(format!(
            "daybook.toml calls it source {name}, and the database there is source {}: correct the URL or the name",
            settings.source_name
        )));
    }
    let name = &settings.source_name;
    let ledger = match connect_as_consumer(Side::Ledger, &options.ledger, settings.statement_timeout).await {
        Ok(ledger) => ledger,
        Err(error) => {
            raise_alert(&source, LEDGER_UNREACHABLE, name, &error.to_string()).await;
            return Err(error);
        }
    };
    let (here, there) = (place(&source).await?, place(&ledger).await?);
    let (same_cluster, same_database) = (here.0 == there.0, here == there);
    meet_again(&source, &ledger, &settings, same_database).await?;
    Ok(Both { source, ledger, settings, same_cluster, same_database })
}

const LEDGER_UNREACHABLE: &str = "LEDGER_UNREACHABLE";
const STRANGERS: &str = "STRANGERS";

/// The two meet; who does not belong is alerted.
pub async fn meet_again(source: &Session, ledger: &Session, settings: &Settings, same_database: bool) -> Result<()> {
    let name = &settings.source_name;
    if let Err(error) = meet(source, ledger, &settings.book, name, same_database).await {
        if matches!(error, Error::Strangers(_)) {
            raise_alert(source, STRANGERS, name, &error.to_string()).await;
        }
        return Err(error);
    }
    source.execute("SELECT daybook.resolve_alert($1, $2)", &[&STRANGERS, name]).await.doing("resolving an alert")?;
    Ok(())
}

/// A worker with its connections, and the settings of its source.
pub async fn connect_worker(options: &Databases) -> Result<(Worker, Settings)> {
    let Both { source, ledger, settings, same_cluster, .. } = connect_both(options).await?;
    let flusher = match same_cluster {
        true => None,
        false => {
            let flusher = connect_as_consumer(Side::Source, &options.source, settings.statement_timeout).await?;
            flusher.batch_execute("SET synchronous_commit = on").await.doing("setting up the flusher")?;
            Some(flusher)
        }
    };
    Ok((Worker::new(source, ledger, flusher, &settings), settings))
}

/// A running server: its cluster, started at its microsecond. A copy of a cluster has the same identifier, and not the same start.
type Server = (i64, chrono::DateTime<chrono::Utc>);

/// The running server that a session is on, and its database there.
async fn place(session: &Session) -> Result<(Server, String)> {
    let sql = "SELECT system_identifier, pg_postmaster_start_time(), current_database()::text FROM pg_control_system()";
    let row = session.query_one(sql, &[]).await.doing("asking which cluster this is")?;
    Ok(((row.get(0), row.get(1)), row.get(2)))
}

/// An alert that cannot be raised must not keep anybody from their work.
pub async fn raise_alert(source: &Session, alert_type: &str, cause: &str, message: &str) {
    let sql = "SELECT daybook.raise_alert($1, $2, 'critical', $3)";
    if let Err(error) = source.execute(sql, &[&alert_type, &cause, &message]).await {
        tracing::error!(cause, "could not raise an alert: {}; it says: {message}", explain(&error));
    }
}
