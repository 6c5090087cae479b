//! The stream of changes from the WAL: the second way into the queue, and the look at what the triggers missed.
//!
//! ```text
//! walsender ─▶ transport ─▶ pgoutput ─▶ assembler ─▶ transaction ─▶ enqueue ─▶ sync_queue, and the stream's place, in one transaction
//!   (slot)      (trait)       (pure)      (pure)        (pure)     seen by others?
//! ```
//!
//! Whatever dies, the stream goes on from the place that is kept with the events; what comes twice is only enqueued twice. One process
//! streams at a time: whoever has the slot. The others wait for it.

mod assembler;
mod enqueue;
pub mod pgoutput;
pub mod slot;
mod streaming;
pub mod transaction;
pub mod transport;
mod tunnel;

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{Notify, watch};

use self::enqueue::Enqueuer;
use self::pgoutput::Lsn;
use self::slot::{Facts, Standing};
use self::streaming::Streaming;
use self::transport::Walsender;
use crate::connecting::{PAUSE_MAX, pauses, raise_alert};
use crate::database::{Session, Side, connect_as_consumer};
use crate::error::{Doing, Error, Result};
use crate::options::Databases;
use crate::settings::Settings;
use crate::sql::stream as sql;

/// The publications: of the bill tables, and of the queue's own inserts.
const PUBLICATIONS: [&str; 2] = ["daybook", "daybook_queue"];

/// Longest wait for another process's stream, and for our own to be wanted.
const BUSY_PAUSE: Duration = Duration::from_secs(2);

/// How often it looks whether it is wanted.
const LOOK_INTERVAL: Duration = Duration::from_secs(2);

/// What asks the stream to keep its place at once.
const WORD: &str = "daybook_stream";

/// How the transport tells the SQLSTATE, whatever language the server speaks: another process has the slot; a publication was not there yet
/// where the slot stands.
const OBJECT_IN_USE: &str = "SQLSTATE 55006";
const UNDEFINED_OBJECT: &str = "SQLSTATE 42704";

/// How a stream ended in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ended {
    /// No table wants it any more.
    NotWanted,
    /// Another process streams.
    Busy,
    Stopped,
}

/// A process's stream, for life.
pub struct Stream {
    pub options: Databases,
    pub stop: watch::Receiver<bool>,
    /// Rung when there is work for the workers.
    pub wake: Arc<Notify>,
    /// The slot cannot be read from its place: a publication was not there yet.
    is_unreadable: bool,
    /// Since when somebody else has been making the slot.
    is_made_since: Option<Instant>,
}

impl Stream {
    pub fn new(options: Databases, stop: watch::Receiver<bool>, wake: Arc<Notify>) -> Stream {
        Stream { options, stop, wake, is_unreadable: false, is_made_since: None }
    }

    /// Streams until told to stop, or until no table wants it any more. Whatever goes wrong is alerted, and tried again.
    pub async fn run(mut self) {
        let mut delays = pauses();
        let mut stop = self.stop.clone();
        while !*stop.borrow() {
            let began = Instant::now();
            let ended = tokio::select! {
                ended = self.stream() => ended,
                _ = stop.wait_for(|stop| *stop) => return,
            };
            let pause = match ended {
                Ok(Ended::NotWanted | Ended::Stopped) => return,
                Ok(Ended::Busy) => BUSY_PAUSE,
                Err(error) => {
                    tracing::warn!("streaming again after: {error}");
                    self.complain(&error).await;
                    if began.elapsed() > PAUSE_MAX {
                        delays = pauses();
                    }
                    delays.next().unwrap_or(PAUSE_MAX)
                }
            };
            let _ = tokio::time::timeout(pause, stop.wait_for(|stop| *stop)).await;
        }
    }

    async fn connect(&self) -> Result<(Session, Settings)> {
        let session = connect_as_consumer(Side::Source, &self.options.source, Settings::STATEMENT_TIMEOUT).await?;
        let settings = Settings::load(&session).await?;
        session.limit_statements(settings.statement_timeout).await.doing("setting up the session")?;
        Ok((session, settings))
    }

    /// Alerts what went wrong; it is nothing where the last table was detached meanwhile.
    async fn complain(&self, error: &Error) {
        if let Ok((session, _)) = self.connect().await
            && !Facts::load(&session).await.is_ok_and(|facts| facts.wanted == 0)
        {
            let message = format!("changes are not captured from the WAL: {error}");
            raise_alert(&session, STREAM_STOPPED, "source", &message).await;
        }
    }

    /// Streams once, from the place that is kept.
    async fn stream(&mut self) -> Result<Ended> {
        let (session, settings) = self.connect().await?;
        let facts = Facts::load(&session).await?;
        if facts.wanted == 0 {
            if facts.slot.as_ref().is_some_and(|slot| slot.is_ours && slot.is_active) {
                return Ok(Ended::Busy);
            }
            if facts.progress.is_some() {
                slot::give_up(&session).await?;
            }
            return Ok(Ended::NotWanted);
        }
        if facts.is_standby {
            return Err(Error::Unreachable(slot::IS_STANDBY.into()));
        }
        if facts.publications < PUBLICATIONS.len() as i64 {
            return Err(Error::Unreachable(
                "a publication of daybook is gone: run the files of the tables in triggers/ again".into(),
            ));
        }
        let is_being_made = facts.slot.as_ref().is_some_and(|slot| slot.is_being_made);
        let began = self.is_made_since.filter(|_| is_being_made).unwrap_or_else(Instant::now);
        self.is_made_since = is_being_made.then_some(began);
        if began.elapsed() > MAKING_TOLD {
            return Err(slot::waits(&facts.slot_name));
        }
        let Some(from) = self.place(&session, &facts).await? else { return Ok(Ended::Busy) };
        let (onlooker, _) = self.connect().await?;
        let walsender = match Walsender::start(&self.options.source, &facts.slot_name, PUBLICATIONS, from).await {
            Ok(walsender) => walsender,
            Err(error) if error.to_string().contains(OBJECT_IN_USE) => return Ok(Ended::Busy),
            Err(error) => return Err(error),
        };
        // Whatever is committed from here on could wait for the walsender.
        let streaming = async {
            let resolve = "SELECT daybook.resolve_alert($1, 'source')";
            session.execute(resolve, &[&STREAM_STOPPED]).await.doing("resolving an alert")?;
            tracing::info!(slot = facts.slot_name, "capturing changes from the WAL");
            let enqueuer = Enqueuer::new(session, from, settings.statement_timeout).await?;
            Streaming::new(walsender, enqueuer, self.wake.clone()).await?.run(&self.stop).await
        };
        let ended = tokio::select! {
            ended = streaming => ended,
            ended = look_on(&onlooker) => ended,
        };
        if let Err(error) = &ended {
            self.is_unreadable = error.to_string().contains(UNDEFINED_OBJECT);
        }
        ended.map(|ended| match ended {
            Ended::NotWanted => Ended::Busy, // the slot is dropped when the walsender has left it
            ended => ended,
        })
    }

    /// From where to stream; `None` where another process does. A new slot, or one behind which changes may be missing, has its tables
    /// reconciled.
    async fn place(&mut self, session: &Session, facts: &Facts) -> Result<Option<Lsn>> {
        let standing = match facts.standing() {
            Standing::Sound { .. } if self.is_unreadable => {
                let why = "its publications were made after it";
                Standing::Lost { why, to_be_dropped: true, from: None }
            }
            standing => standing,
        };
        let (from, why) = match standing {
            Standing::Sound { from } => return Ok(Some(from)),
            Standing::Busy => return Ok(None),
            Standing::Foreign => {
                return Err(Error::Unreachable(format!(
                    "the name of slot {} is taken by one that is not daybook's: drop that one",
                    facts.slot_name
                )));
            }
            Standing::New => (self.make(session, facts, false).await?, None),
            Standing::ByHand { from } => (from, None),
            Standing::Lost { why, to_be_dropped, from } => {
                let message = format!(
                    "changes were not captured from the WAL for a time: of slot {}: {why}. All bills of the tables are reconciled now, and this \
                     alert ends when they are",
                    facts.slot_name
                );
                tracing::warn!("{message}");
                if from.is_none() {
                    raise_alert(session, SLOT_LOST, &facts.slot_name, &message).await; // in case it cannot be made
                }
                let from = match from {
                    Some(from) => from,
                    None => self.make(session, facts, to_be_dropped).await?,
                };
                (from, Some(message))
            }
        };
        if let Err(error) = self.begin(session, facts, from, why).await {
            slot::unmake(session, facts).await;
            return Err(error);
        }
        self.is_unreadable = false;
        Ok(Some(from))
    }

    /// Keeps the place of a slot that has no past, with the reconciliation of what came before it, and what was lost.
    async fn begin(&self, session: &Session, facts: &Facts, from: Lsn, lost: Option<String>) -> Result<()> {
        session.begin().await.doing("beginning the stream")?;
        if let Some(message) = lost {
            raise_alert(session, SLOT_LOST, &facts.slot_name, &message).await;
        }
        session.execute(sql::BEGIN, &[&(from as i64)]).await.doing("beginning the stream")?;
        session.commit().await.doing("beginning the stream")
    }

    /// A slot begins when each transaction has ended that was there.
    async fn make(&self, session: &Session, facts: &Facts, drops: bool) -> Result<Lsn> {
        let settings = Settings::load(session).await?;
        session.limit_statements(MAKING_MAX).await.doing("setting up the session")?;
        let making = slot::make(session, facts, drops);
        tokio::pin!(making);
        let made = tokio::select! {
            made = &mut making => made,
            () = tokio::time::sleep(MAKING_TOLD) => {
                self.complain(&slot::waits(&facts.slot_name)).await;
                making.await
            }
        };
        session.limit_statements(settings.statement_timeout).await.doing("setting up the session")?;
        made
    }
}

/// Looks, beside a stream that may wait for long, whether it is still to be there.
async fn look_on(session: &Session) -> Result<Ended> {
    loop {
        let facts = Facts::load(session).await?;
        if facts.wanted == 0 {
            return Ok(Ended::NotWanted);
        }
        if facts.is_standby {
            return Err(Error::Unreachable(slot::IS_STANDBY.into()));
        }
        tokio::time::sleep(LOOK_INTERVAL).await;
    }
}

/// The alert of a stream that does not run.
pub const STREAM_STOPPED: &str = "STREAM_STOPPED";
const SLOT_LOST: &str = "SLOT_LOST";

/// So long a transaction of the application may keep the slot from being made.
const MAKING_MAX: Duration = Duration::from_secs(3_600);

/// After so long it is said what a slot waits for that is being made.
const MAKING_TOLD: Duration = Duration::from_secs(10);

/// Has the stream keep its place behind everything that was committed before, which is the position returned.
pub async fn ask(session: &Session) -> Result<Lsn> {
    let position = "SELECT (pg_current_wal_insert_lsn() - '0/0')::bigint";
    let position = session.query_one(position, &[]).await.doing("asking for the WAL's position")?;
    // Durably: what a walsender does not send before it is flushed would be waited for.
    session.begin().await.doing("asking the stream for its place")?;
    session.batch_execute("SET LOCAL synchronous_commit = on").await.doing("asking the stream for its place")?;
    let word = "SELECT pg_logical_emit_message(true, $1, '')";
    session.query_one(word, &[&WORD]).await.doing("asking the stream for its place")?;
    session.commit().await.doing("asking the stream for its place")?;
    Ok(position.get::<_, i64>(0) as Lsn)
}

/// Whether everything that was committed before a position is enqueued.
pub async fn has_passed(session: &Session, position: Lsn) -> Result<bool> {
    let sql = "SELECT coalesce(max(commit_lsn) >= '0/0'::pg_lsn + $1::bigint, false) \
                   OR NOT EXISTS (SELECT FROM daybook.sync_source WHERE capture_mode <> 'trigger') FROM daybook.wal_progress";
    Ok(session.query_one(sql, &[&(position as i64)]).await.doing("asking for the stream's place")?.get(0))
}

/// Waits until everything that is committed now is enqueued; false where the stream does not get there in time.
pub async fn catch_up(session: &Session, time: Duration) -> Result<bool> {
    let (began, position) = (Instant::now(), ask(session).await?);
    while !has_passed(session, position).await? {
        if began.elapsed() >= time {
            return Ok(false);
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    Ok(true)
}
