//! Housekeeping: a process's sign of life on both sides, partitions of the audit log, alerts whose cause is gone, and what has
//! to be noticed without any event: rules that were applied, partitions that came or went.

use crate::database::{Session, Side, connect_as_consumer};
use crate::error::{Doing, Result, explain};
use crate::ledger::{Known, Scope, known_bills};
use crate::options::Databases;
use crate::settings::Settings;
use crate::sql;

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
    partitions_made_on: Option<chrono::NaiveDate>,
}

impl Housekeeper {
    pub async fn connect(options: Databases, session: Session, ledger: Session, settings: Settings) -> Housekeeper {
        let host = nix::unistd::gethostname().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        Housekeeper {
            workers: options.workers as i32,
            options,
            session,
            ledger,
            process: format!("{host}:{}", std::process::id()),
            started_at: chrono::Utc::now(),
            finished: 0,
            partitions_made_on: None,
            settings,
        }
    }

    pub async fn reconnect(&mut self) {
        match connect_as_consumer(Side::Source, &self.options.source).await {
            Ok(session) => self.session = session,
            Err(error) => tracing::warn!("waiting: {error}"),
        }
        match connect_as_consumer(Side::Ledger, &self.options.ledger).await {
            Ok(session) => self.ledger = session,
            Err(error) => tracing::warn!("waiting: {error}"),
        }
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

    /// Gives a sign of life with the number of events finished so far; what fails is only logged, and tried again next time.
    pub async fn keep_house(&mut self, finished: u64) {
        self.finished = i64::try_from(finished).unwrap_or(i64::MAX);
        if let Err(error) = self.try_to_keep_house().await {
            tracing::warn!("housekeeping: {error}");
            self.reconnect().await;
        }
    }

    /// Takes the sign of life away when the process ends in order.
    pub async fn leave(&self) {
        let sql = "DELETE FROM daybook.sync_system_health WHERE process = $1";
        if let Err(error) = self.session.execute(sql, &[&self.process]).await {
            tracing::warn!("housekeeping: {}", explain(&error));
        }
    }

    async fn try_to_keep_house(&mut self) -> Result<()> {
        let version = env!("CARGO_PKG_VERSION");
        self.session
            .execute(sql::HEARTBEAT, &[&self.process, &version, &self.workers, &self.started_at, &self.finished])
            .await
            .doing("giving a sign of life")?;
        self.session.execute(sql::RESOLVE_DIRTY_TABLES, &[]).await.doing("resolving alerts")?;
        self.session.execute(sql::CHANGED_PARTITIONS, &[]).await.doing("looking for partitions")?;
        let today = chrono::Utc::now().date_naive();
        if self.partitions_made_on != Some(today) {
            self.session
                .execute("SELECT daybook.make_audit_log_partitions($1)", &[&today])
                .await
                .doing("making partitions of the audit log")?;
            self.partitions_made_on = Some(today);
        }
        self.take_up_rules().await?;
        self.resolve_brakes().await?;
        let queued = self.session.query_one(sql::QUEUED_EVENTS, &[]).await.doing("counting the queue")?;
        let (queued, examples): (i64, Vec<String>) = (queued.get(0), queued.get(1));
        let Settings { book, source_name, .. } = &self.settings;
        self.ledger
            .execute(sql::REPORT_QUEUE, &[book, source_name, &queued, &examples])
            .await
            .doing("reporting the queue to the ledger")?;
        Ok(())
    }

    /// An alert of the brake is over when it holds no bill any more: released, or their rows are back.
    async fn resolve_brakes(&self) -> Result<()> {
        let Settings { book, source_name, .. } = &self.settings;
        for row in self.session.query(sql::OPEN_BRAKES, &[]).await.doing("looking for brakes")? {
            let scope = Scope { book, source: source_name, reference_type: row.get(0) };
            if known_bills(&self.ledger, scope, Known::Held, "", 1).await?.is_empty() {
                let resolve = "SELECT daybook.resolve_alert('REVERSAL_BRAKE', $1)";
                self.session.execute(resolve, &[&scope.reference_type]).await.doing("resolving an alert")?;
            }
        }
        Ok(())
    }

    /// Has the tables reconciled whose rule has other versions in force than when they were last enqueued.
    async fn take_up_rules(&self) -> Result<()> {
        let rows = self.ledger.query(sql::RULES_IN_FORCE, &[&self.settings.book]).await.doing("reading the rules")?;
        let (types, rules): (Vec<String>, Vec<String>) = rows.iter().map(|row| (row.get(0), row.get(1))).unzip();
        self.session.execute(sql::TAKE_UP_RULES, &[&types, &rules]).await.doing("taking up rules")?;
        Ok(())
    }
}
