//! Housekeeping: a process's sign of life on both sides, partitions and their retention, alerts whose cause came or went, figures,
//! sealing, and what has to be noticed without any event: rules that were applied, partitions of bill tables that came or went.

use std::time::{Duration, Instant};

use crate::cash_reminder::CashReminder;
use crate::chain::head::Publisher;
use crate::chain::seal::Sealer;
use crate::connecting::{Both, connect_both, meet_again, raise_alert};
use crate::database::{Parameters, Session, Side};
use crate::error::{Doing, Error, Result, explain};
use crate::install::check_schema;
use crate::ledger::{Known, Scope, known_bills};
use crate::options::Databases;
use crate::reconcile::schedule::Schedule;
use crate::settings::Settings;
use crate::sql;

/// How often source and ledger meet while a process runs.
const MEETING_INTERVAL: Duration = Duration::from_secs(60);

/// How long partitions that were in use are left alone.
const PARTITIONS_PAUSE: Duration = Duration::from_secs(600);

/// How a process is called: by its host and its id.
pub fn process_name() -> String {
    let host = nix::unistd::gethostname().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    format!("{host}:{}", std::process::id())
}
/// So long it seals at a time, and so long at its orderly end.
const SEALING_TIME: Duration = Duration::from_millis(500);
const LAST_SEALING_TIME: Duration = Duration::from_secs(8);

/// It is told so often that this process could not seal for so long: what passes by itself is gone by then.
const SEALING_TOLD: Duration = Duration::from_secs(20);
const SEALING_STOPPED: &str = "SEALING_STOPPED";

/// What a process does beside its workers.
pub struct Housekeeper {
    options: Databases,
    pub session: Session,
    ledger: Session,
    settings: Settings,
    process: String,
    started_at: chrono::DateTime<chrono::Utc>,
    workers: i32,
    finished: i64,
    partitions_kept_on: Option<chrono::NaiveDate>,
    partitions_tried: Option<Instant>,
    /// Whether both sides are one database.
    same_database: bool,
    met: Instant,
    /// Reconciliations, where the process is to stay.
    schedule: Option<Schedule>,
    cash: CashReminder,
    sealer: Sealer,
    publisher: Publisher,
    /// When this process sealed last, or told that it cannot.
    sealed_or_told: Instant,
    /// Whether it sealed last time; not before the first time, so that the alert of one that died ends.
    seals: bool,
}

impl Housekeeper {
    pub fn new(options: Databases, both: Both) -> Housekeeper {
        Housekeeper {
            workers: options.workers as i32,
            sealer: Sealer::new(&both.settings.book),
            publisher: Publisher::new(options.heads.clone()),
            sealed_or_told: Instant::now(),
            seals: false,
            options,
            session: both.source,
            ledger: both.ledger,
            process: process_name(),
            started_at: chrono::Utc::now(),
            finished: 0,
            partitions_kept_on: None,
            partitions_tried: None,
            settings: both.settings,
            same_database: both.same_database,
            met: Instant::now(),
            schedule: None,
            cash: CashReminder::default(),
        }
    }

    /// Reconciles from now on, as often as is set.
    pub fn reconcile_by_schedule(&mut self) {
        self.schedule = Some(Schedule::new(self.options.clone()));
    }

    /// Makes both connections anew, where both sides are there. Fails where they do not belong together any more.
    pub async fn reconnect(&mut self) -> Result<()> {
        match connect_both(&self.options).await {
            Ok(both) => {
                self.session = both.source;
                self.ledger = both.ledger;
                self.settings = both.settings;
                self.same_database = both.same_database;
                self.met = Instant::now();
                Ok(())
            }
            Err(error) if error.ends_all_work() => Err(error),
            Err(error) => {
                tracing::warn!("waiting: {error}");
                Ok(())
            }
        }
    }

    pub async fn posting_is_paused(&self) -> Result<bool> {
        let sql = "SELECT EXISTS (SELECT FROM daybook.sync_configuration WHERE config_key = 'posting' AND config_value = 'paused')";
        Ok(self.session.query_one(sql, &[]).await.doing("looking whether posting is paused")?.get(0))
    }

    /// Whether a table is captured from the WAL, or was, so that its slot is still there.
    pub async fn stream_is_wanted(&self) -> Result<bool> {
        let sql = "SELECT EXISTS (SELECT FROM daybook.sync_source WHERE capture_mode <> 'trigger') OR EXISTS (SELECT FROM daybook.wal_progress)";
        Ok(self.session.query_one(sql, &[]).await.doing("looking whether changes are to be streamed")?.get(0))
    }

    pub async fn queue_is_empty(&self) -> Result<bool> {
        let row = self
            .session
            .query_one(
                "SELECT NOT EXISTS (SELECT FROM daybook.sync_queue JOIN daybook.sync_source USING (reference_type))",
                &[],
            )
            .await;
        Ok(row.doing("looking whether the queue is empty")?.get(0))
    }

    /// Gives a sign of life with the number of events finished so far; what fails is only logged, and tried again next time. Fails where
    /// source and ledger, or they and this program, no longer belong together: then nothing may be posted.
    pub async fn keep_house(&mut self, finished: u64) -> Result<()> {
        self.finished = i64::try_from(finished).unwrap_or(i64::MAX);
        match self.try_to_keep_house().await {
            Ok(()) => {
                self.seal().await;
                Ok(())
            }
            Err(error) if error.ends_all_work() => Err(error),
            Err(error) => {
                tracing::warn!("housekeeping: {error}");
                self.reconnect().await
            }
        }
    }

    /// Meets again, so that a dump or a copy of either side soon has an old token.
    async fn meet(&mut self) -> Result<()> {
        meet_again(&self.session, &self.ledger, &self.settings, self.same_database).await?;
        self.met = Instant::now();
        Ok(())
    }

    /// Seals what is committed, and publishes the head of the chain. Whatever goes wrong there, posting goes on.
    async fn seal(&mut self) {
        let sealed = async {
            let sealed = self.sealer.seal_for(&self.ledger, SEALING_TIME).await?;
            self.publisher.publish_if_due(&self.ledger, &self.settings.book).await?;
            Ok::<_, Error>(sealed)
        };
        let why = match sealed.await {
            Ok(Some(_)) => return self.note_sealing().await,
            Ok(None) => "another session holds the chain's row in ledger.chains".to_string(),
            Err(error) => error.to_string(),
        };
        if self.sealed_or_told.elapsed() >= SEALING_TOLD {
            let message = format!("what is posted is not sealed any more, and could be changed without trace: {why}");
            tracing::warn!("{message}");
            raise_alert(&self.session, SEALING_STOPPED, "ledger", &message).await;
            (self.sealed_or_told, self.seals) = (Instant::now(), false);
        }
    }

    /// It seals again, or for the first time: the alert ends, also that of a process that died.
    async fn note_sealing(&mut self) {
        self.sealed_or_told = Instant::now();
        if !self.seals {
            let resolved =
                self.session.execute("SELECT daybook.resolve_alert($1, 'ledger')", &[&SEALING_STOPPED]).await;
            self.seals = resolved.inspect_err(|error| tracing::warn!("resolving an alert: {}", explain(error))).is_ok();
        }
    }

    /// The same for everything that is there, as the last act.
    async fn seal_everything(&mut self) {
        let sealed = async {
            self.sealer.seal_everything(&self.ledger, LAST_SEALING_TIME).await?;
            self.publisher.publish(&self.ledger, &self.settings.book).await
        };
        if let Err(error) = sealed.await {
            tracing::warn!("entries are not sealed: {error}");
        }
    }

    /// Takes the sign of life away when the process ends in order, with those of the dead whose work it has taken over; and parts with a
    /// new token.
    pub async fn leave(&mut self) {
        self.seal_everything().await;
        if let Err(error) = self.meet().await {
            tracing::warn!("housekeeping: {error}");
        }
        let sql = "DELETE FROM daybook.sync_system_health
                   WHERE process = $1 OR heartbeat_at < clock_timestamp() - interval '1 minute'";
        if let Err(error) = self.session.execute(sql, &[&self.process]).await {
            tracing::warn!("housekeeping: {}", explain(&error));
        }
    }

    async fn try_to_keep_house(&mut self) -> Result<()> {
        // Whatever it fails of, the sign of life comes first.
        if let Err(error) = self.session.execute(sql::OBSERVE, &[]).await {
            tracing::warn!("looking for alerts: {}", explain(&error));
        }
        let version = env!("CARGO_PKG_VERSION");
        // Durably, so that no crash takes the number of the last event back below what the ledger is told.
        self.session.begin().await.doing("beginning to keep house")?;
        self.session.batch_execute("SET LOCAL synchronous_commit = on").await.doing("beginning to keep house")?;
        let highest = self.session.query_one(sql::QUEUED_EVENTS, &[]).await.doing("counting the queue")?;
        self.session
            .execute(sql::HEARTBEAT, &[&self.process, &version, &self.workers, &self.started_at, &self.finished])
            .await
            .doing("giving a sign of life")?;
        self.session.commit().await.doing("keeping house")?;
        check_schema(Side::Source, &self.session).await?;
        end_unheard_sessions(&self.session).await?;
        self.session.execute(sql::RESOLVE_DIRTY_TABLES, &[]).await.doing("resolving alerts")?;
        let unpublished = "SELECT daybook.unpublish_unidentified()";
        for row in self.session.query(unpublished, &[]).await.doing("looking at replica identities")? {
            tracing::warn!(
                reference_type = row.get::<_, &str>(0),
                "captured from the WAL no longer: it lost its replica identity"
            );
        }
        self.session.execute(sql::CHANGED_PARTITIONS, &[]).await.doing("looking for partitions")?;
        self.keep_partitions().await?;
        check_schema(Side::Ledger, &self.ledger).await?;
        end_unheard_sessions(&self.ledger).await?;
        self.take_up_rules().await?;
        self.resolve_alerts_of_bills().await?;
        self.cash.remind(&self.session, &self.ledger, &self.settings).await?;
        let (queued, examples): (i64, Vec<String>) = (highest.get(0), highest.get(1));
        let Settings { book, source_name, .. } = &self.settings;
        self.ledger
            .execute(sql::REPORT_QUEUE, &[book, source_name, &queued, &examples, &highest.get::<_, i64>(2)])
            .await
            .doing("reporting the queue to the ledger")?;
        self.session.execute(sql::RESOLVE_LEDGER_UNREACHABLE, &[source_name]).await.doing("resolving an alert")?;
        if self.met.elapsed() >= MEETING_INTERVAL {
            self.meet().await?;
        }
        if let Some(schedule) = &mut self.schedule {
            let zone = "SELECT time_zone FROM ledger.books WHERE book = $1";
            let zone =
                self.ledger.query_one(zone, &[&self.settings.book]).await.doing("asking for the book's time zone")?;
            schedule.tick(&self.session, zone.get(0)).await?;
        }
        Ok(())
    }

    /// Partitions of the months to come, and the end of those that are past their retention, once a day; what somebody was reading
    /// just then is left for later.
    async fn keep_partitions(&mut self) -> Result<()> {
        let today = chrono::Utc::now().date_naive();
        if self.partitions_kept_on == Some(today)
            || self.partitions_tried.is_some_and(|at| at.elapsed() < PARTITIONS_PAUSE)
        {
            return Ok(());
        }
        self.partitions_tried = Some(Instant::now());
        let left = self.session.query_one("SELECT daybook.keep_partitions()", &[]).await;
        if left.doing("keeping partitions")?.get::<_, i32>(0) == 0 {
            (self.partitions_kept_on, self.partitions_tried) = (Some(today), None);
        }
        Ok(())
    }

    /// An alert about bills is over when the ledger has no such bill any more: released, mended, or their rows are back.
    async fn resolve_alerts_of_bills(&self) -> Result<()> {
        let Settings { book, source_name, .. } = &self.settings;
        for row in self.session.query(sql::ALERTS_OF_BILLS, &[]).await.doing("looking at alerts")? {
            let (alert_type, reference_type): (&str, &str) = (row.get(0), row.get(1));
            let concerned = match alert_type {
                "REVERSAL_BRAKE" => "brake",
                "TABLE_TRUNCATED" => "truncate",
                "BILLS_DELETED" => "alert",
                _ => "warning",
            };
            let parameters: Parameters<'_> = &[book, source_name, &reference_type, &concerned];
            let there =
                self.ledger.query_one(sql::BILLS_OF_ALERT, parameters).await.doing("looking for bills of an alert")?;
            if !there.get::<_, bool>(0) {
                let seen_at: chrono::DateTime<chrono::Utc> = row.get(2);
                let parameters: Parameters<'_> = &[&alert_type, &reference_type, &seen_at];
                self.session.execute(sql::RESOLVE_UNSEEN_ALERT, parameters).await.doing("resolving an alert")?;
            }
        }
        Ok(())
    }

    /// Has the tables reconciled whose rule has other versions in force than when they were last enqueued.
    async fn take_up_rules(&self) -> Result<()> {
        let rows = self.ledger.query(sql::RULES_IN_FORCE, &[&self.settings.book]).await.doing("reading the rules")?;
        let (types, rules): (Vec<String>, Vec<String>) = rows.iter().map(|row| (row.get(0), row.get(1))).unzip();
        self.session.execute(sql::TAKE_UP_RULES, &[&types, &rules]).await.doing("taking up rules")?;
        // A table that was detached for a while, before its first event.
        let Settings { book, source_name, .. } = &self.settings;
        for row in self.session.query(sql::TABLES_WITHOUT_RULES, &[]).await.doing("looking at the tables")? {
            let scope = Scope { book, source: source_name, reference_type: row.get(0) };
            let Some(at) = types.iter().position(|of| of == scope.reference_type) else { continue };
            if !known_bills(&self.ledger, scope, Known::All, "", 1).await?.is_empty() {
                let parameters: Parameters<'_> = &[&scope.reference_type, &rules[at], &true];
                self.session.execute(sql::FIRST_RULES, parameters).await.doing("noting the rule")?;
            }
        }
        Ok(())
    }
}

/// Frees what a stopped process holds. Ending a session takes the login role's own right, not the consumer's.
async fn end_unheard_sessions(session: &Session) -> Result<()> {
    let doing = "looking for sessions of stopped processes";
    session.begin().await.doing(doing)?;
    session.batch_execute("SET LOCAL ROLE NONE").await.doing(doing)?;
    let ended = session.query(sql::END_UNHEARD_SESSIONS, &[]).await.doing(doing)?;
    session.commit().await.doing(doing)?;
    for row in ended {
        tracing::warn!(pid = row.get::<_, i32>(0), "ended a session whose process does not take its answers");
    }
    Ok(())
}
