//! Housekeeping: a process's sign of life, partitions of the audit log, and alerts whose cause is gone.

use tokio_postgres::Config;

use crate::database::{Session, Side, connect_as_consumer};
use crate::error::{Doing, Result, explain};
use crate::sql;

/// What a process does beside its workers: a sign of life, and alerts whose cause is gone.
pub struct Housekeeper {
    config: Config,
    pub session: Session,
    process: String,
    started_at: chrono::DateTime<chrono::Utc>,
    workers: i32,
    finished: i64,
    partitions_made_on: Option<chrono::NaiveDate>,
}

impl Housekeeper {
    pub async fn connect(config: Config, workers: usize) -> Result<Housekeeper> {
        let session = connect_as_consumer(Side::Source, &config).await?;
        let host = nix::unistd::gethostname().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        Ok(Housekeeper {
            config,
            session,
            process: format!("{host}:{}", std::process::id()),
            started_at: chrono::Utc::now(),
            workers: workers as i32,
            finished: 0,
            partitions_made_on: None,
        })
    }

    pub async fn reconnect(&mut self) {
        match connect_as_consumer(Side::Source, &self.config).await {
            Ok(session) => self.session = session,
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
        let today = chrono::Utc::now().date_naive();
        if self.partitions_made_on != Some(today) {
            self.session
                .execute("SELECT daybook.make_audit_log_partitions($1)", &[&today])
                .await
                .doing("making partitions of the audit log")?;
            self.partitions_made_on = Some(today);
        }
        Ok(())
    }
}
